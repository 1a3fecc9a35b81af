"""Figure 4: what prompts and their ensembles are worth to the embedded model.

Run: python experiments/prompts.py --corpus DIR --out experiments/results/prompts.json

Four test sets: emoji of a style never seen among the names of all, drawings of concepts never seen
among the names of all, Fashion-MNIST and handwritten digits. The prompts below were written down
before any of them was measured; none was chosen by its result. Each is compared with bare names on
the same images.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from common import percentiles
from features import Features, of_digits, of_fashion, of_part, resampled
from jaxtyping import Bool
from reports import COLOURS, axes, facts, save_plot, write_result

import twinlens
from twinlens.embed.embedder import Embedder
from twinlens.eval.metrics.statistics import sign_test
from twinlens.eval.prompts import imagenet_templates

BARE = "bare name"
SINGLE = (
    "a photo of a {}",
    "a drawing of a {}",
    "a picture of {}",
    "an emoji of {}",
    "an icon of a {}",
    "{} icon",
    "a symbol for {}",
    "a cartoon of a {}",
)
THREE = ("{}", "an emoji of {}", "a picture of {}")
EIGHT = (
    *THREE,
    "{} emoji",
    "an icon of a {}",
    "{} icon",
    "a drawing of a {}",
    "a symbol for {}",
)
TWENTY = (
    *EIGHT,
    "the {} emoji",
    "a picture of a {}",
    "a drawing of {}",
    "a cartoon of a {}",
    "an icon of {}",
    "a colourful icon of {}",
    "a {} symbol",
    "a simple icon of {}",
    "a pictogram of {}",
    "a sign of a {}",
    "clip art of a {}",
    "a photo of a {}",
)
ENSEMBLES = {
    "ensemble of 3": THREE,
    "ensemble of 8": EIGHT,
    "ensemble of 20": TWENTY,
    "ImageNet's 80": tuple(imagenet_templates()),
}
PROMPTS: Mapping[str, Sequence[str]] = (
    {BARE: ("{}",)} | {template: (template,) for template in SINGLE} | ENSEMBLES
)
BOOTSTRAPS = 5000
PLOTTED = ("unseen-style", "unseen-concepts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one kind of prompt comes to on one set.

    Attributes:
        dataset: The set.
        prompt: The prompt, or the ensemble's name.
        templates: How many sentences.
        accuracy: Top-1.
        low: Of its 95% interval, by bootstrap over the set's groups.
        high: Likewise.
        gain: Accuracy minus that of bare names.
        gain_low: Of the 95% interval of the gain, both on the same bootstrapped images.
        gain_high: Likewise.
        gained: Images that only this prompt names rightly.
        lost: Those that only bare names do.
        p_value: McNemar's exact test; too small where images of a group are alike.
    """

    dataset: str
    prompt: str
    templates: int
    accuracy: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    gained: int
    lost: int
    p_value: float


def right(lens: Embedder, on: Features, templates: Sequence[str]) -> Bool[np.ndarray, " image"]:
    """Whether each image's own class has the highest similarity."""
    classifier = lens.zero_shot_classifier(on.names, templates)
    return (on.values @ classifier).argmax(axis=1) == on.targets


def measure(lens: Embedder, on: Features) -> list[Figure]:
    """Every prompt on one set, all on the same bootstrapped images."""
    weights = resampled(on.groups, BOOTSTRAPS)
    bare = right(lens, on, PROMPTS[BARE])
    figures: list[Figure] = []
    for prompt, templates in PROMPTS.items():
        found = right(lens, on, templates)
        gain = found.astype(np.float64) - bare
        low, high = percentiles((weights @ found).tolist())
        gain_low, gain_high = percentiles((weights @ gain).tolist())
        gained, lost = int((gain > 0).sum()), int((gain < 0).sum())
        figures.append(
            Figure(
                dataset=on.name,
                prompt=prompt,
                templates=len(templates),
                accuracy=float(found.mean()),
                low=low,
                high=high,
                gain=float(gain.mean()),
                gain_low=gain_low,
                gain_high=gain_high,
                gained=gained,
                lost=lost,
                p_value=sign_test(gained, lost),
            )
        )
    return figures


def plot(figures: Sequence[Figure], folder: Path) -> None:
    """The gain of each prompt on the two parts of the corpus."""
    prompts = [prompt for prompt in PROMPTS if prompt != BARE]
    figure, axis = axes("Accuracy minus that of bare names (points)", "")
    for number, dataset in enumerate(PLOTTED):
        for place, prompt in enumerate(prompts):
            (one,) = [f for f in figures if (f.dataset, f.prompt) == (dataset, prompt)]
            axis.errorbar(
                100 * one.gain,
                place + 0.3 * number - 0.15,
                xerr=[[100 * (one.gain - one.gain_low)], [100 * (one.gain_high - one.gain)]],
                fmt="os"[number],
                markersize=5,
                color=COLOURS[number],
                label={0: ("new style", "new concepts")[number]}.get(place),
            )
    axis.axvline(0, color="#555555", linewidth=1)
    axis.set_yticks(range(len(prompts)), prompts)
    axis.invert_yaxis()
    axis.legend(loc="upper left", bbox_to_anchor=(0.0, 0.88))
    save_plot(figure, folder / "prompts.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description="Prompts and ensembles (CLIP paper, figure 4).")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/prompts.json"))
    parser.add_argument("--plots", type=Path, default=Path("docs/experiments"))
    options = parser.parse_args()
    lens = twinlens.load("icons")
    sets = [of_part(lens, options.corpus, part) for part in PLOTTED]
    sets += [of_fashion(lens, options.corpus), of_digits(lens, options.corpus)]
    figures = [figure for one in sets for figure in measure(lens, one)]
    for one in figures:
        print(
            f"{one.dataset:16} {one.prompt:20} {one.accuracy:6.1%} "
            f"{100 * one.gain:+5.1f} ({100 * one.gain_low:+.1f} to {100 * one.gain_high:+.1f}) "
            f"p {one.p_value:.2g}"
        )
    result = facts(options.corpus) | {
        "model": "icons",
        "sets": {one.name: {"images": len(one.targets), "names": len(one.names)} for one in sets},
        "bootstraps": BOOTSTRAPS,
        "prompts": {name: list(templates) for name, templates in PROMPTS.items()},
        "figures": [asdict(one) for one in figures],
    }
    write_result(result, options.out)
    plot(figures, options.plots)


if __name__ == "__main__":
    main()
