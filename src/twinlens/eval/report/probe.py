"""The linear probe: its L2 penalty, and how many examples a class it takes to beat words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinlens.eval.report.bars import metric_bars
from twinlens.html import (
    Series,
    chart_row,
    definition_list,
    format_percent,
    series_chart,
    subsection,
)

if TYPE_CHECKING:
    from twinlens.eval.tasks.linear_probe import LinearProbeResult


def linear_probe_subsections(result: LinearProbeResult, zero_shot: float | None) -> list[str]:
    """The parts of a section: figures, the sweep of the L2 penalty, and few examples a class.

    Args:
        result: The probe's.
        zero_shot: Top-1 accuracy on the same data set without any examples, where it is known.
    """
    facts = {
        "Images to learn from": f"{result.num_train:,}",
        "Of these, the penalty was chosen by": f"{result.num_validation:,}",
        "L2 penalty": f"{result.l2_penalty:.3g}",
        "Classes": f"{result.num_classes:,}",
    }
    return [
        subsection("Accuracy", metric_bars(result)),
        subsection(
            "How it came about",
            chart_row(_l2_penalty_chart(result), _few_shot_chart(result, zero_shot)),
        ),
        subsection("What it learned from", definition_list(facts)),
    ]


def _l2_penalty_chart(result: LinearProbeResult) -> str:
    tried = sorted(result.validation_accuracies.items())
    best = [(penalty, value) for penalty, value in tried if penalty == result.l2_penalty]
    return series_chart(
        [
            Series(name="tried", points=tried, colour_index=1),
            Series(
                name="chosen",
                points=best,
                labels=[format_percent(value) for _, value in best],
                colour_index=2,
                has_line=False,
            ),
        ],
        title="Validation accuracy",
        x_label="L2 penalty",
        y_label="by penalty",
        y_as_percent=True,
    )


def _few_shot_chart(result: LinearProbeResult, zero_shot: float | None) -> str:
    shots = sorted(result.few_shot, key=lambda one: one.shots)
    if not shots:
        return ""
    seeds = [(float(one.shots), value) for one in shots for value in one.accuracies]
    series = [
        Series(name="each draw", points=seeds, colour_index=0, has_line=False),
        Series(
            name="mean",
            points=[(float(one.shots), one.mean_accuracy) for one in shots],
            labels=[format_percent(one.mean_accuracy) for one in shots],
            colour_index=1,
        ),
    ]
    if zero_shot is not None:
        ends = [(float(shots[0].shots), zero_shot), (float(shots[-1].shots), zero_shot)]
        words = f"zero-shot, {format_percent(zero_shot)}"
        series.append(
            Series(name=words, points=ends, colour_index=2, dash_pattern="6 3", has_markers=False)
        )
    return series_chart(
        series,
        title="Accuracy with few examples",
        x_label="examples a class",
        y_label="on the test images",
        y_as_percent=True,
    )
