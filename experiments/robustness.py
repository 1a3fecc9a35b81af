"""Figures 5 and 13: zero-shot CLIP and networks trained on labels, when the pictures change.

Run: python experiments/robustness.py --corpus DIR --out experiments/results/robustness.json

Classes are emoji. A network learns their labels from the colour emoji of seven styles; CLIP, with
the same image tower, learns captions of the whole corpus and is told the classes by their names.
Both are tested on drawings of the seven styles that neither saw, and then on what is shifted: two
other styles, line drawings, and the first pictures again with noise, blur and
little contrast. A probe fits CLIP's features to the labels. Runs are on one core, can be killed,
and go on where they were.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import (
    COLOUR_EMOJI,
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    PREPROCESS,
    VOCABULARY,
    Contrastive,
    Mixture,
    Objective,
    Part,
    at,
    percentiles,
    read_part,
    read_tokenizer,
)
from features import resampled
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from reports import COLOURS, axes, facts, save_plot, write_result
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from training import Plan, Trained, train

from twinlens.config import CLIPConfig, ResNetConfig, TextConfig
from twinlens.data.datasets import open_dataset
from twinlens.data.images import normalize
from twinlens.eval.robustness import Baseline, effective_robustness, fit_baseline
from twinlens.files import write_whole
from twinlens.model.clip import image_tower
from twinlens.model.presets import ICON_TEMPLATES
from twinlens.tokenizer import Tokenizer

LINE_EMOJI = frozenset({"emojione-monotone", "fluent-emoji-high-contrast", "noto-emoji-lines"})
NEW_EMOJI = frozenset({"fxemoji"})
"""Taken from both trainings, to be a new style beside the corpus' own."""

KNOWN_EMOJI = COLOUR_EMOJI - NEW_EMOJI
CATEGORIES = frozenset(
    {"activities", "animals & nature", "food & drink", "objects", "travel & places"}
)
LEAST_STYLES = 4
"""A class has been drawn in so many of the seven known colour styles."""

HELD_OUT = 0.2
SPLIT_SEED = 0
PROBE = "probe"
PROBE_STRENGTH = 10.0
"""Scikit-learn's C, of features of unit length."""

SEEDS = (0, 1)
POINTS = (5_120, 10_240, 20_480, 40_960, 81_920)
"""Pictures seen when the networks are measured."""

MORE = (163_840, 327_680)
"""CLIP goes on to these: after as many pictures as the others it has hardly begun."""

LEARNING_RATE = 2e-3
KINDS = {"labels": 16, "captions": 16, "labels-narrow": 8}
"""What is trained, and the width of its image tower."""

BOOTSTRAPS = 2000
LEAST_ACCURACY = 0.02
"""Of the points that a line is fitted through: below are networks that have hardly begun."""

HELD, STYLE, LINES, CORRUPTED = "held out", "new styles", "line drawings", "corrupted"
SHIFTS = (STYLE, LINES, CORRUPTED)


# Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Pictures to be named, and their classes."""

    pixels: UInt8[np.ndarray, "picture 3 size size"]
    targets: Int64[np.ndarray, " picture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Who learns from what, and what is asked.

    Attributes:
        names: The classes.
        captioned: The whole training part but for the held-out drawings and new styles.
        labelled: Colour emoji of the classes, without those either.
        labels: The class of each concept's number, -1 where it is none.
        tests: Held-out drawings of the known styles, and what is shifted.
    """

    names: list[str]
    captioned: Part
    labelled: Part
    labels: Int64[np.ndarray, " concept"]
    tests: dict[str, Asked]


def read_split(corpus: Path, tars: int) -> Split:
    """Choose the classes; hold out a fifth of their drawings, each with all pictures of it."""
    part = read_part(corpus, "train", tars=tars)
    style = read_part(corpus, "unseen-style")
    styles, names = np.array(part.styles), np.array(part.names)
    drawn: dict[str, set[str]] = defaultdict(set)
    for name, by in zip(part.names, part.styles, strict=True):
        if by in KNOWN_EMOJI:
            drawn[name].add(by)
    classes = sorted(
        name
        for name, group in zip(style.names, style.groups, strict=True)
        if group in CATEGORIES and len(drawn[name]) >= LEAST_STYLES
    )
    known, new, lines = (np.isin(styles, list(by)) for by in (KNOWN_EMOJI, NEW_EMOJI, LINE_EMOJI))
    asked = np.isin(names, classes)
    icons = np.array(_icons(corpus, tars))
    drawings = np.unique(icons[asked & (known | lines)])
    lots = np.random.default_rng(SPLIT_SEED).random(len(drawings))
    held = np.isin(icons, drawings[lots < HELD_OUT])
    pictures = {
        HELD: [at(part, _once(icons, held & asked & known))],
        STYLE: [
            at(style, np.flatnonzero(np.isin(style.names, classes))),
            at(part, _once(icons, new & asked)),
        ],
        LINES: [at(part, _once(icons, held & asked & lines))],
    }
    number = {name: i for i, name in enumerate(classes)}
    tests = {key: _asked(parts, number) for key, parts in pictures.items()}
    labels = np.full(part.concepts.max() + 1, -1)
    labels[part.concepts] = [number.get(name, -1) for name in part.names]
    return Split(
        names=classes,
        captioned=at(part, np.flatnonzero(~held & ~new)),
        labelled=at(part, np.flatnonzero(asked & known & ~held)),
        labels=labels,
        tests=tests | {CORRUPTED: corrupted(tests[HELD])},
    )


def _asked(parts: Sequence[Part], number: Mapping[str, int]) -> Asked:
    return Asked(
        pixels=np.concatenate([part.pixels for part in parts]),
        targets=np.array([number[name] for part in parts for name in part.names]),
    )


def _icons(corpus: Path, tars: int) -> list[str]:
    """Which drawing each training picture is of; kept beside the pixels."""
    kept = corpus / "pixels" / f"train-{tars}-icons.json"
    if not kept.is_file():
        samples = open_dataset(str(corpus / "train" / f"{{00000..{tars - 1:05}}}.tar")).samples
        write_whole(json.dumps([sample.metadata["icon"] for sample in samples]), kept)
    return json.loads(kept.read_text(encoding="utf-8"))


def _once(icons: NDArray[np.str_], chosen: Bool[np.ndarray, " picture"]) -> NDArray[np.int64]:
    """The first picture of each of the chosen drawings."""
    rows = np.flatnonzero(chosen)
    return np.sort(rows[np.unique(icons[rows], return_index=True)[1]])


def corrupted(asked: Asked) -> Asked:
    """The pictures with noise, blurred, and with little contrast, one after the other.

    In the spirit of Hendrycks & Dietterich 2019, at one strength each.
    """
    x = torch.from_numpy(asked.pixels).float() / 255
    mean = x.mean(dim=(2, 3), keepdim=True)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(SPLIT_SEED))
    changed = torch.cat([x + 0.15 * noise, _blurred(x, 1.5), mean + 0.3 * (x - mean)])
    pixels = changed.clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    return Asked(pixels=pixels, targets=np.tile(asked.targets, 3))


def _blurred(x: Float[Tensor, "picture 3 size size"], sigma: float) -> Tensor:
    """By a Gaussian; the border is repeated."""
    reach = round(3 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel, groups=3)
    return F.conv2d(across, kernel.transpose(2, 3), groups=3)


# Models


def _tower(width: int) -> ResNetConfig:
    return ResNetConfig(image_size=IMAGE_SIZE, width=width, layers=(1, 1, 1, 1), heads=width // 2)


class Labels(Objective):
    """Cross-entropy over the classes: the image tower's last map has a row a class."""

    def __init__(self, width: int, split: Split) -> None:
        super().__init__()
        self.tower = image_tower(_tower(width), len(split.names))
        self.tower.init_weights()
        self.labels = torch.from_numpy(split.labels)

    def loss(self, images: Tensor, captions: Sequence[str], concepts: Tensor) -> Tensor:
        """Captions are not looked at."""
        return F.cross_entropy(self.tower(images), self.labels[concepts])

    def features(self, images: Tensor) -> Float[Tensor, "picture class"]:
        """The logits themselves."""
        return self.tower(images)

    def answers(self, features: Float[np.ndarray, "picture class"]) -> NDArray[np.int64]:
        """The most likely class of each picture."""
        return features.argmax(axis=1)


class Captions(Contrastive):
    """CLIP; its classifier is written in words, after the weights are there."""

    def __init__(self, width: int, split: Split, tokenizer: Tokenizer) -> None:
        text = TextConfig(
            context_length=CONTEXT_LENGTH,
            vocab_size=VOCABULARY,
            width=128,
            layers=2,
            heads=4,
            activation="quick_gelu",
        )
        config = CLIPConfig(
            embed_dim=192,
            vision=_tower(width),
            text=text,
            tokenizer="tokenizer.json",
            preprocess=PREPROCESS,
        )
        super().__init__(config, tokenizer)
        self.names = split.names

    def features(self, images: Tensor) -> Float[Tensor, "picture embed"]:
        """In the space of the captions."""
        return self.clip.encode_image(images, normalize=True)

    def answers(self, features: Float[np.ndarray, "picture embed"]) -> NDArray[np.int64]:
        """The class whose name is nearest: the mean of the icon models' three prompts."""
        prompts = [t.replace("{}", name) for t in ICON_TEMPLATES for name in self.names]
        parts = self.tokens(prompts).split(512)
        texts = torch.cat([self.clip.encode_text(part, normalize=True) for part in parts])
        mean = texts.view(len(ICON_TEMPLATES), len(self.names), -1).mean(dim=0)
        return (features @ F.normalize(mean, dim=-1).T.numpy()).argmax(axis=1)


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


def settle(objective: Labels | Captions, batches: Mixture, count: int = 16) -> None:
    """Batch normalisation by statistics of the weights that are there, and evaluation mode.

    A run keeps the moving average of its weights, and none of the statistics.
    """
    for module in objective.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean
    objective.train()
    for step in range(count):
        objective.features(normalize(batches.batch(step)[0], PREPROCESS))
    objective.eval()


def in_chunks(
    encode: Callable[[Tensor], Tensor], pixels: UInt8[np.ndarray, "picture 3 size size"]
) -> Float[np.ndarray, "picture out"]:
    """What a network says of pictures, 256 at a time."""
    parts = torch.from_numpy(pixels).split(256)
    return torch.cat([encode(normalize(part, PREPROCESS)) for part in parts]).numpy()


# Measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network at a point of its training.

    Attributes:
        kind: As in `KINDS`, or the probe.
        seed: Of its training.
        pairs: Pictures seen.
        right: Of each test, which pictures were named rightly.
    """

    kind: str
    seed: int
    pairs: int
    right: dict[str, Bool[np.ndarray, " picture"]]


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
            print(f"{asked}-{seed}: {pairs:,} pictures, {figures}", flush=True)
            yield Point(kind=asked, seed=seed, pairs=pairs, right=right)


def _right(
    objective: Labels | Captions, weights: Path, split: Split, *, probe: bool
) -> dict[str, Bool[np.ndarray, " picture"]]:
    """Of each test, which pictures a network names rightly, or a probe of its features."""
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
    learned: Float[np.ndarray, "picture embed"], split: Split
) -> Callable[[Float[np.ndarray, "picture embed"]], NDArray[np.int64]]:
    """A logistic regression on the labelled pictures' features (paper section 3.2)."""
    labels = split.labels[split.labelled.concepts]
    return LogisticRegression(C=PROBE_STRENGTH, max_iter=1000).fit(learned, labels).predict


def bootstrapped(points: Sequence[Point]) -> dict[str, Float[np.ndarray, "time point"]]:
    """The points' accuracies on resampled tests, all points on the same samples.

    The first row is of the tests as they are. Corrupted pictures are drawn with the pictures
    that they were made of.
    """
    weights: dict[str, Float[np.ndarray, "time picture"]] = {}
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
    pictures: int,
) -> tuple[Float[np.ndarray, "time point"], Baseline]:
    """Effective robustness of all points in each sample, and the line of the first sample.

    `pictures` are those of the smaller test: none right counts as half a picture.
    """
    lines = [
        fit_baseline(np.column_stack([x[fitted], y[fitted]]), samples=pictures)
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
        pictures = min(len(points[0].right[key]) for key in (HELD, shift))
        fitted = labelled & (standard[0] > LEAST_ACCURACY)
        above, line = beyond_line(standard, shifted, fitted, pictures)
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
    line = Baseline(**next(one["line"] for one in robustness if one["shift"] == shift))
    across = np.geomspace(0.001, 0.9, 100)
    expected = [100 * line.expected(x) for x in across.tolist()]
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
