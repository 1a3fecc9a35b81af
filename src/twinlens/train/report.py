"""The page of a run: its curves, what it is and how it fared, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twinlens.config_io import to_dict
from twinlens.data.left_out import LeftOut
from twinlens.errors import CheckpointError
from twinlens.files import write_whole
from twinlens.html import (
    charts,
    facts,
    folded,
    line_chart,
    metric_name,
    page,
    section,
    sentences,
    table,
)
from twinlens.train.left_out import DATA_SET, TRAINING, read_left_out
from twinlens.train.recipes.recipe import Recipe

PAGE_FILE = "train.html"

_Line = Mapping[str, Any]

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
_TOP = {"acc1": "top-1", "acc5": "top-5"}
_COUNTED = {
    "bad_samples": "Bad samples replaced",
    "skipped_steps": "Steps skipped",
    "truncated_captions": "Captions cut",
}


def write_page(out: Path, recipe: Recipe) -> Path:
    """Write `train.html` of the run in `out` from its log, as far as it has come.

    Raises:
        CheckpointError: The log cannot be read or the page cannot be written.
    """
    path = out / PAGE_FILE
    try:
        lines = _read_log(out / "log.jsonl")
        left_out = read_left_out(out)
        write_whole(render(recipe, lines, title=out.resolve().name, left_out=left_out), path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _read_log(path: Path) -> list[_Line]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def render(
    recipe: Recipe,
    lines: Sequence[_Line],
    *,
    title: str,
    left_out: Mapping[str, LeftOut] | None = None,
) -> str:
    """The page's HTML."""
    sections = [section("Where it is", facts(_progress(recipe, lines)))]
    if warnings := _warnings(lines):
        sections.append(section("Why it may not learn", sentences(warnings)))
    if measured := _measured(recipe, lines):
        sections.append(section("What was measured", charts(*measured)))
    sections.append(section("How it went", charts(*_curves(lines))))
    sections.append(section("Processes", facts(_processes(lines)), note=_RESUMES))
    sections += _left_out(left_out or {})
    sections.append(section("Recipe", folded("Every setting", facts(_settings(to_dict(recipe))))))
    return page(title, _lead(recipe, lines), *sections)


def _left_out(parts: Mapping[str, LeftOut]) -> list[str]:
    """A table of reasons, for what the data set leaves out and what training met."""
    titles = {DATA_SET: "Left out of the data set", TRAINING: "Replaced or passed over in training"}
    return [
        section(
            titles[part],
            table(
                ("Reason", "Count", "Examples"),
                [
                    (reason * first, f"{count:,}" * first, example)
                    for reason, count in found.counts.items()
                    for first, example in _first_of(found.examples[reason])
                ],
            ),
        )
        for part, found in parts.items()
        if found.total
    ]


def _first_of(examples: Sequence[str]) -> list[tuple[bool, str]]:
    """Examples, a row each, of which the first has the reason beside it."""
    return [(number == 0, example) for number, example in enumerate(examples)]


_RESUMES = "A stopped run goes on from its last checkpoint; what came after that is not here."


def _lead(recipe: Recipe, lines: Sequence[_Line]) -> str:
    step = lines[-1]["step"] if lines else 0
    state = "is done" if step >= recipe.steps else f"is {step / recipe.steps:.1%} of the way"
    return (
        f"{recipe.name} {state}: {recipe.steps:,} steps of {recipe.batch_size:,} pairs, "
        f"{recipe.steps * recipe.batch_size:,} in all."
    )


def _progress(recipe: Recipe, lines: Sequence[_Line]) -> dict[str, str]:
    if not lines:
        return {"Steps": f"0 of {recipe.steps:,}"}
    last = lines[-1]
    known = {
        "Steps": f"{last['step']:,} of {recipe.steps:,}",
        "Pairs seen": f"{last['samples_seen']:,}",
    }
    if last["step"] < recipe.steps:
        known["Time so far"] = _duration(_seconds(lines))
        known["Time left"] = _duration(last["seconds_left"])
    else:
        known["Total time"] = _duration(_seconds(lines))
    ends = _ends(lines)
    counts = {name: sum(end.get(key, 0) for end in ends) for key, name in _COUNTED.items()}
    return known | {name: f"{count:,}" for name, count in counts.items()}


def _seconds(lines: Sequence[_Line]) -> float:
    """How long the steps took; what lies between processes does not count."""
    seen = [0, *(line["samples_seen"] for line in lines)]
    return sum(
        (line["samples_seen"] - before) / line["pairs_per_second"]
        for before, line in zip(seen, lines, strict=False)
    )


def _duration(seconds: float) -> str:
    """Example: '1 h 02 min', '4 min 10 s'."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60:,} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
    )


def _warnings(lines: Sequence[_Line]) -> list[str]:
    """Each warning once: a run that goes on is warned again."""
    return list(dict.fromkeys(one for line in lines for one in line.get("warnings") or ()))


def _ends(lines: Sequence[_Line]) -> list[_Line]:
    """The last line of each process: its counts start at nought."""
    return list({line.get("began", 0): line for line in lines}.values())


def _processes(lines: Sequence[_Line]) -> dict[str, str]:
    return {
        f"{number}. process": (
            f"from step {end['began']:,}" if end.get("began") else "from the beginning"
        )
        + f" to step {end['step']:,}"
        for number, end in enumerate(_ends(lines), start=1)
    }


def _curves(lines: Sequence[_Line]) -> list[str]:
    return [
        line_chart(_points(lines, key), title=title, x_label="step", as_percent=as_percent)
        for key, title, as_percent in _CURVES
    ]


def _points(lines: Sequence[_Line], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if line.get(key) is not None]


def _measured(recipe: Recipe, lines: Sequence[_Line]) -> list[str]:
    """A curve for each figure of the evaluations."""
    found = [{"step": line["step"], **line["metrics"]} for line in lines if line.get("metrics")]
    names = list(dict.fromkeys(name for line in found for name in line if name != "step"))
    return [
        line_chart(
            _points(found, name),
            title=_figure_name(recipe, name),
            x_label="step",
            as_percent=all(0 <= value <= 1 for _, value in _points(found, name)),
        )
        for name in names
    ]


def _figure_name(recipe: Recipe, metric: str) -> str:
    """A figure's name in words; accuracies also say how the model answers."""
    if metric not in _TOP:
        return metric_name(metric)
    kind = "Zero-shot accuracy" if recipe.adapt.head == "none" else "Accuracy"
    return f"{kind} ({_TOP[metric]})"


def _settings(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every setting by its dotted name, as `--set` takes it."""
    settings: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            settings |= _settings(value, f"{prefix}{key}.")
        else:
            settings[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return settings
