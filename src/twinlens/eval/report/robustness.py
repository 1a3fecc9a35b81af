"""Robustness: what corruptions leave of an accuracy, and what other sets of the classes do."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from twinlens.eval.report.bars import metric_bars, sorted_heading
from twinlens.eval.results.metric_names import format_difference
from twinlens.html import Series, chart_row, format_percent, series_chart, subsection, table

if TYPE_CHECKING:
    from twinlens.eval.tasks.robustness import RobustnessResult, ShiftedResult


def robustness_subsections(result: RobustnessResult) -> list[str]:
    """The parts of a section: figures, corruptions by severity, shifted sets."""
    with_baseline = [one for one in result.shifted if result.baselines.get(one.dataset)]
    drawn = [_baseline_chart(result, one) for one in with_baseline]
    means = (float(np.mean(found)) for found in result.corruptions.values())
    return [
        subsection("Accuracy", metric_bars(result)),
        subsection(
            "Corrupted images",
            _corruption_table(result),
            note=f"{sorted_heading('Top-1 accuracy in percent by severity', means)}.",
        ),
        subsection(
            "Other sets of the same classes",
            _shifted_table(result),
            chart_row(*drawn) if drawn else "",
        ),
    ]


def _corruption_table(result: RobustnessResult) -> str:
    """A table whose cells are the darker the more is right; the means on the right."""
    if not result.corruptions:
        return ""
    severities = max(map(len, result.corruptions.values()))
    head = "".join(f"<th>{number}</th>" for number in range(1, severities + 1))
    by_mean = sorted(result.corruptions.items(), key=lambda item: float(np.mean(item[1])))
    rows = [_corruption_row("none", [result.metrics["acc1"]], severities)] + [
        _corruption_row(name.replace("_", " "), found, severities) for name, found in by_mean
    ]
    return (
        f'<table class="heat"><thead><tr><th>Severity</th>{head}<th>Mean</th></tr></thead>'
        f"{''.join(rows)}</table>"
    )


def _corruption_row(name: str, accuracies: Sequence[float], num_severities: int) -> str:
    cells = "".join(map(_accuracy_cell, accuracies)) if len(accuracies) > 1 else ""
    blank = f'<td colspan="{num_severities - (len(accuracies) if cells else 0)}"></td>'
    gap = blank if not cells or len(accuracies) < num_severities else ""
    return (
        f"<tr><td>{escape(name)}</td>{cells}{gap}{_accuracy_cell(float(np.mean(accuracies)))}</tr>"
    )


def _accuracy_cell(value: float) -> str:
    return f'<td style="--share:{100 * value:.0f}%">{100 * value:.0f}</td>'


def _shifted_table(result: RobustnessResult) -> str:
    if not result.shifted:
        return ""
    columns = ("Set", "Top-1", "95% interval", "Against standard", "Effective robustness", "Images")
    rows = [
        (
            one.dataset,
            format_percent(one.accuracy),
            f"{format_percent(one.interval[0])} to {format_percent(one.interval[1])}",
            format_difference("acc1", one.accuracy - _standard_accuracy(result, one)),
            ""
            if one.effective_robustness is None
            else format_difference("acc1", one.effective_robustness),
            f"{one.num_samples:,}",
        )
        for one in result.shifted
    ]
    return table(columns, rows)


def _standard_accuracy(result: RobustnessResult, shifted: ShiftedResult) -> float:
    """The accuracy on the standard set, among the classes that the shifted one has."""
    return result.metrics.get(f"standard_acc1@{shifted.dataset}", result.metrics["acc1"])


def _baseline_chart(result: RobustnessResult, shifted: ShiftedResult) -> str:
    """Supervised models' accuracies on both sets, and where the model is beside them."""
    standard = _standard_accuracy(result, shifted)
    series = [
        Series(
            name="equally good on both",
            points=[(0, 0), (1, 1)],
            colour_index=0,
            dash_pattern="3 3",
            has_markers=False,
        ),
        Series(
            name="supervised models",
            points=sorted(result.baselines[shifted.dataset]),
            colour_index=5,
            has_line=False,
        ),
        Series(
            name="this model",
            points=[(standard, shifted.accuracy)],
            labels=[format_percent(shifted.accuracy)],
            colour_index=2,
            has_line=False,
        ),
    ]
    if shifted.effective_robustness is not None:
        expected = shifted.accuracy - shifted.effective_robustness
        gap = [(standard, expected), (standard, shifted.accuracy)]
        words = f"effective robustness, {format_difference('acc1', shifted.effective_robustness)}"
        series.append(Series(name=words, points=gap, colour_index=2, has_markers=False))
    return series_chart(
        series,
        title=shifted.dataset,
        x_label=f"accuracy on {result.dataset}",
        y_label="accuracy there",
        log_x=False,
        y_as_percent=True,
    )
