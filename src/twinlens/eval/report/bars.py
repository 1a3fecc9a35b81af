"""Figures as bars: accuracies with their intervals, what guessing reaches, what others reach."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.results.metric_names import (
    format_metric,
    is_fraction,
    lower_is_better,
    metric_name,
)
from twinlens.html import collapsible, definition_list, format_percent, table_html

if TYPE_CHECKING:
    from twinlens.eval.results.result import Interval, TaskResult


def _format_multiple(ratio: float) -> str:
    if not ratio:
        return "no better than"
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def bar(
    value: float,
    interval: Interval | None = None,
    chance: float | None = None,
    reference: float | None = None,
) -> str:
    """A bar from 0 to 1 with marks, all in [0, 1]."""
    marks = f'<i class="bar" style="width:{100 * value:.2f}%"></i>'
    if interval is not None:
        low, high = interval
        place = f"left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"
        marks += f'<i class="interval" style="{place}"></i>'
    if chance:
        marks += f'<i class="chance" style="left:{100 * chance:.2f}%"></i>'
    if reference is not None:
        marks += f'<i class="reference" style="left:{100 * reference:.2f}%"></i>'
    return f'<div class="track">{marks}</div>'


def sorted_heading(heading: str, values: Iterable[float]) -> str:
    """The heading of a list, with its order where it has one.

    Example:
        >>> sorted_heading("Classes", [0.2, 0.9]), sorted_heading("Classes", [0.5, 0.5])
        ('Classes, worst first', 'Classes')
    """
    different = {share for share in values if not math.isnan(share)}
    return f"{heading}, worst first" if len(different) > 1 else heading


def bar_table(
    columns: Sequence[str],
    rows: Sequence[tuple[str, float, Sequence[str]]],
    *,
    num_visible: int = 20,
) -> str:
    """Classes, each with a share as a bar and what else there is to say; many fold away.

    Args:
        columns: Their names.
        rows: Of each class its name, the share in [0, 1], and the other cells.
        num_visible: How many do not fold.
    """
    first = _bar_table(columns, rows[:num_visible])
    if len(rows) <= num_visible:
        return first
    rest = _bar_table(columns, rows[num_visible:])
    return first + collapsible(f"The other {len(rows) - num_visible:,} classes", rest)


def _bar_table(columns: Sequence[str], rows: Sequence[tuple[str, float, Sequence[str]]]) -> str:
    body = "".join(
        f"<tr><td>{escape(name)}</td><td><div "
        f'class="recall">{bar(share)}{format_percent(share)}</div>'
        f"</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, share, cells in rows
    )
    return f'<div class="wide">{table_html(map(escape, columns), body, css_class="classes")}</div>'


def metric_bars(result: TaskResult, metrics: Collection[str] | None = None) -> str:
    """Metrics of a result: bars with their intervals and chance, and text below where none fits."""
    chosen = result.metrics if metrics is None else metrics
    bars = "".join(_metric_bar(result, one) for one in chosen if _can_be_bar(one))
    others = {
        metric_name(one): format_with_interval(result, one)
        for one in chosen
        if not _can_be_bar(one)
    }
    drawn = f'<div class="scores">{bars}</div>' if bars else ""
    return drawn + (definition_list(others) if others else "")


def _metric_bar(result: TaskResult, metric: str) -> str:
    value, interval = result.metrics[metric], result.intervals.get(metric)
    chance = result.chance.get(metric)
    words = [f"<b>{format_percent(value)}</b>"]
    if interval is not None:
        low, high = interval
        words.append(f"95% interval {format_percent(low)} to {format_percent(high)}")
    if chance:
        words.append(f"{_format_multiple(value / chance)} chance ({format_percent(chance)})")
    return (
        f'<div class="score"><h4>{escape(metric_name(metric))}</h4>'
        f"{bar(value, interval, chance)}<p>{', '.join(words)}</p></div>"
    )


def _can_be_bar(metric: str) -> bool:
    return is_fraction(metric) and not lower_is_better(metric)


def format_with_interval(result: TaskResult, metric: str) -> str:
    """A metric with its interval."""
    text = format_metric(metric, result.metrics[metric])
    if metric not in result.intervals:
        return text
    low, high = result.intervals[metric]
    return f"{text} (95% interval {format_metric(metric, low)} to {format_metric(metric, high)})"


def interval_html(metric: str, interval: Interval) -> str:
    """An interval below its figure, in one line."""
    low, high = (format_metric(metric, end) for end in interval)
    return f'<span class="between">{low} to {high}</span>'
