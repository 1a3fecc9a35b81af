"""Charts of bars, as inline SVG: how values are spread, and how sure answers hold."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

from twinlens.html.axes import HEIGHT, Frame, figure, number, round_percent, ticks
from twinlens.html.document import percent

_COUNTS = 60
"""Height of the counts below a reliability chart."""

_BINS = 30


def histogram(values: Float[np.ndarray, " value"], *, title: str, x_label: str) -> str:
    """How many of the values lie where, in 30 bins from the least to the greatest.

    Values that are no finite numbers are left out.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    x_ticks = ticks(float(finite.min()), float(finite.max()), about=6)
    counts, edges = np.histogram(finite, bins=_BINS, range=(x_ticks[0], x_ticks[-1]))
    y_ticks = ticks(0.0, float(counts.max()))
    frame = Frame(x=(x_ticks[0], x_ticks[-1]), y=(0.0, y_ticks[-1]))
    bars = [
        frame.rectangle((low, high), (0, count), f"{low:.3g} to {high:.3g}: {count:,}")
        for low, high, count in zip(
            edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True
        )
        if count
    ]
    return figure(
        frame.grid(x_ticks, y_ticks, x_mark=number, y_mark=number) + "".join(bars),
        title=title,
        label=f"{title}: {len(finite):,} values, the median is {float(np.median(finite)):.3g}",
        x_label=x_label,
    )


def reliability_chart(
    accuracy: Float[np.ndarray, " bin"],
    confidence: Float[np.ndarray, " bin"],
    count: Int[np.ndarray, " bin"],
    *,
    title: str,
    error: float,
) -> str:
    """How often answers are right (bars) where a model is how sure, and how many these are.

    A well calibrated model's bars end on the diagonal.

    Args:
        accuracy: Share of right answers in equally wide bins of confidence; nan where empty.
        confidence: Mean in each bin, for the words under the pointer.
        count: Answers in each bin.
        title: Above the chart.
        error: The expected calibration error, written beside it.
    """
    edges = np.linspace(0, 1, len(count) + 1).tolist()
    fifths = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    upper, most = Frame(x=(0, 1), y=(0, 1)), int(count.max())
    lower = Frame(x=(0, 1), y=(0, max(most, 1)), top=HEIGHT, foot=HEIGHT + _COUNTS)
    bars, counts = "", ""
    for number_, (right, sure, samples) in enumerate(
        zip(accuracy.tolist(), confidence.tolist(), count.tolist(), strict=True)
    ):
        if not samples or math.isnan(right):
            continue
        span = (edges[number_], edges[number_ + 1])
        words = f"{percent(right)} right where {percent(sure)} sure, {samples:,} answers"
        bars += upper.rectangle(span, (0, right), words)
        counts += lower.rectangle(span, (0, samples), words)
    (left, foot), (right_, top) = upper.at(0, 0), upper.at(1, 1)
    drawing = (
        upper.grid(fifths, fifths, x_mark=round_percent, y_mark=round_percent)
        + f'<g>{bars}</g><line class="even" x1="{left}" y1="{foot}" x2="{right_}" y2="{top}"/>'
        + lower.grid([], [0, most], x_mark=number, y_mark=number)
        + f'<g class="counts">{counts}</g>'
    )
    return figure(
        drawing,
        title=title,
        aside=f"<b>{percent(error)} off</b>",
        label=f"{title}: share of right answers over confidence, {percent(error)} off on average",
        x_label="how sure; below, how many answers",
        height=HEIGHT + _COUNTS + 20,
    )
