"""Three things to learn from captions, and how many pairs each wants (paper figure 2).

Run: python experiments/objectives.py --corpus DIR --out experiments/results/objectives.json

The same image tower learns from the same images in the same order, augmented alike, to

- contrastive: tell which caption of the batch belongs to which image (CLIP),
- words: predict which words the caption has, a softmax over words (Joulin et al. 2016),
- caption: predict the caption token by token, by a transformer that looks at the image.

Each is asked the same question: which of 1,577 names is this, of emoji in a style never seen? The
two others are asked by several ways to score a name, and the best at the end counts. It can be
stopped and run again; with more pairs or seeds it goes on from where it was.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float
from measures import among_all, measured, resampled, unseen_style
from reports import COLOURS, facts, panels, save_plot, write_result
from runs import MEASURED, RATES, TRIAL, Kind, Run, Runs, of_seed

KINDS: tuple[Kind, ...] = get_args(Kind)
TITLES: dict[Kind, str] = {
    "contrastive": "contrastive",
    "words": "bag of words",
    "caption": "caption, token by token",
}
COMPARED: tuple[tuple[Kind, Kind], ...] = (
    ("contrastive", "words"),
    ("contrastive", "caption"),
    ("words", "caption"),
)
SEEDS = 2
FIRST: dict[Kind, int] = {"contrastive": 6400, "words": 6400, "caption": 25_600}
"""Pairs seen at the first measure: likelihoods of all names take a minute of a core each."""

RANKS = (1, 5)
DRAWS = 2000

Curves = dict[Kind, Bool[np.ndarray, "seed point image"]]


def curves(
    runs: Runs, corpus: Path, tuned: dict[Kind, Run], pairs: int
) -> dict[Kind, dict[str, np.ndarray]]:
    """For each objective and way to score, what was named rightly at each point of each seed."""
    question = unseen_style(corpus)
    found: dict[Kind, dict[str, np.ndarray]] = {}
    for kind, run in tuned.items():
        rows = [
            [
                measured(
                    runs, of_seed(run, seed), point, "style", partial(among_all, question=question)
                )
                for point in points_of(kind, pairs)
            ]
            for seed in range(SEEDS)
        ]
        found[kind] = {
            key: np.array([[right[key] for right in of_run] for of_run in rows])
            for key in rows[0][0]
        }
    return found


def points_of(kind: Kind, pairs: int) -> list[int]:
    """Pairs seen when an objective is measured."""
    return [point for point in MEASURED if FIRST[kind] <= point <= pairs]


def best_ways(found: dict[Kind, dict[str, np.ndarray]], k: int) -> dict[Kind, str]:
    """The way to score that names most images rightly at the end, all seeds together."""

    def at_the_end(kind: Kind, key: str) -> float:
        return found[kind][key][:, -1].mean()

    return {
        kind: max((key for key in ways if key.endswith(f"@{k}")), key=partial(at_the_end, kind))
        for kind, ways in found.items()
    }


def pairs_needed(
    accuracy: Float[np.ndarray, " point"], points: Sequence[int], target: float
) -> float:
    """How many pairs the curve wants to reach the target: linear in log pairs between points.

    Before the first point it is taken to rise from nothing in proportion; nan where the curve
    ends below the target.

    Example:
        >>> round(pairs_needed(np.array([0.1, 0.3]), [100, 400], 0.2))
        200
    """
    rising = np.maximum.accumulate(accuracy)
    if target > rising[-1]:
        return math.nan
    if target <= rising[0]:
        return points[0] * target / rising[0] if target else 0.0
    after = int(np.searchsorted(rising, target))
    share = (target - rising[after - 1]) / (rising[after] - rising[after - 1])
    low, high = math.log(points[after - 1]), math.log(points[after])
    return math.exp(low + share * (high - low))


def times_fewer(
    one: Bool[np.ndarray, "seed point image"],
    other: Bool[np.ndarray, "seed point image"],
    points: Sequence[int],
) -> float:
    """How many times fewer pairs one needs for what the other ends with; below 1 if it needs more.

    Both are measured at the points, or at the last of them. Where the other ends higher, it is
    asked how many it needs for what the one ends with.
    """
    curve, others = one.mean(axis=(0, 2)), other.mean(axis=(0, 2))
    if curve[-1] >= others[-1]:
        needed = pairs_needed(curve, points[-len(curve) :], others[-1])
        return points[-1] / needed if needed else math.inf
    return pairs_needed(others, points[-len(others) :], curve[-1]) / points[-1]


def intervals(right: Curves, points: Sequence[int]) -> tuple[dict[str, Any], dict[Kind, Any]]:
    """Ratios and curves with 95% intervals: test images and seeds drawn with replacement."""
    rng = np.random.default_rng(0)
    images = right["contrastive"].shape[2]
    ratios: dict[tuple[Kind, Kind], list[float]] = {pair: [] for pair in COMPARED}
    means: dict[Kind, list[Any]] = {kind: [] for kind in right}
    for _ in range(DRAWS):
        shown = resampled(images, rng)
        drawn = {k: rows[resampled(len(rows), rng)][:, :, shown] for k, rows in right.items()}
        for kind, rows in drawn.items():
            means[kind].append(rows.mean(axis=(0, 2)))
        for pair in COMPARED:
            ratios[pair].append(times_fewer(drawn[pair[0]], drawn[pair[1]], points))
    return (
        {
            f"{one} against {other}": {
                "times_fewer": times_fewer(right[one], right[other], points),
                "interval": bounds(ratios[one, other]),
                "more_in_draws": float(np.mean(np.array(ratios[one, other]) > 1)),
            }
            for one, other in COMPARED
        },
        {kind: np.percentile(rows, [2.5, 97.5], axis=0).T.tolist() for kind, rows in means.items()},
    )


def bounds(ratios: Sequence[float]) -> list[float | None]:
    """The 95% interval; None where there is no bound, because one names nothing rightly."""
    ends = np.quantile(ratios, [0.025, 0.975], method="inverted_cdf").tolist()
    return [end if math.isfinite(end) else None for end in ends]


def plot(result: dict[str, Any], path: Path) -> None:
    """Top-1 and top-5 beside each other, with 95% bands."""
    labels = ("Zero-shot top-1 accuracy (%)", "Zero-shot top-5 accuracy (%)")
    figure, both = panels("Image-text pairs seen (thousands)", *labels)
    thousands = np.array(result["points"]) / 1000
    for axis, k in zip(both, RANKS, strict=True):
        for colour, kind in zip(COLOURS, KINDS, strict=False):
            curve = result[f"top{k}"]["curves"][kind]
            low, high = 100 * np.array(curve["interval"]).T
            seen = thousands[-len(low) :]
            axis.fill_between(seen, low, high, color=colour, alpha=0.18, linewidth=0)
            accuracy = 100 * np.array(curve["accuracy"])
            axis.plot(seen, accuracy, "o-", color=colour, label=TITLES[kind])
        axis.axhline(100 * k * result["chance"], color="#555555", linestyle=":", label="chance")
        axis.set_xscale("log")
        axis.set_xticks(thousands, [f"{n:g}" for n in thousands], minor=False)
        axis.set_xticks([], minor=True)
    both[0].legend(loc="upper left")
    save_plot(figure, path)


def summary(runs: Runs, tuned: dict[Kind, Run], options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was found."""
    points = [point for point in MEASURED if point <= options.pairs]
    found = curves(runs, options.corpus, tuned, options.pairs)
    images = found["contrastive"]["cosine@1"].shape[2]
    return (
        facts(options.corpus)
        | {
            "images": images,
            "chance": 1 / len(unseen_style(options.corpus).names),
            "seeds": SEEDS,
            "points": points,
            "runs": {kind: asdict(tuned[kind]) for kind in KINDS},
            "trial_loss_by_rate": {kind: trial_losses(runs, tuned[kind]) for kind in KINDS},
        }
        | {f"top{k}": compared(found, points, k) for k in RANKS}
    )


def compared(
    found: dict[Kind, dict[str, np.ndarray]], points: Sequence[int], k: int
) -> dict[str, Any]:
    """Curves and ratios where the right name has to be one of `k`."""
    ways = best_ways(found, k)
    right: Curves = {kind: found[kind][ways[kind]] for kind in KINDS}
    ratios, bands = intervals(right, points)
    return {
        "curves": {
            kind: {
                "scored_by": ways[kind],
                "end_by_score": {
                    key: float(rows[:, -1].mean())
                    for key, rows in found[kind].items()
                    if key.endswith(f"@{k}")
                },
                "accuracy": right[kind].mean(axis=(0, 2)).tolist(),
                "interval": bands[kind],
                "by_seed": right[kind].mean(axis=2).tolist(),
            }
            for kind in KINDS
        },
        "fewer_pairs": ratios,
    }


def trial_losses(runs: Runs, run: Run) -> dict[str, float]:
    """Of each learning rate that was tried."""
    return {f"{lr:.2g}": runs.train(replace(run, lr=lr), TRIAL).loss[-1] for lr in RATES}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="checkpoints; by default CORPUS/runs")
    parser.add_argument("--pairs", type=int, default=102_400, help="seen by each run")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/objectives.json"))
    parser.add_argument("--plots", type=Path, default=Path("docs/experiments"))
    options = parser.parse_args()
    runs = Runs(options.corpus, options.runs or options.corpus / "runs")
    tuned = {kind: runs.tuned(kind) for kind in KINDS}
    for run in tuned.values():
        for seed in range(SEEDS):
            runs.train(of_seed(run, seed), options.pairs)
    if options.train_only:
        return
    result = summary(runs, tuned, options)
    write_result(result, options.out)
    plot(result, options.plots / "objectives.svg")


if __name__ == "__main__":
    main()
