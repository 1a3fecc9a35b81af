"""Charts of lines and of points, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from twinlens.html.axes import (
    Frame,
    Points,
    figure,
    log_ticks,
    number,
    round_percent,
    thinned,
    ticks,
)
from twinlens.html.document import percent


def line_chart(points: Points, *, title: str, x_label: str, as_percent: bool = False) -> str:
    """One curve as inline SVG; the last value is written at its end.

    Of thousands of points as many are drawn as a screen has room for, the highest and the lowest
    among them. Points that are no finite numbers are left out.
    """
    count = len(points)
    points = list(thinned([point for point in points if all(map(math.isfinite, point))]))
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = ticks(min(*xs, 0.0), max(xs)), ticks(min(*ys, 0.0), max(ys))
    frame = Frame(
        x=(min(x_ticks[0], *xs), max(x_ticks[-1], *xs)),
        y=(min(y_ticks[0], *ys), max(y_ticks[-1], *ys)),
    )
    write, mark = (percent, round_percent) if as_percent else (number, number)
    path = " ".join(f"{x},{y}" for x, y in (frame.at(*point) for point in points))
    end_x, end_y = frame.at(*points[-1])
    return figure(
        frame.grid(x_ticks, y_ticks, x_mark=number, y_mark=mark)
        + f'<polyline points="{path}"/><circle cx="{end_x}" cy="{end_y}" r="4"/>',
        title=title,
        aside=f"<b>{write(ys[-1])}</b>",
        label=f"{title}: {count} points, the last is {write(ys[-1])}",
        x_label=x_label,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of `series_chart`.

    Attributes:
        name: For the legend.
        points: (x, y), in the order of the line; x above 0 where the axis has powers of ten.
        labels: What is written at each point; nothing at any if there are none.
        colour: Which of the page's six.
        dashes: How the line is drawn, as SVG has it; whole if none.
        joined: Whether there is a line at all, or points only.
        dotted: Whether the points are drawn.
    """

    name: str
    points: Points
    labels: Sequence[str] = ()
    colour: int
    dashes: str = ""
    joined: bool = True
    dotted: bool = True


def series_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = True,
    as_percent: bool = False,
) -> str:
    """Several lines as inline SVG with a legend; y from 0, and x too unless by powers of ten.

    With `as_percent` y is a fraction; so is x where it is not by powers of ten.
    """
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    xs = [x for one in drawn for x, _ in one.points]
    x_ticks = log_ticks(min(xs), max(xs)) if log_x else ticks(0.0, max(xs))
    y_ticks = ticks(0.0, max(y for one in drawn for _, y in one.points))
    frame = Frame(x=(x_ticks[0], x_ticks[-1]), y=(0.0, y_ticks[-1]), log_x=log_x)
    y_mark = round_percent if as_percent else number
    x_mark = round_percent if as_percent and not log_x else number
    return figure(
        frame.grid(x_ticks, y_ticks, x_mark=x_mark, y_mark=y_mark)
        + "".join(_series(one, [frame.at(*point) for point in one.points]) for one in drawn),
        title=title,
        aside=f"<span>{escape(y_label)}</span>",
        label=f"{title}: {', '.join(one.name for one in drawn)}; {y_label} over {x_label}",
        x_label=x_label,
        legend=_legend(drawn),
    )


def _series(series: Series, places: Points) -> str:
    path = " ".join(f"{x},{y}" for x, y in places)
    line = f'<polyline points="{path}"{_dashed(series)}/>' if series.joined else ""
    labels = series.labels or [""] * len(places)
    points = "".join(
        (f'<circle cx="{x}" cy="{y}" r="3"/>' if series.dotted else "")
        + (
            f'<text x="{x}" y="{y - 9:.1f}" text-anchor="middle">{escape(label)}</text>'
            * bool(label)
        )
        for (x, y), label in zip(places, labels, strict=True)
    )
    return f'<g class="series s{series.colour}">{line}{points}</g>'


def _legend(series: Sequence[Series]) -> str:
    return f'<ul class="legend">{"".join(map(_key, series))}</ul>'


def _key(series: Series) -> str:
    drawn = (
        f'<polyline points="0,4 24,4"{_dashed(series)}/>'
        if series.joined
        else '<circle cx="12" cy="4" r="3"/>'
    )
    return (
        f'<li class="s{series.colour}"><svg viewBox="0 0 24 8" class="series">{drawn}</svg>'
        f"{escape(series.name)}</li>"
    )


def _dashed(series: Series) -> str:
    return f' stroke-dasharray="{series.dashes}"' if series.dashes else ""
