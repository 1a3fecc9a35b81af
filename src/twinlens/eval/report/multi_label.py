"""Images that may be several things at once: how well they are ranked for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinlens.eval.report.bars import bar_table, metric_bars, worst_first
from twinlens.eval.report.classification import prompts
from twinlens.html import part

if TYPE_CHECKING:
    from twinlens.eval.tasks.multi_label import MultiLabelResult


def multi_label_parts(result: MultiLabelResult) -> list[str]:
    """The parts of a section: figures, classes, prompts."""
    rows = [(c.classname, c.average_precision, (f"{c.samples:,}",)) for c in result.per_class]
    heading = worst_first("Classes", (one.average_precision for one in result.per_class))
    return [
        part("Precision", metric_bars(result)),
        part(heading, bar_table(("Class", "Average precision", "Images"), rows)),
        part("Prompts", prompts(result.templates)),
    ]
