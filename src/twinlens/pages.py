"""One HTML page of text and charts that loads nothing from outside.

Each function returns a piece of HTML; `page` puts pieces together. Text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 400, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 34
_COLUMNS = _WIDTH - _LEFT - _RIGHT


def page(title: str, lead: str, *sections: str) -> str:
    """The whole document."""
    style = files("twinlens").joinpath("assets/report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *pieces: str, note: str = "") -> str:
    """A headed part of the page."""
    text = f"<p>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(heading)}</h2>{text}{''.join(pieces)}</section>"


def facts(values: Mapping[str, object]) -> str:
    """Names and values, such as what was trained, on what, for how long."""
    rows = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="facts">{"".join(rows)}</dl>'


def folded(summary: str, *pieces: str) -> str:
    """Pieces that are hidden until they are asked for."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(pieces)}</details>"


def percent(value: float) -> str:
    """A fraction as a percentage, with more digits where it is small.

    Example:
        >>> percent(0.5512), percent(0.0006)
        ('55.1%', '0.06%')
    """
    return f"{100 * value:.1f}%" if value >= 0.01 or value == 0 else f"{100 * value:.2f}%"


def charts(*drawn: str) -> str:
    """Charts side by side where there is room."""
    return f'<div class="charts">{"".join(drawn)}</div>'


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
    left, right = min(x_ticks[0], *xs), max(x_ticks[-1], *xs)
    low, high = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    write, mark = (percent, _round_percent) if as_percent else (_number, _number)
    grid = "".join(_horizontal(at(left, tick)[1], mark(tick)) for tick in y_ticks)
    feet = "".join(_foot(at(tick, low)[0], _number(tick)) for tick in x_ticks)
    path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
    end_x, end_y = at(*points[-1])
    label = f"{title}: {count} points, the last is {write(ys[-1])}"
    return (
        f"<figure><figcaption>{escape(title)} <b>{write(ys[-1])}</b></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'{grid}{feet}<polyline points="{path}"/><circle cx="{end_x}" cy="{end_y}" r="4"/>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>'
        "</svg></figure>"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of `series_chart`.

    Attributes:
        name: For the legend.
        points: (x, y), x above 0, in the order of the line.
        labels: What is written at each point.
        colour: Which of the page's six.
        dashes: How the line is drawn, as SVG has it; whole if none.
    """

    name: str
    points: Points
    labels: Sequence[str]
    colour: int
    dashes: str = ""


def series_chart(series: Sequence[Series], *, title: str, x_label: str, y_label: str) -> str:
    """Several labelled lines as inline SVG with a legend: x by powers of ten, y from 0."""
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    x_ticks = log_ticks(*_range([x for one in drawn for x, _ in one.points]))
    y_ticks = ticks(0.0, max(y for one in drawn for _, y in one.points))
    left, right = math.log(x_ticks[0]), math.log(x_ticks[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        up = y / y_ticks[-1] * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    grid = "".join(_horizontal(at(x_ticks[0], tick)[1], _number(tick)) for tick in y_ticks)
    feet = "".join(_foot(at(tick, 0.0)[0], _number(tick)) for tick in x_ticks)
    lines = "".join(_series(one, [at(*point) for point in one.points]) for one in drawn)
    label = f"{title}: {', '.join(one.name for one in drawn)}; {y_label} over {x_label}"
    return (
        f"<figure><figcaption>{escape(title)} <span>{escape(y_label)}</span></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{grid}{feet}{lines}"
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>'
        f"</svg>{_legend(drawn)}</figure>"
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _series(series: Series, places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x},{y}" for x, y in places)
    points = "".join(
        f'<circle cx="{x}" cy="{y}" r="3"/>'
        f'<text x="{x}" y="{y - 6:.1f}" text-anchor="middle">{escape(label)}</text>'
        for (x, y), label in zip(places, series.labels, strict=True)
    )
    line = f'<polyline points="{path}"{_dashed(series)}/>'
    return f'<g class="series s{series.colour}">{line}{points}</g>'


def _legend(series: Sequence[Series]) -> str:
    keys = "".join(
        f'<li class="s{one.colour}"><svg viewBox="0 0 24 8" class="series">'
        f'<polyline points="0,4 24,4"{_dashed(one)}/></svg>{escape(one.name)}</li>'
        for one in series
    )
    return f'<ul class="legend">{keys}</ul>'


def _dashed(series: Series) -> str:
    return f' stroke-dasharray="{series.dashes}"' if series.dashes else ""


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about evenly far by their ratio.

    Example:
        >>> log_ticks(3, 60), log_ticks(0.3, 4000)
        ([2.0, 5.0, 10.0, 20.0, 50.0, 100.0], [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0])
    """
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    for steps in ((1, 2, 5), (1,)):
        marks = [float(f"{m}e{power}") for power in range(first, last + 1) for m in steps]
        start = max(i for i, mark in enumerate(marks) if mark <= low)
        end = min(i for i, mark in enumerate(marks) if mark >= high)
        chosen = marks[start : max(end, start + 1) + 1]
        if len(chosen) <= 7:
            break
    return chosen


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text; as wide as it must be, to be scrolled where there is no room."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead>{body}'
        "</table></div>"
    )


def thinned(
    points: Points, columns: int = _WIDTH - _LEFT - _RIGHT
) -> Iterator[tuple[float, float]]:
    """Points in their order: of each column the first, the lowest, the highest and the last.

    Example:
        >>> [int(x) for x, _ in thinned([(i, -abs(i - 500)) for i in range(1000)], columns=2)]
        [0, 499, 500, 999]
    """
    size = math.ceil(len(points) / columns)
    if size <= 4:
        yield from points
        return
    for start in range(0, len(points), size):
        column = range(start, min(start + size, len(points)))
        kept = {column[0], column[-1]}
        kept |= {min(column, key=lambda i: points[i][1]), max(column, key=lambda i: points[i][1])}
        yield from (points[i] for i in sorted(kept))


def _horizontal(y: float, text: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _foot(x: float, text: str) -> str:
    anchor = "end" if x > _WIDTH - _RIGHT - 4 else "middle"  # the last is not cut off
    edge = _WIDTH if anchor == "end" else x
    return f'<text x="{edge}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="{anchor}">{text}</text>'


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from at most `low` to at least `high`.

    Example:
        >>> ticks(0, 7.3)
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    span = high - low if high - low > 1e-12 else 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, max(last, first + 1) + 1)]


def _round_percent(value: float) -> str:
    return f"{100 * value:g}%"


def _number(value: float) -> str:
    """Short: 1200 as 1.2k, 0.0005 as 5e-4."""
    size = abs(value)
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= power:
            return f"{value / power:.3g}{letter}"
    if 0 < size < 1e-3:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.3g}"
