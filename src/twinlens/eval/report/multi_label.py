"""Images that may be several things at once: how well they are ranked for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinlens.eval.report.bars import bar_table, metric_bars, sorted_heading
from twinlens.eval.report.classification import prompt_list
from twinlens.html import subsection

if TYPE_CHECKING:
    from twinlens.eval.tasks.multi_label import MultiLabelResult


def multi_label_subsections(result: MultiLabelResult) -> list[str]:
    """The parts of a section: figures, classes, prompts."""
    rows = [(c.classname, c.average_precision, (f"{c.num_samples:,}",)) for c in result.per_class]
    heading = sorted_heading("Classes", (one.average_precision for one in result.per_class))
    return [
        subsection("Precision", metric_bars(result)),
        subsection(heading, bar_table(("Class", "Average precision", "Images"), rows)),
        subsection("Prompts", prompt_list(result.templates)),
    ]
