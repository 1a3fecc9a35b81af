"""Charts of bars, as inline SVG: how values are spread, and how sure answers hold."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

from twinlens.html.axes import (
    HEIGHT,
    PlotArea,
    format_number,
    format_percent_tick,
    linear_ticks,
    svg_figure,
)
from twinlens.html.document import format_percent

_COUNTS_HEIGHT = 60
"""Height of the counts below a reliability chart."""

_NUM_BINS = 30


def histogram(values: Float[np.ndarray, " value"], *, title: str, x_label: str) -> str:
    """A histogram of values, in 30 bins from the least to the greatest.

    Values that are no finite numbers are left out.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    x_ticks = linear_ticks(float(finite.min()), float(finite.max()), target_count=6)
    counts, edges = np.histogram(finite, bins=_NUM_BINS, range=(x_ticks[0], x_ticks[-1]))
    y_ticks = linear_ticks(0.0, float(counts.max()))
    frame = PlotArea(x_range=(x_ticks[0], x_ticks[-1]), y_range=(0.0, y_ticks[-1]))
    bars = [
        frame.bar((low, high), (0, count), f"{low:.3g} to {high:.3g}: {count:,}")
        for low, high, count in zip(
            edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True
        )
        if count
    ]
    return svg_figure(
        frame.grid(x_ticks, y_ticks, format_x=format_number, format_y=format_number)
        + "".join(bars),
        title=title,
        aria_label=f"{title}: {len(finite):,} values, the median is {float(np.median(finite)):.3g}",
        x_label=x_label,
    )


def reliability_chart(
    accuracy: Float[np.ndarray, " bin"],
    confidence: Float[np.ndarray, " bin"],
    count: Int[np.ndarray, " bin"],
    *,
    title: str,
    calibration_error: float,
) -> str:
    """A reliability diagram: accuracy by confidence as bars, with the counts below.

    A well calibrated model's bars end on the diagonal.

    Args:
        accuracy: Share of right answers in equally wide bins of confidence; nan where empty.
        confidence: Mean in each bin, for the words under the pointer.
        count: Answers in each bin.
        title: Above the chart.
        calibration_error: The expected calibration error, written beside it.
    """
    edges = np.linspace(0, 1, len(count) + 1).tolist()
    fifths = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    upper, most = PlotArea(x_range=(0, 1), y_range=(0, 1)), int(count.max())
    lower = PlotArea(
        x_range=(0, 1), y_range=(0, max(most, 1)), top=HEIGHT, bottom=HEIGHT + _COUNTS_HEIGHT
    )
    bars, counts = "", ""
    for number_, (right, sure, samples) in enumerate(
        zip(accuracy.tolist(), confidence.tolist(), count.tolist(), strict=True)
    ):
        if not samples or math.isnan(right):
            continue
        span = (edges[number_], edges[number_ + 1])
        words = (
            f"{format_percent(right)} right where {format_percent(sure)} sure, {samples:,} answers"
        )
        bars += upper.bar(span, (0, right), words)
        counts += lower.bar(span, (0, samples), words)
    (left, foot), (right_, top) = upper.to_svg(0, 0), upper.to_svg(1, 1)
    drawing = (
        upper.grid(fifths, fifths, format_x=format_percent_tick, format_y=format_percent_tick)
        + f'<g>{bars}</g><line class="even" x1="{left}" y1="{foot}" x2="{right_}" y2="{top}"/>'
        + lower.grid([], [0, most], format_x=format_number, format_y=format_number)
        + f'<g class="counts">{counts}</g>'
    )
    error = format_percent(calibration_error)
    return svg_figure(
        drawing,
        title=title,
        caption_suffix=f"<b>{error} off</b>",
        aria_label=f"{title}: accuracy over confidence, {error} off on average",
        x_label="how sure; below, how many answers",
        height=HEIGHT + _COUNTS_HEIGHT + 20,
    )
