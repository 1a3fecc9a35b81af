"""The table at the head of a report: a row a data set and task, to be seen at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.report.bars import bar, interval_html
from twinlens.eval.results.files import best_references
from twinlens.eval.results.metric_names import (
    format_metric,
    is_fraction,
    main_metric,
    metric_name,
    task_name,
)
from twinlens.html import labelled_cell, table_html

if TYPE_CHECKING:
    from twinlens.eval.results.result import ReferenceScore, TaskResult


def summary_table(results: Sequence[TaskResult]) -> str:
    """The main figure of each result; rows lead to the sections `#r1`, `#r2`, ...

    Where a supervised model's figure is given, the main metric is the one that it is of. Narrow
    screens show the cells below each other, with their columns' names.
    """
    columns = ("Data and task", "0 to 100%", "Main figure", "Chance", "Supervised", "Images")
    rows = (_row(number, result) for number, result in enumerate(results, start=1))
    return table_html(columns, "".join(rows), css_class="summary")


def _row(number: int, result: TaskResult) -> str:
    best = {key: one for key, one in best_references(result).items() if key in result.metrics}
    metric = next(iter(best), None) or main_metric(result.metrics)
    reference, value = best.get(metric), result.metrics[metric]
    interval, chance = result.intervals.get(metric), result.chance.get(metric)
    drawn = bar(value, interval, chance, reference and reference.value)
    ends = "" if interval is None else interval_html(metric, interval)
    cells = (
        labelled_cell(metric_name(metric), f"<b>{format_metric(metric, value)}</b>{ends}")
        + labelled_cell("Chance", "none" if chance is None else format_metric(metric, chance))
        + labelled_cell("Supervised", _reference_cell(metric, reference))
        + labelled_cell("Images", f"{result.num_samples:,}")
    )
    return (
        f'<tr><th scope="row"><a href="#r{number}">{escape(result.dataset)}</a>'
        f"<span>{escape(task_name(result.task))}, {escape(metric_name(metric))}</span></th>"
        f'<td class="drawn">{drawn if is_fraction(metric) else ""}</td>{cells}</tr>'
    )


def _reference_cell(metric: str, reference: ReferenceScore | None) -> str:
    if reference is None:
        return '<span class="none">none given</span>'
    return f"{format_metric(metric, reference.value)}<span>{escape(reference.model)}</span>"
