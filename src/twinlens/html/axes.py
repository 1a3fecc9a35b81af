"""Parts that charts share: frame, axes, ticks, short numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 400, 228
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 44, 12, 14, 42


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotArea:
    """The rectangle of a drawing that a chart's data ranges map to.

    Attributes:
        x_range: The least and the greatest value across.
        y_range: Those upwards.
        is_x_log: Whether equal ratios are equally far.
        top: Where the greatest y is drawn.
        bottom: Where the least is.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    is_x_log: bool = False
    top: float = MARGIN_TOP
    bottom: float = HEIGHT - MARGIN_BOTTOM

    def to_svg(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point."""
        left, right = self.x_range
        if self.is_x_log:
            x, left, right = math.log(x), math.log(left), math.log(right)
        across = (x - left) / (right - left) * (WIDTH - MARGIN_LEFT - MARGIN_RIGHT)
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0]) * (self.bottom - self.top)
        return round(MARGIN_LEFT + across, 1), round(self.bottom - up, 1)

    def grid(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        *,
        format_x: Callable[[float], str],
        format_y: Callable[[float], str],
    ) -> str:
        """Lines across at the ticks of y, and the marks of both axes."""
        lines = [
            _grid_line(self.to_svg(self.x_range[0], tick)[1], format_y(tick)) for tick in y_ticks
        ]
        places = [(self.to_svg(tick, self.y_range[0])[0], format_x(tick)) for tick in x_ticks]
        return "".join(lines + [_x_tick_label(x, self.bottom, text) for x, text in places])

    def bar(self, x_range: tuple[float, float], y_range: tuple[float, float], tooltip: str) -> str:
        """A bar between two values of x and two of y; the words show under a pointer."""
        (left, foot), (right, top) = (
            self.to_svg(x_range[0], y_range[0]),
            self.to_svg(x_range[1], y_range[1]),
        )
        return (
            f'<rect x="{left + 0.5:.1f}" y="{top}" width="{max(right - left - 1, 1):.1f}" '
            f'height="{foot - top:.1f}"><title>{escape(tooltip)}</title></rect>'
        )


def svg_figure(
    drawing: str,
    *,
    title: str,
    aria_label: str,
    x_label: str,
    caption_suffix: str = "",
    legend: str = "",
    height: int = HEIGHT,
) -> str:
    """A drawing with its title, and its label for who cannot see it; `caption_suffix` is HTML."""
    return (
        f"<figure><figcaption>{escape(title)}{caption_suffix and f' {caption_suffix}'}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(aria_label)}">{drawing}'
        f'<text x="{WIDTH - MARGIN_RIGHT}" y="{height - 3}" '
        f'text-anchor="end">{escape(x_label)}</text>'
        f"</svg>{legend}</figure>"
    )


def chart_row(*drawn: str) -> str:
    """Charts side by side where there is room."""
    return f'<div class="charts">{"".join(drawn)}</div>'


def linear_ticks(low: float, high: float, target_count: int = 4) -> list[float]:
    """Round numbers from at most `low` to at least `high`.

    Example:
        >>> linear_ticks(0, 7.3)
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    span = high - low if high - low > 1e-12 else 1.0
    rough = span / target_count
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


def downsample(
    points: Points, num_columns: int = WIDTH - MARGIN_LEFT - MARGIN_RIGHT
) -> Iterator[tuple[float, float]]:
    """Points in their order: of each column the first, the lowest, the highest and the last.

    Example:
        >>> points = [(i, -abs(i - 500)) for i in range(1000)]
        >>> [int(x) for x, _ in downsample(points, num_columns=2)]
        [0, 499, 500, 999]
    """
    size = math.ceil(len(points) / num_columns)
    if size <= 4:
        yield from points
        return
    for start in range(0, len(points), size):
        column = range(start, min(start + size, len(points)))
        kept = {column[0], column[-1]}
        kept |= {min(column, key=lambda i: points[i][1]), max(column, key=lambda i: points[i][1])}
        yield from (points[i] for i in sorted(kept))


def _grid_line(y: float, text: str) -> str:
    return (
        f'<line x1="{MARGIN_LEFT}" x2="{WIDTH - MARGIN_RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{MARGIN_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _x_tick_label(x: float, y: float, text: str) -> str:
    anchor = "end" if x > WIDTH - MARGIN_RIGHT - 4 else "middle"  # the last is not cut off
    edge = WIDTH if anchor == "end" else x
    return f'<text x="{edge}" y="{y + 20:g}" text-anchor="{anchor}">{text}</text>'


def format_percent_tick(value: float) -> str:
    """A tick's fraction as a percentage."""
    return f"{100 * value:g}%"


def format_number(value: float) -> str:
    """Short: 1200 as 1.2k, 0.0005 as 5e-4."""
    size = abs(value)
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= power:
            return f"{value / power:.3g}{letter}"
    if 0 < size < 1e-3:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.3g}"
