"""Figures 6 and 7: how many labelled images a class the names of the classes are worth.

Run: python experiments/few_shot.py --corpus DIR --out experiments/results/few_shot.json

The embedded model names images by words (zero-shot), and a logistic regression on the same
features learns from k images a class; both are asked about other images. Classes are concepts
that the model was trained on, in a new style; concepts that it was not; clothes; and digits.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import percentiles, read_part
from features import Features, kept, of_digits, of_fashion, of_part, resampled
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from reports import COLOURS, axes, facts, save_plot, write_result

import twinlens
from twinlens.curate.icons.config import EMOJI_STYLES
from twinlens.data.datasets import open_dataset
from twinlens.embed.embedder import Embedder
from twinlens.embed.logistic_regression import fit_logistic_regression

LEAST_IMAGES = 10
"""Of each class of new concepts: eight to learn from, and two to be asked about."""

MAKERS = {"fluent": "Fluent", "noto": "Noto", "emojione": "EmojiOne"}
"""By how the names of their styles begin."""

SHOTS = (1, 2, 4, 8)
MORE_SHOTS = (1, 2, 4, 8, 16, 32)
DRAWS = 10
TARS = 32
"""Of the training part: known concepts are learned from images of them."""

KNOWN = 200
"""Known concepts, drawn by lot from those with enough images."""

STRENGTHS = (1.0, 0.1, 0.01)
"""Of the regularisation, the strongest first."""

MOST_FOLDS = 2
BOOTSTRAPS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Images and who may be learned from.

    Attributes:
        name: Of the task.
        data: The images.
        pool: Those to learn from.
        asked: Those to ask about; of them a draw leaves out what it learns from.
        shots: How many images a class are learned from.
    """

    name: str
    data: Features
    pool: Bool[np.ndarray, " image"]
    asked: Bool[np.ndarray, " image"]
    shots: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Right or wrong.

    Attributes:
        asked: Which images were asked about, [shots, draw, image].
        few: Which the regression names rightly, [shots, draw, image].
        zero: Which the names of the classes do.
    """

    asked: Bool[np.ndarray, "shots draw image"]
    few: Bool[np.ndarray, "shots draw image"]
    zero: Bool[np.ndarray, " image"]


# Tasks


def new_concepts(lens: Embedder, corpus: Path) -> Features:
    """The concepts that were never trained on and have been drawn often enough."""
    every = of_part(lens, corpus, "unseen-concepts")
    often = np.bincount(every.targets) >= LEAST_IMAGES
    kept = np.flatnonzero(often[every.targets])
    classes = np.flatnonzero(often)
    return Features(
        name="new concepts",
        values=every.values[kept],
        names=[every.names[i] for i in classes.tolist()],
        targets=np.searchsorted(classes, every.targets[kept]),
        groups=np.searchsorted(classes, every.targets[kept]),
        metadata=[every.metadata[i] for i in kept.tolist()],
    )


def known_concepts(lens: Embedder, corpus: Path) -> tuple[Features, NDArray[np.bool_]]:
    """Emoji of the new style, and training images of the same ones in eight styles or more.

    Returns:
        All images, those of training first, and which they are.
    """
    part, new = read_part(corpus, "train", tars=TARS), of_part(lens, corpus, "unseen-style")
    rows: dict[str, dict[str, int]] = defaultdict(dict)
    for row, (name, style) in enumerate(zip(part.names, part.styles, strict=True)):
        if style in EMOJI_STYLES:
            rows[name].setdefault(style, row)
    often = [name for name in new.names if len(rows[name]) >= SHOTS[-1]]
    lots = np.random.default_rng(0).permutation(len(often))[:KNOWN]
    names = sorted(often[i] for i in lots.tolist())
    learned = [row for name in names for row in rows[name].values()]
    samples = open_dataset(str(corpus / "train" / f"{{00000..{TARS - 1:05}}}.tar")).samples
    values = kept(
        corpus,
        "known-concepts",
        lambda: lens.embed_images(samples[i].image_bytes() for i in learned),
    )
    asked = [new.names.index(name) for name in names]
    places = [int(np.flatnonzero(new.targets == target)[0]) for target in asked]
    targets = [i for i, name in enumerate(names) for _ in rows[name]] + list(range(len(names)))
    return Features(
        name="known concepts",
        values=np.concatenate([values, new.values[places]]),
        names=names,
        targets=np.array(targets),
        groups=np.array(targets),
    ), np.arange(len(targets)) < len(learned)


def all_tasks(lens: Embedder, corpus: Path) -> list[Task]:
    """Known concepts in a new style; new concepts from anyone and from other makers; far sets."""
    known, learned = known_concepts(lens, corpus)
    name = "known concepts, new style"
    tasks = [Task(name=name, data=known, pool=learned, asked=~learned, shots=SHOTS)]
    concepts = new_concepts(lens, corpus)
    everyone = np.ones(len(concepts.targets), bool)
    tasks.append(
        Task(name="new concepts", data=concepts, pool=everyone, asked=everyone, shots=SHOTS)
    )
    for prefix, maker in MAKERS.items():
        own = np.array([said["style"].startswith(prefix) for said in concepts.metadata])
        name = f"new concepts by {maker}"
        tasks.append(Task(name=name, data=concepts, pool=~own, asked=own, shots=SHOTS[:3]))
    for data in (of_fashion(lens, corpus), of_digits(lens, corpus)):
        everyone = np.ones(len(data.targets), bool)
        tasks.append(
            Task(name=data.name, data=data, pool=everyone, asked=everyone, shots=MORE_SHOTS)
        )
    return tasks


# Answers


def answer(lens: Embedder, task: Task) -> Answers:
    """Draw, learn and ask, `DRAWS` times; a draw of more shots contains that of fewer."""
    data, classifier = task.data, lens.zero_shot_classifier(task.data.names)
    shape = (len(task.shots), DRAWS, len(data.targets))
    asked, few = np.zeros(shape, bool), np.zeros(shape, bool)
    for draw in range(DRAWS):
        order = _order(task, np.random.default_rng(draw))
        strength = STRENGTHS[0]
        # From many to one, which has nothing to choose a strength by and takes that of two.
        for i, shots in reversed(list(enumerate(task.shots))):
            learned = order[:, :shots].T.ravel()  # a shot of every class, then the next
            strength = _strength(data, learned, shots) if shots > 1 else strength
            few[i, draw] = _predicted(data, learned, data.values, strength) == data.targets
            asked[i, draw] = task.asked
            asked[i, draw, learned] = False
    zero = (data.values @ classifier).argmax(axis=1) == data.targets
    return Answers(asked=asked, few=few, zero=zero)


def _order(task: Task, rng: np.random.Generator) -> Int64[np.ndarray, "class shots"]:
    """Images of each class's pool in random order, as many as are learned from at most."""
    classes = range(len(task.data.names))
    pools = [np.flatnonzero(task.pool & (task.data.targets == one)) for one in classes]
    return np.stack([rng.permutation(pool)[: task.shots[-1]] for pool in pools])


def _strength(data: Features, learned: NDArray[np.int64], shots: int) -> float:
    """The best of `L2_PENALTIES` in cross-validation; the strongest regularisation of equals."""
    folds = min(shots, MOST_FOLDS)
    fold = (np.arange(len(learned)) // len(data.names)) % folds
    right = {
        strength: sum(
            (
                _predicted(data, learned[fold != i], data.values[learned[fold == i]], strength)
                == data.targets[learned[fold == i]]
            ).sum()
            for i in range(folds)
        )
        for strength in STRENGTHS
    }
    return max(right, key=lambda strength: right[strength])


def _predicted(
    data: Features,
    learned: NDArray[np.int64],
    asked: Float[np.ndarray, "image embed"],
    strength: float,
) -> NDArray[np.int64]:
    targets, classes = data.targets[learned], len(data.names)
    probe = fit_logistic_regression(data.values[learned], targets, classes, l2_penalty=strength)
    return probe.predict_logits(asked).argmax(axis=1)


# Measures


def equal_shots(shots: Sequence[int], few: Sequence[float], zero: float) -> float:
    """Where a line through the few-shot accuracies, straight in the log of shots, meets `zero`.

    0 where one shot is better already, infinity where no number of them is as good.

    Example:
        >>> equal_shots([1, 2, 4], [0.1, 0.3, 0.5], 0.4)
        2.8284271247461903
    """
    if few[0] > zero:
        return 0.0
    for i in range(1, len(shots)):
        if few[i] > zero:
            part = (zero - few[i - 1]) / (few[i] - few[i - 1])
            return math.exp(math.log(shots[i - 1]) + part * math.log(shots[i] / shots[i - 1]))
    return math.inf


def summarise(task: Task, answers: Answers) -> dict[str, Any]:
    """Accuracies with 95% intervals, bootstrapped over classes (or images) and over draws."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(DRAWS, np.full(DRAWS, 1 / DRAWS), size=BOOTSTRAPS).astype(float)
    weights = resampled(task.data.groups, BOOTSTRAPS)
    count = len(task.shots)
    few = np.stack([_means(answers, answers.few[i], i, draws, weights) for i in range(count)])
    zero = np.stack([_means(answers, answers.zero, i, draws, weights) for i in range(count)])
    flat = np.ones((1, DRAWS)), np.ones((1, len(task.data.targets)))
    few_mean = [float(_means(answers, answers.few[i], i, *flat)[0]) for i in range(count)]
    zero_mean = float(_means(answers, answers.zero, 0, *flat)[0])
    equals = [equal_shots(task.shots, few[:, b].tolist(), zero[0, b]) for b in range(BOOTSTRAPS)]
    gaps = few - zero
    return {
        "task": task.name,
        "classes": len(task.data.names),
        "images": int(task.asked.sum()),
        "shots": list(task.shots),
        "few_shot": few_mean,
        "few_shot_interval": [percentiles(row.tolist()) for row in few],
        "zero_shot": zero_mean,
        "zero_shot_interval": percentiles(zero[0].tolist()),
        "few_minus_zero_interval": [percentiles(row.tolist()) for row in gaps],
        "equal_shots": _finite(equal_shots(task.shots, few_mean, zero_mean)),
        "equal_shots_interval": [_finite(x) for x in _ranks(equals)],
    }


def _means(
    answers: Answers,
    right: Bool[np.ndarray, "*draw image"],
    shots: int,
    draws: Float[np.ndarray, "time draw"],
    weights: Float[np.ndarray, "time image"],
) -> Float[np.ndarray, " time"]:
    """The accuracy in each bootstrap sample, over the images that were asked about."""
    asked = answers.asked[shots].astype(float)
    return ((draws @ (asked * right)) * weights).sum(1) / ((draws @ asked) * weights).sum(1)


def _ranks(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval where some values may be infinite: no value is between two."""
    ordered = sorted(values)
    return ordered[round(0.025 * (len(ordered) - 1))], ordered[round(0.975 * (len(ordered) - 1))]


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def by_class(task: Task, answers: Answers) -> list[dict[str, Any]]:
    """What the name of each class is worth, all draws together (figure 7 is of data sets)."""
    found: list[dict[str, Any]] = []
    for number, name in enumerate(task.data.names):
        own = (task.data.targets == number) & answers.asked
        few = [float(answers.few[i][own[i]].mean()) for i in range(len(task.shots))]
        zero = float(np.broadcast_to(answers.zero, own[0].shape)[own[0]].mean())
        worth = _finite(equal_shots(task.shots, few, zero))
        found.append({"class": name, "zero_shot": zero, "few_shot": few, "equal_shots": worth})
    return found


# Plots


def plot_tasks(tasks: Sequence[dict[str, Any]], folder: Path, name: str) -> None:
    """Accuracy by shots, and of the names as a line across (figure 6)."""
    figure, axis = axes("Labelled images a class", "Accuracy (%)")
    for colour, task in zip(COLOURS, tasks, strict=False):
        low, high = (100 * np.array(task["few_shot_interval"])).T
        few = 100 * np.array(task["few_shot"])
        axis.plot(task["shots"], few, "o-", color=colour, label=task["task"])
        axis.fill_between(task["shots"], low, high, color=colour, alpha=0.15, linewidth=0)
        low, high = (100 * end for end in task["zero_shot_interval"])
        zero = 100 * task["zero_shot"]
        axis.axhline(zero, color=colour, linestyle="--", linewidth=1)
        bars = [[zero - low], [high - zero]]
        axis.errorbar(0.75, zero, yerr=bars, fmt="*", markersize=11, color=colour)
    axis.set_xscale("log", base=2)
    ticks = [0.75, *max((task["shots"] for task in tasks), key=len)]
    axis.set_xticks(ticks, ["names", *map(str, ticks[1:])])
    axis.set_ylim(bottom=0)
    axis.legend(loc="lower right")
    save_plot(figure, folder / f"{name}.svg")


def plot_classes(classes: Sequence[dict[str, Any]], folder: Path) -> None:
    """How many classes' names are worth how many images (figure 7)."""
    edges = [1.0, 2.0, 4.0, 8.0, math.inf]
    labels = ["under 1", "1 to 2", "2 to 4", "4 to 8", "over 8"]
    worth = [math.inf if one["equal_shots"] is None else one["equal_shots"] for one in classes]
    counts = np.bincount(np.searchsorted(edges, worth, side="right").clip(max=4), minlength=5)
    figure, axis = axes("Labelled images that the class's name is worth", "Classes")
    bars = axis.bar(labels, counts, color=COLOURS[0])
    axis.bar_label(bars)
    save_plot(figure, folder / "few_shot_classes.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description="Zero-shot and few-shot (CLIP paper, figure 6).")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/few_shot.json"))
    parser.add_argument("--plots", type=Path, default=Path("docs/experiments"))
    options = parser.parse_args()
    lens = twinlens.load("icons")
    tasks = all_tasks(lens, options.corpus)
    summaries: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    for task in tasks:
        answers = answer(lens, task)
        if task.name == "new concepts":
            classes = by_class(task, answers)
        summaries.append(one := summarise(task, answers))
        few = " ".join(f"{k}: {a:.1%}" for k, a in zip(one["shots"], one["few_shot"], strict=True))
        print(
            f"{one['task']:26} zero {one['zero_shot']:.1%} {few}, "
            f"worth {one['equal_shots']} {one['equal_shots_interval']}",
            flush=True,
        )
    result = facts(options.corpus) | {
        "model": "icons",
        "draws": DRAWS,
        "bootstraps": BOOTSTRAPS,
        "tasks": summaries,
        "classes": classes,
    }
    write_result(result, options.out)
    plot_tasks(summaries[:2], options.plots, "few_shot")
    plot_tasks(summaries[-2:], options.plots, "few_shot_far")
    plot_classes(classes, options.plots)


if __name__ == "__main__":
    main()
