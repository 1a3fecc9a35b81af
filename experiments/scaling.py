"""Zero-shot error against compute, both on log scales (paper figure 9).

Run: python experiments/scaling.py --corpus DIR --out experiments/results/scaling.json

CLIPs of four sizes are trained, the larger ones on more pairs. The error is the mean over several
questions, and compute is what training takes in floating-point operations, counted by
`twinlens.model.flops`. A line is fitted to the ends of the runs; then again without the largest,
whose error it has to foretell. It can be stopped and run again.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import SIZES, Objective, contrastive_flops, percentiles, score_names, small_clip
from jaxtyping import Float
from measures import (
    FEW,
    Question,
    Right,
    among_few,
    categories,
    measured,
    resampled,
    unseen_both,
    unseen_concepts,
    unseen_style,
)
from numpy.typing import NDArray
from reports import COLOURS, axes, facts, save_plot, write_result
from runs import MEASURED, Run, Runs
from training import BATCH_SIZE

PAIRS = {"xs": 25_600, "s": 51_200, "m": 76_800, "l": 102_400}
"""Seen by each size."""

SEEDS = 2

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """log10(error) = intercept + slope log10(operations), and how well it fits."""

    intercept: float
    slope: float
    r2: float

    def error(self, flops: Any) -> Any:
        """What it foretells."""
        return 10 ** (self.intercept + self.slope * np.log10(flops))


def fit(flops: Float[np.ndarray, " size"], errors: Float[np.ndarray, " size"]) -> Line:
    """Least squares of the logarithms.

    Example:
        >>> line = fit(np.array([1.0, 10.0, 100.0]), np.array([0.8, 0.4, 0.2]))
        >>> round(line.slope, 3), round(line.r2, 3)
        (-0.301, 1.0)
    """
    x, y = np.log10(flops), np.log10(errors)
    slope, intercept = np.polyfit(x, y, 1)
    left = y - (intercept + slope * x)
    return Line(float(intercept), float(slope), float(1 - left.var() / y.var()))


class Questions:
    """Everything that is asked of a model."""

    def __init__(self, corpus: Path) -> None:
        self.style = unseen_style(corpus)
        self.concepts = unseen_concepts(corpus)
        self.both = unseen_both(corpus)

    def ask(self, objective: Objective) -> Right:
        """By question: which images are named rightly."""
        found = self._among_few(objective, self.style, categories(self.style))
        names = np.random.default_rng(0).permutation(self.concepts.names).tolist()
        hundreds = {f"{i}": names[i : i + FEW] for i in range(0, len(names), FEW)}
        concepts = self._among_few(objective, self.concepts, hundreds)
        found["unseen concepts"] = np.concatenate(list(concepts.values()))
        both = self._among_few(objective, self.both, {"unseen concepts and style": self.both.names})
        return found | both

    def _among_few(
        self, objective: Objective, question: Question, groups: dict[str, list[str]]
    ) -> Right:
        scores = score_names(objective, question.part, question.names)["cosine"]
        found = among_few(scores, question, list(groups.values()))
        return dict(zip(groups, found, strict=True))


def mean_error(right: Right) -> float:
    """Over the questions, each counting the same."""
    return 1 - float(np.mean([rows.mean() for rows in right.values()]))


def caption_tokens(runs: Runs) -> float:
    """Mean length of the training captions, start and end counted."""
    some = runs.part.captions[:: max(1, len(runs.part) // 4096)]
    lengths = [len(runs.tokenizer.encode(caption)) + 2 for said in some for caption in said]
    return float(np.mean(lengths))


class Scale:
    """The runs of every size and seed, trained and measured."""

    def __init__(self, runs: Runs, corpus: Path) -> None:
        self.runs, self.corpus = runs, corpus
        self.tuned = runs.tuned("contrastive")

    def run(self, size: str, seed: int) -> Run:
        """The wider a network, the smaller its steps."""
        width, tuned = SIZES[size][0], SIZES[self.tuned.size][0]
        return Run(kind="contrastive", size=size, seed=seed, lr=self.tuned.lr * tuned / width)

    def train(self) -> None:
        """All runs to their ends, small ones first."""
        for size, pairs in PAIRS.items():
            for seed in range(SEEDS):
                self.runs.train(self.run(size, seed), pairs)

    def measure(self) -> dict[str, dict[int, list[Right]]]:
        """By size and point, of each seed."""
        questions = Questions(self.corpus)
        return {
            size: {
                point: [
                    measured(self.runs, self.run(size, seed), point, "sets", questions.ask)
                    for seed in range(SEEDS)
                ]
                for point in sorted({*MEASURED, pairs})
                if point <= pairs
            }
            for size, pairs in PAIRS.items()
        }


def drawn_again(ends: list[list[Right]], rng: np.random.Generator) -> NDArray[np.float64]:
    """The mean errors where images, the same for all, and seeds are drawn with replacement."""
    shown = {name: resampled(len(rows), rng) for name, rows in ends[0][0].items()}
    errors = [
        np.mean(
            [
                mean_error({name: rows[shown[name]] for name, rows in of_size[seed].items()})
                for seed in resampled(len(of_size), rng)
            ]
        )
        for of_size in ends
    ]
    return np.array(errors)


def summary(scale: Scale) -> dict[str, Any]:
    """Fits, their intervals and the check of the largest run."""
    found = scale.measure()
    tokens = caption_tokens(scale.runs)
    a_pair = {size: contrastive_flops(small_clip(size), BATCH_SIZE, tokens) for size in PAIRS}
    flops = np.array([a_pair[size] * pairs for size, pairs in PAIRS.items()])
    ends = [found[size][pairs] for size, pairs in PAIRS.items()]
    errors = np.array([np.mean([mean_error(right) for right in of_size]) for of_size in ends])
    rng = np.random.default_rng(0)
    drawn = np.array([drawn_again(ends, rng) for _ in range(DRAWS)])
    line = fit(flops, errors)
    return facts(scale.corpus) | {
        "seeds": SEEDS,
        "caption_tokens": tokens,
        "compute_range": float(flops[-1] / flops[0]),
        "sizes": {
            size: {
                "pairs": PAIRS[size],
                "rate": scale.run(size, 0).lr,
                "flops_a_pair": a_pair[size],
                "flops": float(flops[i]),
                "error": float(errors[i]),
                "interval": percentiles(drawn[:, i]),
                "by_seed": [mean_error(right) for right in ends[i]],
                "residual": float(np.log10(errors[i] / line.error(flops[i]))),
                "accuracy": {
                    name: float(np.mean([right[name].mean() for right in ends[i]]))
                    for name in ends[i][0]
                },
                "on_the_way": [
                    [a_pair[size] * pairs, float(np.mean([mean_error(one) for one in of_seeds]))]
                    for pairs, of_seeds in found[size].items()
                ],
            }
            for i, size in enumerate(PAIRS)
        },
        "line": line_of(flops, errors, drawn),
        "largest_foretold": foretold(flops, errors, drawn),
    }


def line_of(
    flops: Float[np.ndarray, " size"],
    errors: Float[np.ndarray, " size"],
    drawn: Float[np.ndarray, "draw size"],
) -> dict[str, Any]:
    """The line through all ends, with intervals."""
    line, lines = fit(flops, errors), [fit(flops, row) for row in drawn]
    return asdict(line) | {
        "slope_interval": percentiles([one.slope for one in lines]),
        "r2_interval": percentiles([one.r2 for one in lines]),
    }


def foretold(
    flops: Float[np.ndarray, " size"],
    errors: Float[np.ndarray, " size"],
    drawn: Float[np.ndarray, "draw size"],
) -> dict[str, Any]:
    """The error of the largest by a line through the others, beside what was measured."""
    by_others = np.array([fit(flops[:-1], row[:-1]).error(flops[-1]) for row in drawn])
    return {
        "by_the_others": float(fit(flops[:-1], errors[:-1]).error(flops[-1])),
        "interval": percentiles(by_others),
        "measured": float(errors[-1]),
        "measured_minus_foretold_interval": percentiles(drawn[:, -1] - by_others),
    }


def plot(result: dict[str, Any], path: Path) -> None:
    """Ends with intervals, the line, and each run's way."""
    figure, axis = axes("Training compute (floating-point operations)", "Mean zero-shot error (%)")
    for colour, (size, one) in zip(COLOURS, result["sizes"].items(), strict=False):
        way = np.array(one["on_the_way"])
        axis.plot(way[:, 0], 100 * way[:, 1], "-", color=colour, alpha=0.4, linewidth=1)
        low, high = one["interval"]
        spread = [[100 * (one["error"] - low)], [100 * (high - one["error"])]]
        label = f"{size}, {one['pairs']:,} pairs"
        axis.errorbar(
            one["flops"], 100 * one["error"], spread, fmt="o", color=colour, capsize=3, label=label
        )
    slope = result["line"]["slope"]
    line = Line(result["line"]["intercept"], slope, 0.0)
    ends = np.array([one["flops"] for one in result["sizes"].values()])
    across = np.geomspace(ends.min() / 1.5, ends.max() * 1.5, 50)
    axis.plot(across, 100 * line.error(across), "--", color="#555555", label=f"slope {slope:.3f}")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.legend(loc="lower left")
    save_plot(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="checkpoints; by default CORPUS/runs")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/scaling.json"))
    parser.add_argument("--plots", type=Path, default=Path("docs/experiments"))
    options = parser.parse_args()
    runs = Runs(options.corpus, options.runs or options.corpus / "runs")
    scale = Scale(runs, options.corpus)
    scale.train()
    if options.train_only:
        return
    result = summary(scale)
    write_result(result, options.out)
    plot(result, options.plots / "scaling.svg")


if __name__ == "__main__":
    main()
