"""The HTML report of a training run: progress, metrics, curves and settings in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twinlens.config_io import flatten, to_dict
from twinlens.data.left_out import LeftOut
from twinlens.errors import CheckpointError, os_errors_as
from twinlens.files import atomic_write_text
from twinlens.html import (
    bullet_list,
    chart_row,
    collapsible,
    definition_list,
    line_chart,
    metric_name,
    render_page,
    section,
    table,
)
from twinlens.train.left_out import DATASET_KEY, TRAINING_KEY, read_left_out
from twinlens.train.recipes.recipe import Recipe

REPORT_FILE = "train.html"

_LogLine = Mapping[str, Any]

_CURVES = (
    ("loss", "Loss", False),
    ("scale", "Scale of the similarities", False),
    ("lr", "Learning rate", False),
    ("grad_norm", "Norm of the gradient", False),
    ("pairs_per_second", "Pairs a second", False),
    ("mfu", "Share of the devices' peak", True),
    ("data_wait", "Share of the time spent waiting for data", True),
    ("memory_gb", "Most memory, GB", False),
)
_ACCURACY_NAMES = {"acc1": "top-1", "acc5": "top-5"}
_COUNTER_TITLES = {
    "bad_samples": "Bad samples replaced",
    "skipped_steps": "Steps skipped",
    "truncated_captions": "Captions cut",
}


def write_report(out: Path, recipe: Recipe) -> Path:
    """Write `train.html` of the run in `out` from its log so far.

    Raises:
        CheckpointError: The log cannot be read or the page cannot be written.
    """
    path = out / REPORT_FILE
    with os_errors_as(CheckpointError, path, "cannot be written"):
        log = out / "log.jsonl"
        written = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        lines = [json.loads(line) for line in written]
        left_out = read_left_out(out)
        atomic_write_text(
            render_report(recipe, lines, title=out.resolve().name, left_out=left_out), path
        )
    return path


def render_report(
    recipe: Recipe,
    lines: Sequence[_LogLine],
    *,
    title: str,
    left_out: Mapping[str, LeftOut] | None = None,
) -> str:
    """Render the report as HTML."""
    sections = [section("Where it is", definition_list(_progress_facts(recipe, lines)))]
    # Each warning once: a resumed run repeats them.
    if warnings := dict.fromkeys(text for line in lines for text in line.get("warnings") or ()):
        sections.append(section("Why it may not learn", bullet_list(list(warnings))))
    if measured := _metric_charts(recipe, lines):
        sections.append(section("What was measured", chart_row(*measured)))
    curves = [
        line_chart(_points(lines, key), title=title, x_label="step", y_as_percent=as_percent)
        for key, title, as_percent in _CURVES
    ]
    sections.append(section("How it went", chart_row(*curves)))
    sections.append(section("Processes", definition_list(_process_facts(lines)), note=_RESUME_NOTE))
    sections += _left_out_sections(left_out or {})
    sections.append(
        section("Recipe", collapsible("Every setting", definition_list(_format_settings(recipe))))
    )
    return render_page(title, _summary(recipe, lines), *sections)


def _left_out_sections(parts: Mapping[str, LeftOut]) -> list[str]:
    """A table of reasons for the data set and one for training."""
    titles = {
        DATASET_KEY: "Left out of the data set",
        TRAINING_KEY: "Replaced or passed over in training",
    }
    return [
        section(
            titles[part],
            table(
                ("Reason", "Count", "Examples"),
                [
                    # The first example's row has the reason.
                    (reason, f"{count:,}", example) if number == 0 else ("", "", example)
                    for reason, count in found.counts.items()
                    for number, example in enumerate(found.examples[reason])
                ],
            ),
        )
        for part, found in parts.items()
        if found.total
    ]


_RESUME_NOTE = "A stopped run goes on from its last checkpoint; what came after that is not here."


def _summary(recipe: Recipe, lines: Sequence[_LogLine]) -> str:
    step = lines[-1]["step"] if lines else 0
    state = "is done" if step >= recipe.steps else f"is {step / recipe.steps:.1%} of the way"
    return (
        f"{recipe.name} {state}: {recipe.steps:,} steps of {recipe.batch_size:,} pairs, "
        f"{recipe.steps * recipe.batch_size:,} in all."
    )


def _progress_facts(recipe: Recipe, lines: Sequence[_LogLine]) -> dict[str, str]:
    if not lines:
        return {"Steps": f"0 of {recipe.steps:,}"}
    last = lines[-1]
    known = {
        "Steps": f"{last['step']:,} of {recipe.steps:,}",
        "Pairs seen": f"{last['samples_seen']:,}",
    }
    if last["step"] < recipe.steps:
        known["Time so far"] = _format_duration(_training_seconds(lines))
        known["Time left"] = _format_duration(last["seconds_left"])
    else:
        known["Total time"] = _format_duration(_training_seconds(lines))
    ends = _last_lines(lines)
    counts = {name: sum(end.get(key, 0) for end in ends) for key, name in _COUNTER_TITLES.items()}
    return known | {name: f"{count:,}" for name, count in counts.items()}


def _training_seconds(lines: Sequence[_LogLine]) -> float:
    """Seconds that the steps took, without the time between processes."""
    seen = [0, *(line["samples_seen"] for line in lines)]
    return sum(
        (line["samples_seen"] - before) / line["pairs_per_second"]
        for before, line in zip(seen, lines, strict=False)
    )


def _format_duration(seconds: float) -> str:
    """Format a duration like '1 h 02 min' or '4 min 10 s'."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60:,} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
    )


def _last_lines(lines: Sequence[_LogLine]) -> list[_LogLine]:
    """The last line of each process: counts start at 0 in each."""
    return list({line.get("began", 0): line for line in lines}.values())


def _process_facts(lines: Sequence[_LogLine]) -> dict[str, str]:
    return {
        f"{number}. process": (
            f"from step {end['began']:,}" if end.get("began") else "from the beginning"
        )
        + f" to step {end['step']:,}"
        for number, end in enumerate(_last_lines(lines), start=1)
    }


def _points(lines: Sequence[_LogLine], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if line.get(key) is not None]


def _metric_charts(recipe: Recipe, lines: Sequence[_LogLine]) -> list[str]:
    """A chart for each metric of the evaluations."""
    found = [{"step": line["step"], **line["metrics"]} for line in lines if line.get("metrics")]
    names = list(dict.fromkeys(name for line in found for name in line if name != "step"))
    return [
        line_chart(
            _points(found, name),
            title=_metric_title(recipe, name),
            x_label="step",
            y_as_percent=all(0 <= value <= 1 for _, value in _points(found, name)),
        )
        for name in names
    ]


def _metric_title(recipe: Recipe, metric: str) -> str:
    """The title of a metric; accuracies say if they are zero-shot."""
    if metric not in _ACCURACY_NAMES:
        return metric_name(metric)
    kind = "Zero-shot accuracy" if recipe.needs_captions else "Accuracy"
    return f"{kind} ({_ACCURACY_NAMES[metric]})"


def _format_settings(recipe: Recipe) -> dict[str, str]:
    """Every setting by its dotted name, as `--set` takes it."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in flatten(to_dict(recipe)).items()
    }
