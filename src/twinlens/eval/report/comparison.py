"""The page of a comparison: differences with their intervals around nothing, and who is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.report.bars import between
from twinlens.eval.results.compare import LEVEL, Comparison
from twinlens.eval.results.metric_names import (
    difference_written,
    lower_is_better,
    metric_name,
    task_name,
    written,
)
from twinlens.html import facts, page, section

if TYPE_CHECKING:
    from twinlens.eval.metrics.statistics import Difference
    from twinlens.eval.results.compare import Figure
    from twinlens.eval.results.files import StoredResults

_Spans = Mapping[str, float]

_POINTS = "points"
"""The unit of shares."""


def comparison_page(
    first: StoredResults, second: StoredResults, comparisons: Sequence[Comparison]
) -> str:
    """The page's HTML; `comparisons` are those of `compare(first, second)`."""
    names = model_names(first, second)
    spans = _spans(comparisons)
    by_result: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        by_result.setdefault((one.dataset, one.task), []).append(one)
    sections = [
        section(f"{dataset}: {task_name(task)}", _table(rows, names, spans))
        for (dataset, task), rows in by_result.items()
    ]
    return page(
        f"{names[1]} against {names[0]}",
        _lead(comparisons, names),
        section("How to read it", _key(names, spans), note=_note(comparisons)),
        *sections,
    )


def model_names(first: StoredResults, second: StoredResults) -> tuple[str, str]:
    """What to call the two, so that they are told apart."""
    if first.model != second.model:
        return first.model, second.model
    if first.pretrained != second.pretrained:
        return f"{first.model}, {first.pretrained}", f"{second.model}, {second.pretrained}"
    return f"{first.model}, first", f"{second.model}, second"


def _lead(comparisons: Sequence[Comparison], names: tuple[str, str]) -> str:
    compared = [one for one in comparisons if one.difference is not None]
    won = [sum(one.winner == side for one in compared) for side in ("first", "second")]
    left = len(compared) - sum(won)
    return (
        f"Of {len(compared):,} metrics that can be compared, {names[1]} is better in {won[1]:,} "
        f"and {names[0]} in {won[0]:,}; {left:,} may differ by chance."
    )


def _note(comparisons: Sequence[Comparison]) -> str:
    tests = sum(one.adjusted is not None for one in comparisons)
    return (
        "Bars are 95% intervals of the differences, on the same resamples of the same samples; the "
        "mark in each is the difference. "
        f"The p-values are corrected together for {tests:,} tests (Holm's method): a model is "
        f"called better where one is at most {LEVEL:.0%}. They are McNemar's exact test of "
        "fractions of samples, and of the resamples otherwise, where they cannot be small: "
        "1,000 resamples give 0.2% at the least, before the correction."
    )


def _key(names: tuple[str, str], spans: _Spans) -> str:
    words = {
        "Left of the middle": f"{names[0]} is higher",
        "Right of the middle": f"{names[1]} is higher",
        "Coloured": "better, and hardly by chance",
    }
    if _POINTS in spans:
        ends = difference_written(_POINTS, spans[_POINTS]).removeprefix("+")
        words["From the middle to an end"] = ends
    return facts(words)


def _spans(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """By unit, what difference the ends of its plots stand for: all of a unit have one scale."""
    spans: dict[str, float] = {}
    for one in comparisons:
        if one.difference is not None and one.change is not None:
            ends = (one.difference.low, one.difference.high, one.change)
            unit = _unit(one.metric)
            spans[unit] = max(spans.get(unit, 0.0), *map(abs, ends))
    return spans


def _unit(metric: str) -> str:
    """Metrics that are written alike are drawn alike."""
    return _POINTS if difference_written(metric, 0).endswith("points") else metric


def _table(rows: Sequence[Comparison], names: tuple[str, str], spans: _Spans) -> str:
    columns = ("Metric", "Difference drawn", *names, "Difference", "p", "Better")
    head = "".join(f"<th>{_breakable(column)}</th>" for column in columns)
    body = "".join(_row(row, names, spans) for row in rows)
    return f'<table class="summary forest"><thead><tr>{head}</tr></thead>{body}</table>'


def _row(one: Comparison, names: tuple[str, str], spans: _Spans) -> str:
    lower = "<span>lower is better</span>" if lower_is_better(one.metric) else ""
    figures = _cell(names[0], _figure(one.metric, one.first)) + _cell(
        names[1], _figure(one.metric, one.second)
    )
    if one.difference is None or one.change is None:
        problem = f'<td class="drawn problem">{escape(_problem(one, names))}</td>'
        cells = f"{problem}{figures}<td></td><td></td><td></td>"
    else:
        winner = {"first": names[0], "second": names[1], None: "neither"}[one.winner]
        drawn = _forest(one, one.difference, one.change, spans[_unit(one.metric)])
        cells = (
            f'<td class="drawn">{drawn}</td>{figures}'
            + _cell("Difference", _difference(one.metric, one.difference, one.change))
            + _cell("p", _p_value(one.adjusted))
            + _cell("Better", _breakable(winner))
        )
    return f'<tr><th scope="row">{escape(metric_name(one.metric))}{lower}</th>{cells}</tr>'


def _breakable(name: str) -> str:
    """A model's name, which may be a path: lines break after its parts."""
    return escape(name).replace("/", "/<wbr>")


def _cell(name: str, html: str) -> str:
    return f'<td data-name="{escape(name)}">{html}</td>'


def _figure(metric: str, figure: Figure | None) -> str:
    if figure is None:
        return ""
    words = f"<b>{written(metric, figure.value)}</b>"
    return words if figure.interval is None else words + between(metric, figure.interval)


def _problem(one: Comparison, names: tuple[str, str]) -> str:
    """Why there is no difference, with the models' names."""
    if one.first is None or one.second is None:
        return f"only {names[0] if one.second is None else names[1]} was measured"
    return one.problem


def _difference(metric: str, difference: Difference, change: float) -> str:
    low, high = (
        difference_written(metric, end).removesuffix(" points")
        for end in (difference.low, difference.high)
    )
    return (
        f'<b>{difference_written(metric, change)}</b><span class="between">{low} to {high}</span>'
    )


def _forest(one: Comparison, difference: Difference, change: float, span: float) -> str:
    """A point with its interval; zero is in the middle."""

    def place(value: float) -> float:
        return 50 + 48 * value / (span or 1.0)

    low, high = place(difference.low), place(difference.high)
    return (
        f'<div class="around {one.winner or "neither"}"><i class="interval" '
        f'style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
        f'<i class="point" style="left:{place(change):.2f}%"></i></div>'
    )


def _p_value(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
