"""The page of a comparison: differences with their intervals around nothing, and who is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.report.bars import interval_html
from twinlens.eval.results.compare import SIGNIFICANCE_LEVEL, MetricComparison
from twinlens.eval.results.metric_names import (
    format_difference,
    format_metric,
    lower_is_better,
    metric_name,
    task_name,
)
from twinlens.html import (
    definition_list,
    labelled_cell,
    render_page,
    section,
    table_html,
)

if TYPE_CHECKING:
    from twinlens.eval.metrics.statistics import PairedDifference
    from twinlens.eval.results.compare import MetricValue
    from twinlens.eval.results.files import StoredResults

_AxisRanges = Mapping[str, float]

_POINTS = "points"
"""The unit of shares."""


def comparison_page(
    first: StoredResults, second: StoredResults, comparisons: Sequence[MetricComparison]
) -> str:
    """The page's HTML; `comparisons` are those of `compare(first, second)`."""
    names = distinct_model_names(first, second)
    spans = _axis_ranges(comparisons)
    by_result: dict[tuple[str, str], list[MetricComparison]] = {}
    for one in comparisons:
        by_result.setdefault((one.dataset, one.task), []).append(one)
    sections = [
        section(f"{dataset}: {task_name(task)}", _table(rows, names, spans))
        for (dataset, task), rows in by_result.items()
    ]
    return render_page(
        f"{names[1]} against {names[0]}",
        _lead(comparisons, names),
        section("How to read it", _legend(names, spans), note=_note(comparisons)),
        *sections,
    )


def distinct_model_names(first: StoredResults, second: StoredResults) -> tuple[str, str]:
    """Names of the two models that tell them apart."""
    if first.model != second.model:
        return first.model, second.model
    if first.pretrained != second.pretrained:
        return f"{first.model}, {first.pretrained}", f"{second.model}, {second.pretrained}"
    return f"{first.model}, first", f"{second.model}, second"


def _lead(comparisons: Sequence[MetricComparison], names: tuple[str, str]) -> str:
    compared = [one for one in comparisons if one.difference is not None]
    won = [sum(one.winner == side for one in compared) for side in ("first", "second")]
    left = len(compared) - sum(won)
    return (
        f"Of {len(compared):,} metrics that can be compared, {names[1]} is better in {won[1]:,} "
        f"and {names[0]} in {won[0]:,}; {left:,} may differ by chance."
    )


def _note(comparisons: Sequence[MetricComparison]) -> str:
    tests = sum(one.adjusted_p_value is not None for one in comparisons)
    return (
        "Bars are 95% intervals of the differences, on the same resamples of the same samples; the "
        "mark in each is the difference. "
        f"The p-values are corrected together for {tests:,} tests (Holm's method): a model is "
        f"called better where one is at most {SIGNIFICANCE_LEVEL:.0%}. They are McNemar's exact "
        f"test of "
        "fractions of samples, and of the resamples otherwise, where they cannot be small: "
        "1,000 resamples give 0.2% at the least, before the correction."
    )


def _legend(names: tuple[str, str], axis_ranges: _AxisRanges) -> str:
    words = {
        "Left of the middle": f"{names[0]} is higher",
        "Right of the middle": f"{names[1]} is higher",
        "Coloured": "better, and hardly by chance",
    }
    if _POINTS in axis_ranges:
        ends = format_difference(_POINTS, axis_ranges[_POINTS]).removeprefix("+")
        words["From the middle to an end"] = ends
    return definition_list(words)


def _axis_ranges(comparisons: Sequence[MetricComparison]) -> dict[str, float]:
    """By unit, what difference the ends of its plots stand for: all of a unit have one scale."""
    spans: dict[str, float] = {}
    for one in comparisons:
        if one.difference is not None and one.delta is not None:
            ends = (one.difference.low, one.difference.high, one.delta)
            unit = _display_unit(one.metric)
            spans[unit] = max(spans.get(unit, 0.0), *map(abs, ends))
    return spans


def _display_unit(metric: str) -> str:
    """Metrics that are written alike are drawn alike."""
    return _POINTS if format_difference(metric, 0).endswith("points") else metric


def _table(
    rows: Sequence[MetricComparison], names: tuple[str, str], axis_ranges: _AxisRanges
) -> str:
    columns = ("Metric", "Difference drawn", *names, "Difference", "p", "Better")
    body = "".join(_row(row, names, axis_ranges) for row in rows)
    return table_html(map(_with_line_breaks, columns), body, css_class="summary forest")


def _row(one: MetricComparison, names: tuple[str, str], axis_ranges: _AxisRanges) -> str:
    lower = "<span>lower is better</span>" if lower_is_better(one.metric) else ""
    figures = labelled_cell(names[0], _metric_value(one.metric, one.first)) + labelled_cell(
        names[1], _metric_value(one.metric, one.second)
    )
    if one.difference is None or one.delta is None:
        problem = f'<td class="drawn problem">{escape(_not_comparable_reason(one, names))}</td>'
        cells = f"{problem}{figures}<td></td><td></td><td></td>"
    else:
        winner = {"first": names[0], "second": names[1], None: "neither"}[one.winner]
        drawn = _forest_plot(one, one.difference, one.delta, axis_ranges[_display_unit(one.metric)])
        cells = (
            f'<td class="drawn">{drawn}</td>{figures}'
            + labelled_cell("Difference", _format_delta(one.metric, one.difference, one.delta))
            + labelled_cell("p", _format_p_value(one.adjusted_p_value))
            + labelled_cell("Better", _with_line_breaks(winner))
        )
    return f'<tr><th scope="row">{escape(metric_name(one.metric))}{lower}</th>{cells}</tr>'


def _with_line_breaks(name: str) -> str:
    """A model's name, which may be a path: lines break after its parts."""
    return escape(name).replace("/", "/<wbr>")


def _metric_value(metric: str, value: MetricValue | None) -> str:
    if value is None:
        return ""
    words = f"<b>{format_metric(metric, value.value)}</b>"
    return words if value.interval is None else words + interval_html(metric, value.interval)


def _not_comparable_reason(one: MetricComparison, names: tuple[str, str]) -> str:
    """The reason why there is no difference, with the models' names."""
    if one.first is None or one.second is None:
        return f"only {names[0] if one.second is None else names[1]} was measured"
    return one.problem


def _format_delta(metric: str, difference: PairedDifference, delta: float) -> str:
    low, high = (
        format_difference(metric, end).removesuffix(" points")
        for end in (difference.low, difference.high)
    )
    return f'<b>{format_difference(metric, delta)}</b><span class="between">{low} to {high}</span>'


def _forest_plot(
    one: MetricComparison, difference: PairedDifference, delta: float, axis_range: float
) -> str:
    """A point with its interval; zero is in the middle."""

    def place(value: float) -> float:
        return 50 + 48 * value / (axis_range or 1.0)

    low, high = place(difference.low), place(difference.high)
    return (
        f'<div class="around {one.winner or "neither"}"><i class="interval" '
        f'style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
        f'<i class="point" style="left:{place(delta):.2f}%"></i></div>'
    )


def _format_p_value(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
