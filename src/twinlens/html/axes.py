"""What charts have in common: their frame, their axes, numbers written short."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 400, 228
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where in a drawing the points of a chart lie.

    Attributes:
        x: The least and the greatest value across.
        y: Those upwards.
        log_x: Whether equal ratios are equally far.
        top: Where the greatest y is drawn.
        foot: Where the least is.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False
    top: float = TOP
    foot: float = HEIGHT - BOTTOM

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point."""
        left, right = self.x
        if self.log_x:
            x, left, right = math.log(x), math.log(left), math.log(right)
        across = (x - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        up = (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.foot - self.top)
        return round(LEFT + across, 1), round(self.foot - up, 1)

    def grid(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        *,
        x_mark: Callable[[float], str],
        y_mark: Callable[[float], str],
    ) -> str:
        """Lines across at the ticks of y, and the marks of both axes."""
        lines = [_horizontal(self.at(self.x[0], tick)[1], y_mark(tick)) for tick in y_ticks]
        places = [(self.at(tick, self.y[0])[0], x_mark(tick)) for tick in x_ticks]
        return "".join(lines + [_foot(x, self.foot, text) for x, text in places])

    def rectangle(self, x: tuple[float, float], y: tuple[float, float], words: str) -> str:
        """A bar between two values of x and two of y; the words show under a pointer."""
        (left, foot), (right, top) = self.at(x[0], y[0]), self.at(x[1], y[1])
        return (
            f'<rect x="{left + 0.5:.1f}" y="{top}" width="{max(right - left - 1, 1):.1f}" '
            f'height="{foot - top:.1f}"><title>{escape(words)}</title></rect>'
        )


def figure(
    drawing: str,
    *,
    title: str,
    label: str,
    x_label: str,
    aside: str = "",
    legend: str = "",
    height: int = HEIGHT,
) -> str:
    """A drawing with its title, and its label for who cannot see it; `aside` is HTML."""
    return (
        f"<figure><figcaption>{escape(title)}{aside and f' {aside}'}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{drawing}'
        f'<text x="{WIDTH - RIGHT}" y="{height - 3}" text-anchor="end">{escape(x_label)}</text>'
        f"</svg>{legend}</figure>"
    )


def charts(*drawn: str) -> str:
    """Charts side by side where there is room."""
    return f'<div class="charts">{"".join(drawn)}</div>'


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


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about evenly far by their ratio.

    Example:
        >>> log_ticks(3, 60), log_ticks(0.3, 4000)
        ([2.0, 5.0, 10.0, 20.0, 50.0, 100.0], [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0])
        >>> log_ticks(1e-6, 1e6)
        [1e-06, 0.0001, 0.01, 1.0, 100.0, 10000.0, 1000000.0]
    """
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    chosen: list[float] = []
    for steps, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 3), ((1,), 5)):
        powers = range(first - first % every, last + every, every)
        marks = [float(f"{m}e{power}") for power in powers for m in steps]
        start = max(i for i, mark in enumerate(marks) if mark <= low)
        end = min(i for i, mark in enumerate(marks) if mark >= high)
        chosen = marks[start : max(end, start + 1) + 1]
        if len(chosen) <= 7:
            break
    return chosen


def thinned(points: Points, columns: int = WIDTH - LEFT - RIGHT) -> Iterator[tuple[float, float]]:
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
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _foot(x: float, foot: float, text: str) -> str:
    anchor = "end" if x > WIDTH - RIGHT - 4 else "middle"  # the last is not cut off
    edge = WIDTH if anchor == "end" else x
    return f'<text x="{edge}" y="{foot + 20:g}" text-anchor="{anchor}">{text}</text>'


def round_percent(value: float) -> str:
    """A tick's fraction as a percentage."""
    return f"{100 * value:g}%"


def number(value: float) -> str:
    """Short: 1200 as 1.2k, 0.0005 as 5e-4."""
    size = abs(value)
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= power:
            return f"{value / power:.3g}{letter}"
    if 0 < size < 1e-3:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.3g}"
