"""Figures as bars: accuracies with their intervals, what guessing reaches, what others reach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.results.metric_names import (
    format_metric,
    is_fraction,
    lower_is_better,
    metric_name,
)
from twinlens.html import collapsible, definition_list, format_percent

if TYPE_CHECKING:
    from twinlens.eval.results.result import Interval, TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class BarMetric:
    """One accuracy in [0, 1] with its 95% interval, beside what guessing would reach."""

    name: str
    value: float
    interval: Interval | None = None
    chance: float | None = None


def metric_bar_group(metrics: Sequence[BarMetric]) -> str:
    """Accuracies as bars with their intervals, and chance as a mark on each."""
    return f'<div class="scores">{"".join(map(_metric_bar, metrics))}</div>'


def _metric_bar(metric: BarMetric) -> str:
    words = [f"<b>{format_percent(metric.value)}</b>"]
    if metric.interval is not None:
        low, high = metric.interval
        words.append(f"95% interval {format_percent(low)} to {format_percent(high)}")
    if metric.chance:
        words.append(
            f"{_format_multiple(metric.value / metric.chance)} chance "
            f"({format_percent(metric.chance)})"
        )
    return (
        f'<div class="score"><h4>{escape(metric.name)}</h4>'
        f"{bar(metric.value, metric.interval, metric.chance)}<p>{', '.join(words)}</p></div>"
    )


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
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><td>{escape(name)}</td><td><div "
        f'class="recall">{bar(share)}{format_percent(share)}</div>'
        f"</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, share, cells in rows
    )
    table = f'<table class="classes"><thead><tr>{head}</tr></thead>{body}</table>'
    return f'<div class="wide">{table}</div>'


def bar_metrics(result: TaskResult, metrics: Iterable[str] | None = None) -> list[BarMetric]:
    """Those metrics of a result, or all, that bars can show, for `scores`."""
    return [
        BarMetric(
            name=metric_name(metric),
            value=result.metrics[metric],
            interval=result.intervals.get(metric),
            chance=result.chance.get(metric),
        )
        for metric in (result.metrics if metrics is None else metrics)
        if _can_be_bar(metric)
    ]


def metric_bars(result: TaskResult, metrics: Iterable[str] | None = None) -> str:
    """The metrics as bars; in words below, those of which a long bar would say nothing good."""
    chosen = list(result.metrics if metrics is None else metrics)
    bars = bar_metrics(result, chosen)
    others = {
        metric_name(one): format_with_interval(result, one)
        for one in chosen
        if not _can_be_bar(one)
    }
    return (metric_bar_group(bars) if bars else "") + (definition_list(others) if others else "")


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
