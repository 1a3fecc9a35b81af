"""The page of a comparison: differences with their intervals around nothing, and who is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.compare import LEVEL, Comparison
from twinlens.eval.figures import (
    difference_written,
    lower_is_better,
    metric_name,
    task_name,
    written,
)
from twinlens.pages import facts, page, section

if TYPE_CHECKING:
    from twinlens.eval.compare import Figure
    from twinlens.eval.results_files import StoredResults

_Spans = Mapping[str, float]


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
        section("How to read it", _key(names), note=_note(comparisons)),
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
        "Lines are 95% intervals of the differences, on the same resamples of the same samples. "
        f"The p-values are corrected together for {tests:,} tests (Holm's method): a model is "
        f"called better where one is at most {LEVEL:.0%}. They are McNemar's exact test of "
        "fractions of samples, and of the resamples otherwise, where they cannot be small: "
        "1,000 resamples give 0.2% at the least, before the correction."
    )


def _key(names: tuple[str, str]) -> str:
    return facts(
        {
            "Left of the line": f"{names[0]} is higher",
            "Right of the line": f"{names[1]} is higher",
            "Coloured": "better, and hardly by chance",
        }
    )


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
    return "points" if difference_written(metric, 0).endswith("points") else metric


def _table(rows: Sequence[Comparison], names: tuple[str, str], spans: _Spans) -> str:
    columns = ("Metric", "Difference", "", *names, "p, corrected", "Better")
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(_row(row, names, spans) for row in rows)
    return f'<table class="summary forest"><thead><tr>{head}</tr></thead>{body}</table>'


def _row(one: Comparison, names: tuple[str, str], spans: _Spans) -> str:
    lower = "<span>lower is better</span>" if lower_is_better(one.metric) else ""
    winner = {"first": names[0], "second": names[1], None: "neither"}[one.winner]
    cells = (
        _cell(names[0], _figure(one.metric, one.first))
        + _cell(names[1], _figure(one.metric, one.second))
        + _cell("p, corrected", _p_value(one.adjusted))
        + _cell("Better", escape(winner) if one.difference is not None else "unknown")
    )
    return (
        f'<tr><th scope="row">{escape(metric_name(one.metric))}{lower}</th>'
        f'<td class="drawn">{_forest(one, spans)}</td>{_change(one)}{cells}</tr>'
    )


def _cell(name: str, html: str) -> str:
    return f'<td data-name="{escape(name)}">{html}</td>'


def _figure(metric: str, figure: Figure | None) -> str:
    if figure is None:
        return "not measured"
    words = f"<b>{written(metric, figure.value)}</b>"
    if figure.interval is None:
        return words
    low, high = figure.interval
    return f"{words}<span>{written(metric, low)} to {written(metric, high)}</span>"


def _change(one: Comparison) -> str:
    if one.difference is None or one.change is None:
        return f'<td class="problem" data-name="Difference">{escape(one.problem)}</td>'
    low, high = (
        difference_written(one.metric, end).removesuffix(" points")
        for end in (one.difference.low, one.difference.high)
    )
    words = f"<b>{difference_written(one.metric, one.change)}</b><span>{low} to {high}</span>"
    return _cell("Difference", words)


def _forest(one: Comparison, spans: _Spans) -> str:
    """A point with its interval; zero is in the middle."""
    if one.difference is None or one.change is None:
        return ""
    span = spans[_unit(one.metric)] or 1.0

    def place(value: float) -> float:
        return 50 + 48 * value / span

    low, high = place(one.difference.low), place(one.difference.high)
    return (
        f'<div class="around {one.winner or "neither"}"><i class="interval" '
        f'style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
        f'<i class="point" style="left:{place(one.change):.2f}%"></i></div>'
    )


def _p_value(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
