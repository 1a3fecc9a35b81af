"""Robustness: what corruptions leave of an accuracy, and what other sets of the classes do."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from twinlens.eval.report.bars import metric_bars, worst_first
from twinlens.eval.results.metric_names import difference_written
from twinlens.html import Series, charts, part, percent, series_chart, table

if TYPE_CHECKING:
    from twinlens.eval.results.result import RobustnessResult, Shifted


def robustness_parts(result: RobustnessResult) -> list[str]:
    """The parts of a section: figures, corruptions by severity, shifted sets."""
    with_baseline = [one for one in result.shifted if result.baseline.get(one.dataset)]
    drawn = [_against_baseline(result, one) for one in with_baseline]
    return [
        part("Accuracy", metric_bars(result)),
        part("Corrupted images", _heat(result), note=_heat_note(result)),
        part("Other sets of the same classes", _shifted(result), charts(*drawn) if drawn else ""),
    ]


def _heat_note(result: RobustnessResult) -> str:
    means = (float(np.mean(found)) for found in result.corruptions.values())
    return f"{worst_first('Top-1 accuracy in percent by severity', means)}."


def _heat(result: RobustnessResult) -> str:
    """A table whose cells are the darker the more is right; the means on the right."""
    if not result.corruptions:
        return ""
    severities = max(map(len, result.corruptions.values()))
    head = "".join(f"<th>{number}</th>" for number in range(1, severities + 1))
    by_mean = sorted(result.corruptions.items(), key=lambda item: float(np.mean(item[1])))
    rows = [_heat_row("none", [result.metrics["acc1"]], severities)] + [
        _heat_row(name.replace("_", " "), found, severities) for name, found in by_mean
    ]
    return (
        f'<table class="heat"><thead><tr><th>Severity</th>{head}<th>Mean</th></tr></thead>'
        f"{''.join(rows)}</table>"
    )


def _heat_row(name: str, found: Sequence[float], severities: int) -> str:
    cells = "".join(map(_heat_cell, found)) if len(found) > 1 else ""
    blank = f'<td colspan="{severities - (len(found) if cells else 0)}"></td>'
    gap = blank if not cells or len(found) < severities else ""
    return f"<tr><td>{escape(name)}</td>{cells}{gap}{_heat_cell(float(np.mean(found)))}</tr>"


def _heat_cell(value: float) -> str:
    return f'<td style="--share:{100 * value:.0f}%">{100 * value:.0f}</td>'


def _shifted(result: RobustnessResult) -> str:
    if not result.shifted:
        return ""
    columns = (
        "Set",
        "Top-1",
        "95% interval",
        "Against standard",
        "Effective robustness",
        "Images",
    )
    rows = [
        (
            one.dataset,
            percent(one.accuracy),
            f"{percent(one.interval[0])} to {percent(one.interval[1])}",
            difference_written("acc1", one.accuracy - _standard(result, one)),
            "" if one.effective is None else difference_written("acc1", one.effective),
            f"{one.samples:,}",
        )
        for one in result.shifted
    ]
    return table(columns, rows)


def _standard(result: RobustnessResult, shifted: Shifted) -> float:
    """The accuracy on the standard set, among the classes that the shifted one has."""
    return result.metrics.get(f"standard_acc1@{shifted.dataset}", result.metrics["acc1"])


def _against_baseline(result: RobustnessResult, shifted: Shifted) -> str:
    """Supervised models' accuracies on both sets, and where the model is beside them."""
    standard = _standard(result, shifted)
    series = [
        Series(
            name="equally good on both",
            points=[(0, 0), (1, 1)],
            colour=0,
            dashes="3 3",
            dotted=False,
        ),
        Series(
            name="supervised models",
            points=sorted(result.baseline[shifted.dataset]),
            colour=5,
            joined=False,
        ),
        Series(
            name="this model",
            points=[(standard, shifted.accuracy)],
            labels=[percent(shifted.accuracy)],
            colour=2,
            joined=False,
        ),
    ]
    if shifted.effective is not None:
        expected = shifted.accuracy - shifted.effective
        gap = [(standard, expected), (standard, shifted.accuracy)]
        words = f"effective robustness, {difference_written('acc1', shifted.effective)}"
        series.append(Series(name=words, points=gap, colour=2, dotted=False))
    return series_chart(
        series,
        title=shifted.dataset,
        x_label=f"accuracy on {result.dataset}",
        y_label="accuracy there",
        log_x=False,
        as_percent=True,
    )
