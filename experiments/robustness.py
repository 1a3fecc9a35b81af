"""Figures 5 and 13: zero-shot CLIP and networks trained on labels, when the images change.

Run: python experiments/robustness.py --corpus DIR --out experiments/results/robustness.json

Classes are emoji. A network learns their labels from the colour emoji of seven styles; CLIP, with
the same image tower, learns captions of the whole corpus and is told the classes by their names.
Both are tested on drawings of the seven styles that neither saw, and then on what is shifted: two
other styles, line drawings, and the first images again with noise, blur and
little contrast. A probe fits CLIP's features to the labels. Runs are on one core, can be killed,
and go on where they were.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    Mixture,
    percentiles,
    read_part,
    read_tokenizer,
)
from features import resampled
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from reports import COLOURS, axes, facts, save_plot, write_result
from split import CORRUPTED, HELD, SHIFTS, SPLIT_SEED, Split, read_split
from towers import Captions, Labels, in_chunks, settle
from training import Plan, Trained, train

from twinlens.embed.logistic_regression import fit_logistic_regression
from twinlens.eval.metrics.robustness import BaselineFit, effective_robustness, fit_baseline
from twinlens.text.clip_bpe import Tokenizer

PROBE = "probe"
PROBE_STRENGTH = 0.1
"""Of its regularisation; features are of unit length."""

SEEDS = (0, 1)
POINTS = (5_120, 10_240, 20_480, 40_960, 81_920)
"""Images seen when the networks are measured."""

MORE = (163_840, 327_680)
"""CLIP goes on to these: after as many images as the others it has hardly begun."""

LEARNING_RATE = 2e-3
KINDS = {"labels": 16, "captions": 16, "labels-narrow": 8}
"""What is trained, and the width of its image tower."""

BOOTSTRAPS = 2000
LEAST_ACCURACY = 0.02
"""Of the points that a line is fitted through: below are networks that have hardly begun."""

# Training


def objective_of(kind: str, split: Split, tokenizer: Tokenizer) -> Labels | Captions:
    """With new weights."""
    width = KINDS[kind]
    return Captions(width, split, tokenizer) if kind == "captions" else Labels(width, split)


def points_of(kind: str) -> tuple[int, ...]:
    """When a network is measured."""
    return POINTS + MORE if kind == "captions" else POINTS


def run(kind: str, seed: int, split: Split, tokenizer: Tokenizer, folder: Path) -> Trained:
    """Train one network, or read what it came to."""
    plan = Plan(name=f"{kind}-{seed}", seed=seed, lr=LEARNING_RATE, points=points_of(kind))
    part = split.captioned if kind == "captions" else split.labelled
    return train(partial(objective_of, kind, split, tokenizer), part, plan, folder)


# Measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network at a point of its training.

    Attributes:
        kind: As in `KINDS`, or the probe.
        seed: Of its training.
        pairs: Images seen.
        right: Of each test, which images were named rightly.
    """

    kind: str
    seed: int
    pairs: int
    right: dict[str, Bool[np.ndarray, " image"]]


def measure(
    kind: str, seed: int, split: Split, tokenizer: Tokenizer, folder: Path
) -> Iterator[Point]:
    """A run at all its points, at the last of CLIP's also a probe; the answers are kept."""
    for pairs in points_of(kind):
        weights = folder / f"{kind}-{seed}" / f"{pairs}.pt"
        objective = objective_of(kind, split, tokenizer)
        for asked in (kind, PROBE) if pairs == MORE[-1] else (kind,):
            kept = weights.with_name(f"{pairs}-{asked}.npz")
            if not kept.is_file():
                np.savez(
                    kept,
                    allow_pickle=False,
                    **_right(objective, weights, split, probe=asked == PROBE),
                )
            with np.load(kept) as read:
                right = {key: read[key] for key in split.tests}
            figures = " ".join(f"{key} {found.mean():.1%}" for key, found in right.items())
            print(f"{asked}-{seed}: {pairs:,} images, {figures}", flush=True)
            yield Point(kind=asked, seed=seed, pairs=pairs, right=right)


def _right(
    objective: Labels | Captions, weights: Path, split: Split, *, probe: bool
) -> dict[str, Bool[np.ndarray, " image"]]:
    """Of each test, which images a network names rightly, or a probe of its features."""
    labels = isinstance(objective, Labels)
    with torch.inference_mode():
        # The statistics of batch normalisation are not there.
        objective.load_state_dict(torch.load(weights, weights_only=True), strict=False)
        settle(objective, Mixture(split.labelled if labels else split.captioned, 128, SPLIT_SEED))
        features = {
            key: in_chunks(objective.features, test.pixels) for key, test in split.tests.items()
        }
        learned = in_chunks(objective.features, split.labelled.pixels) if probe else None
        answer = objective.answers if learned is None else fit_probe(learned, split)
        return {key: answer(features[key]) == test.targets for key, test in split.tests.items()}


def fit_probe(
    learned: Float[np.ndarray, "image embed"], split: Split
) -> Callable[[Float[np.ndarray, "image embed"]], NDArray[np.int64]]:
    """A logistic regression on the labelled images' features (paper section 3.2)."""
    labels = split.labels[split.labelled.concepts]
    probe = fit_logistic_regression(learned, labels, len(split.names), l2_penalty=PROBE_STRENGTH)
    return lambda features: probe.predict_logits(features).argmax(axis=1)


def bootstrapped(points: Sequence[Point]) -> dict[str, Float[np.ndarray, "time point"]]:
    """The points' accuracies on resampled tests, all points on the same samples.

    The first row is of the tests as they are. Corrupted images are drawn with the images
    that they were made of.
    """
    weights: dict[str, Float[np.ndarray, "time image"]] = {}
    for number, (key, right) in enumerate(points[0].right.items()):
        if key == CORRUPTED:
            weights[key] = np.tile(weights[HELD], len(right) // weights[HELD].shape[1])
        else:
            drawn = resampled(np.arange(len(right)), BOOTSTRAPS, seed=number)
            weights[key] = np.concatenate([np.full((1, len(right)), 1 / len(right)), drawn])
    return {
        key: (weight / weight.sum(axis=1, keepdims=True))
        @ np.stack([point.right[key] for point in points]).T
        for key, weight in weights.items()
    }


def beyond_line(
    standard: Float[np.ndarray, "time point"],
    shifted: Float[np.ndarray, "time point"],
    fitted: Bool[np.ndarray, " point"],
    images: int,
) -> tuple[Float[np.ndarray, "time point"], BaselineFit]:
    """Effective robustness of all points in each sample, and the line of the first sample.

    `images` are those of the smaller test: none right counts as half an image.
    """
    lines = [
        fit_baseline(np.column_stack([x[fitted], y[fitted]]), num_samples=images)
        for x, y in zip(standard, shifted, strict=True)
    ]
    above = [
        [effective_robustness(x, y, line) for x, y in zip(*rows, strict=True)]
        for line, *rows in zip(lines, standard.tolist(), shifted.tolist(), strict=True)
    ]
    return np.array(above), lines[0]


def by_shift(
    points: Sequence[Point], accuracy: Mapping[str, Float[np.ndarray, "time point"]]
) -> list[dict[str, Any]]:
    """How far above the line of the networks trained on labels CLIP is, zero-shot and probed."""
    standard = accuracy[HELD]
    labelled = np.array([point.kind.startswith("labels") for point in points])
    found: list[dict[str, Any]] = []
    for shift in SHIFTS:
        shifted = accuracy[shift]
        images = min(len(points[0].right[key]) for key in (HELD, shift))
        fitted = labelled & (standard[0] > LEAST_ACCURACY)
        above, line = beyond_line(standard, shifted, fitted, images)
        for kind, pairs in (("captions", POINTS[-1]), ("captions", MORE[-1]), (PROBE, MORE[-1])):
            ends = [i for i, p in enumerate(points) if (p.kind, p.pairs) == (kind, pairs)]
            found.append(
                {
                    "shift": shift,
                    "kind": kind,
                    "pairs": pairs,
                    "line": asdict(line),
                    "standard": float(standard[0, ends].mean()),
                    "shifted": float(shifted[0, ends].mean()),
                    "expected": float((shifted - above)[0, ends].mean()),
                    "effective_robustness": _with_interval(above[:, ends].mean(axis=1)),
                    "by_seed": above[0, ends].tolist(),
                }
            )
    return found


def _with_interval(values: Float[np.ndarray, " time"]) -> dict[str, float]:
    """The value of the tests as they are, and its 95% interval."""
    low, high = percentiles(values[1:].tolist())
    return {"value": float(values[0]), "low": low, "high": high}


def table(
    points: Sequence[Point], accuracy: Mapping[str, Float[np.ndarray, "time point"]]
) -> list[dict[str, Any]]:
    """Every point on every test."""
    return [
        {"kind": point.kind, "seed": point.seed, "pairs": point.pairs}
        | {key: _with_interval(values[:, i]) for key, values in accuracy.items()}
        for i, point in enumerate(points)
    ]


# Plots


STYLES = {
    "labels": ("o", COLOURS[0], "trained on labels"),
    "labels-narrow": ("v", COLOURS[4], "the same, half as wide"),
    "captions": ("*", COLOURS[1], "CLIP, zero-shot"),
    PROBE: ("s", COLOURS[3], "CLIP, linear probe"),
}


def plot(
    rows: Sequence[dict[str, Any]], robustness: Sequence[dict[str, Any]], shift: str, path: Path
) -> None:
    """Accuracy on a shift against that on held-out drawings (figure 13), both as logits."""
    figure, axis = axes("Accuracy on held-out drawings (%)", f"Accuracy on {shift} (%)")
    for kind, (marker, colour, label) in STYLES.items():
        shown = [row for row in rows if row["kind"] == kind and row[shift]["value"] > 0]
        x, y = ([100 * row[key]["value"] for row in shown] for key in (HELD, shift))
        axis.plot(x, y, marker, color=colour, label=label, markersize=6, alpha=0.85)
        for row in shown:
            if kind == PROBE or row["pairs"] == points_of(kind)[-1]:
                _cross(axis, row, shift, colour)
    line = BaselineFit(**next(one["line"] for one in robustness if one["shift"] == shift))
    across = np.geomspace(0.001, 0.9, 100)
    expected = [100 * line.predict(x) for x in across.tolist()]
    axis.plot(100 * across, expected, color=COLOURS[0], linewidth=1, label="their line")
    axis.plot(100 * across, 100 * across, ":", color="#555555", linewidth=1, label="no drop")
    for set_scale, set_limits in (
        (axis.set_xscale, axis.set_xlim),
        (axis.set_yscale, axis.set_ylim),
    ):
        set_scale("function", functions=(_to_logit, _to_percent))
        set_limits(1, 90)
    ticks = [1, 2, 5, 10, 20, 40, 60, 80]
    axis.set_xticks(ticks)
    axis.set_yticks(ticks)
    axis.legend(fontsize=8, loc="upper left")
    save_plot(figure, path)


def _to_logit(percent: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip(np.asarray(percent) / 100, 1e-4, 1 - 1e-4)
    return np.log(share / (1 - share))


def _to_percent(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100 / (1 + np.exp(-np.asarray(logit)))


def _cross(axis: Any, row: dict[str, Any], shift: str, colour: str) -> None:
    """The intervals of a point, both ways."""
    x, y = row[HELD], row[shift]
    axis.errorbar(
        100 * x["value"],
        100 * y["value"],
        xerr=[[100 * (x["value"] - x["low"])], [100 * (x["high"] - x["value"])]],
        yerr=[[100 * (y["value"] - y["low"])], [100 * (y["high"] - y["value"])]],
        color=colour,
        linewidth=1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Robustness to shifts (CLIP paper, figure 13).")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tars", type=int, default=32, help="of the training part, the first")
    parser.add_argument("--runs", type=Path, help="keeps the networks; default CORPUS/runs")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/robustness.json"))
    parser.add_argument("--plots", type=Path, default=Path("docs/experiments"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.runs or options.corpus / "runs"
    split = read_split(options.corpus, options.tars)
    tokenizer = read_tokenizer(
        options.corpus, read_part(options.corpus, "train", tars=options.tars)
    )
    points: list[Point] = []
    for seed in SEEDS:
        for kind in KINDS:
            run(kind, seed, split, tokenizer, folder)
            points += measure(kind, seed, split, tokenizer, folder)
    accuracy = bootstrapped(points)
    rows, robustness = table(points, accuracy), by_shift(points, accuracy)
    result = facts(options.corpus) | {
        "tars": options.tars,
        "classes": len(split.names),
        "captioned": len(split.captioned),
        "labelled": len(split.labelled),
        "tests": {key: len(test.targets) for key, test in split.tests.items()},
        "bootstraps": BOOTSTRAPS,
        "points": rows,
        "robustness": robustness,
    }
    write_result(result, options.out)
    for shift in SHIFTS:
        name = shift.replace(" ", "_")
        plot(rows, robustness, shift, options.plots / f"robustness_{name}.svg")


if __name__ == "__main__":
    main()
