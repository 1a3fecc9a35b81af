"""Charts of lines and of points, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from twinlens.html.axes import (
    PlotArea,
    Points,
    downsample,
    format_number,
    format_percent_tick,
    linear_ticks,
    log_ticks,
    svg_figure,
)
from twinlens.html.document import format_percent


def line_chart(points: Points, *, title: str, x_label: str, y_as_percent: bool = False) -> str:
    """One curve as inline SVG; the last value is written at its end.

    Of thousands of points as many are drawn as a screen has room for, the highest and the lowest
    among them. Points that are no finite numbers are left out.
    """
    count = len(points)
    points = list(downsample([point for point in points if all(map(math.isfinite, point))]))
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = linear_ticks(min(*xs, 0.0), max(xs)), linear_ticks(min(*ys, 0.0), max(ys))
    frame = PlotArea(
        x_range=(min(x_ticks[0], *xs), max(x_ticks[-1], *xs)),
        y_range=(min(y_ticks[0], *ys), max(y_ticks[-1], *ys)),
    )
    write, mark = (
        (format_percent, format_percent_tick) if y_as_percent else (format_number, format_number)
    )
    path = " ".join(f"{x},{y}" for x, y in (frame.to_svg(*point) for point in points))
    end_x, end_y = frame.to_svg(*points[-1])
    return svg_figure(
        frame.grid(x_ticks, y_ticks, format_x=format_number, format_y=mark)
        + f'<polyline points="{path}"/><circle cx="{end_x}" cy="{end_y}" r="4"/>',
        title=title,
        caption_suffix=f"<b>{write(ys[-1])}</b>",
        aria_label=f"{title}: {count} points, the last is {write(ys[-1])}",
        x_label=x_label,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of `series_chart`.

    Attributes:
        name: For the legend.
        points: (x, y), in the order of the line; x above 0 where the axis has powers of ten.
        labels: What is written at each point; nothing at any if there are none.
        colour_index: Which of the page's six.
        dash_pattern: How the line is drawn, as SVG has it; whole if none.
        has_line: Whether there is a line at all, or points only.
        has_markers: Whether the points are drawn.
    """

    name: str
    points: Points
    labels: Sequence[str] = ()
    colour_index: int
    dash_pattern: str = ""
    has_line: bool = True
    has_markers: bool = True


def series_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = True,
    y_as_percent: bool = False,
) -> str:
    """Several lines as inline SVG with a legend; y from 0, and x too unless by powers of ten.

    With `y_as_percent` y is a fraction; so is x where it is not by powers of ten.
    """
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    xs = [x for one in drawn for x, _ in one.points]
    x_ticks = log_ticks(min(xs), max(xs)) if log_x else linear_ticks(0.0, max(xs))
    y_ticks = linear_ticks(0.0, max(y for one in drawn for _, y in one.points))
    frame = PlotArea(x_range=(x_ticks[0], x_ticks[-1]), y_range=(0.0, y_ticks[-1]), is_x_log=log_x)
    y_mark = format_percent_tick if y_as_percent else format_number
    x_mark = format_percent_tick if y_as_percent and not log_x else format_number
    return svg_figure(
        frame.grid(x_ticks, y_ticks, format_x=x_mark, format_y=y_mark)
        + "".join(
            _series_svg(one, [frame.to_svg(*point) for point in one.points]) for one in drawn
        ),
        title=title,
        caption_suffix=f"<span>{escape(y_label)}</span>",
        aria_label=f"{title}: {', '.join(one.name for one in drawn)}; {y_label} over {x_label}",
        x_label=x_label,
        legend=f'<ul class="legend">{"".join(map(_legend_entry, drawn))}</ul>',
    )


def _series_svg(series: Series, places: Points) -> str:
    path = " ".join(f"{x},{y}" for x, y in places)
    line = f'<polyline points="{path}"{_dash_attribute(series)}/>' if series.has_line else ""
    labels = series.labels or [""] * len(places)
    points = "".join(
        (f'<circle cx="{x}" cy="{y}" r="3"/>' if series.has_markers else "")
        + (
            f'<text x="{x}" y="{y - 9:.1f}" text-anchor="middle">{escape(label)}</text>'
            * bool(label)
        )
        for (x, y), label in zip(places, labels, strict=True)
    )
    return f'<g class="series s{series.colour_index}">{line}{points}</g>'


def _legend_entry(series: Series) -> str:
    drawn = (
        f'<polyline points="0,4 24,4"{_dash_attribute(series)}/>'
        if series.has_line
        else '<circle cx="12" cy="4" r="3"/>'
    )
    return (
        f'<li class="s{series.colour_index}"><svg viewBox="0 0 24 8" class="series">{drawn}</svg>'
        f"{escape(series.name)}</li>"
    )


def _dash_attribute(series: Series) -> str:
    return f' stroke-dasharray="{series.dash_pattern}"' if series.dash_pattern else ""
