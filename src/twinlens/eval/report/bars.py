"""Figures as bars: accuracies with their intervals, what guessing reaches, what others reach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.results.metric_names import is_share, lower_is_better, metric_name, written
from twinlens.html import facts, folded, percent

if TYPE_CHECKING:
    from twinlens.eval.results.result import Interval, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One accuracy in [0, 1] with its 95% interval, beside what guessing would reach."""

    name: str
    value: float
    interval: Interval | None = None
    chance: float | None = None


def scores(measured: Sequence[Score]) -> str:
    """Accuracies as bars with their intervals, and chance as a mark on each."""
    return f'<div class="scores">{"".join(map(_score, measured))}</div>'


def _score(score: Score) -> str:
    words = [f"<b>{percent(score.value)}</b>"]
    if score.interval is not None:
        low, high = score.interval
        words.append(f"95% interval {percent(low)} to {percent(high)}")
    if score.chance:
        words.append(f"{_times(score.value / score.chance)} chance ({percent(score.chance)})")
    return (
        f'<div class="score"><h4>{escape(score.name)}</h4>'
        f"{track(score.value, score.interval, score.chance)}<p>{', '.join(words)}</p></div>"
    )


def _times(ratio: float) -> str:
    if not ratio:
        return "no better than"
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def track(
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


def worst_first(heading: str, shares: Iterable[float]) -> str:
    """The heading of a list, with its order where it has one.

    Example:
        >>> worst_first("Classes", [0.2, 0.9]), worst_first("Classes", [0.5, 0.5])
        ('Classes, worst first', 'Classes')
    """
    different = {share for share in shares if not math.isnan(share)}
    return f"{heading}, worst first" if len(different) > 1 else heading


def bar_table(
    columns: Sequence[str],
    rows: Sequence[tuple[str, float, Sequence[str]]],
    *,
    shown: int = 20,
) -> str:
    """Classes, each with a share as a bar and what else there is to say; many fold away.

    Args:
        columns: Their names.
        rows: Of each class its name, the share in [0, 1], and the other cells.
        shown: How many do not fold.
    """
    first = _bar_table(columns, rows[:shown])
    if len(rows) <= shown:
        return first
    rest = _bar_table(columns, rows[shown:])
    return first + folded(f"The other {len(rows) - shown:,} classes", rest)


def _bar_table(columns: Sequence[str], rows: Sequence[tuple[str, float, Sequence[str]]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f'<tr><td>{escape(name)}</td><td><div class="recall">{track(share)}{percent(share)}</div>'
        f"</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, share, cells in rows
    )
    table = f'<table class="classes"><thead><tr>{head}</tr></thead>{body}</table>'
    return f'<div class="wide">{table}</div>'


def metric_scores(result: Result, metrics: Iterable[str] | None = None) -> list[Score]:
    """Those metrics of a result, or all, that bars can show, for `scores`."""
    return [
        Score(
            name=metric_name(metric),
            value=result.metrics[metric],
            interval=result.intervals.get(metric),
            chance=result.chance.get(metric),
        )
        for metric in (result.metrics if metrics is None else metrics)
        if _is_bar(metric)
    ]


def metric_bars(result: Result, metrics: Iterable[str] | None = None) -> str:
    """The metrics as bars; in words below, those of which a long bar would say nothing good."""
    chosen = list(result.metrics if metrics is None else metrics)
    bars = metric_scores(result, chosen)
    others = {metric_name(one): in_words(result, one) for one in chosen if not _is_bar(one)}
    return (scores(bars) if bars else "") + (facts(others) if others else "")


def _is_bar(metric: str) -> bool:
    return is_share(metric) and not lower_is_better(metric)


def in_words(result: Result, metric: str) -> str:
    """A metric with its interval."""
    text = written(metric, result.metrics[metric])
    if metric not in result.intervals:
        return text
    low, high = result.intervals[metric]
    return f"{text} (95% interval {written(metric, low)} to {written(metric, high)})"


def between(metric: str, interval: Interval) -> str:
    """An interval below its figure, in one line."""
    low, high = interval
    return f'<span class="between">{written(metric, low)} to {written(metric, high)}</span>'
