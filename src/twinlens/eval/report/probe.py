"""The linear probe: its strength, and how many examples a class it takes to beat words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinlens.eval.report.bars import metric_bars
from twinlens.html import Series, charts, facts, part, percent, series_chart

if TYPE_CHECKING:
    from twinlens.eval.results.result import ProbeResult


def probe_parts(result: ProbeResult, zero_shot: float | None) -> list[str]:
    """The parts of a section: figures, the sweep of the strength, and few examples a class.

    Args:
        result: The probe's.
        zero_shot: Top-1 accuracy on the same data set without any examples, where it is known.
    """
    return [
        part("Accuracy", metric_bars(result)),
        part("How it came about", charts(_sweep(result), _shots(result, zero_shot))),
        part("What it learned from", facts(_learned(result))),
    ]


def _learned(result: ProbeResult) -> dict[str, object]:
    return {
        "Images to learn from": f"{result.train:,}",
        "Of these, the strength was chosen by": f"{result.validation:,}",
        "Strength of the L2 penalty": f"{result.strength:.3g}",
        "Classes": f"{result.classes:,}",
    }


def _sweep(result: ProbeResult) -> str:
    tried = sorted(result.tried.items())
    best = [(strength, value) for strength, value in tried if strength == result.strength]
    return series_chart(
        [
            Series(name="tried", points=tried, colour=1),
            Series(
                name="chosen",
                points=best,
                labels=[percent(value) for _, value in best],
                colour=2,
                joined=False,
            ),
        ],
        title="Validation accuracy",
        x_label="strength of the L2 penalty",
        y_label="by strength",
        as_percent=True,
    )


def _shots(result: ProbeResult, zero_shot: float | None) -> str:
    shots = sorted(result.shots, key=lambda one: one.shots)
    if not shots:
        return ""
    seeds = [(float(one.shots), value) for one in shots for value in one.accuracies]
    series = [
        Series(name="each draw", points=seeds, colour=0, joined=False),
        Series(
            name="mean",
            points=[(float(one.shots), one.mean) for one in shots],
            labels=[percent(one.mean) for one in shots],
            colour=1,
        ),
    ]
    if zero_shot is not None:
        ends = [(float(shots[0].shots), zero_shot), (float(shots[-1].shots), zero_shot)]
        words = f"zero-shot, {percent(zero_shot)}"
        series.append(Series(name=words, points=ends, colour=2, dashes="6 3", dotted=False))
    return series_chart(
        series,
        title="Accuracy with few examples",
        x_label="examples a class",
        y_label="on the test images",
        as_percent=True,
    )
