"""The measures of the embedded model's card: accuracy on what no training image showed.

Run: python bench/icons.py MODEL CORPUS [--out FILE.json]

MODEL is a name that `twinlens models` lists or a model's directory; CORPUS is what
`twinlens data icons --out CORPUS` built. Three questions, each on another part of the corpus:

- unseen-style: which emoji is this, among all of the style, drawn in a style never seen? English
  names stand in the model's own templates, names in the other languages stand alone.
- unseen-concepts: which of 1,000 names belongs to a drawing of something never seen? Concepts are
  drawn with seed 0.
- unseen-both: the same where the style is new too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens import load
from twinlens.cli.output import print_table
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.embed.dataset import embed_dataset
from twinlens.eval.context import EvalContext
from twinlens.eval.metrics.classification import accuracy, top_k
from twinlens.eval.metrics.statistics import wilson_interval
from twinlens.eval.prompts import localised_classnames
from twinlens.eval.tasks.zero_shot import evaluate_zero_shot
from twinlens.hub.resolve import resolve

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder

SEED = 0
NAMES = 1000
KS = (1, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured fraction, its 95% interval, and what guessing would reach."""

    part: str
    language: str
    metric: str
    value: float
    low: float
    high: float
    chance: float
    images: int
    names: int

    @property
    def interval(self) -> str:
        """The interval in words."""
        return f"{self.low:.1%} to {self.high:.1%}"

    @property
    def times_chance(self) -> float:
        """How many times better than guessing."""
        return self.value / self.chance


def measure(lens: Embedder, corpus: Path) -> list[Figure]:
    """Every figure: the unseen style in every language it has names in, then the unseen concepts.

    Raises:
        DataError: A part of the corpus is missing or has too few names.
    """
    style = open_dataset(corpus / "unseen-style")
    figures = _zero_shot(lens, replace(style, samples=list(style.samples)))  # read the tars once
    for part in ("unseen-concepts", "unseen-both"):
        figures += _retrieval(lens, open_dataset(corpus / part))
    return figures


def pick(figures: Sequence[Figure], part: str, metric: str, language: str = "en") -> Figure:
    """The one figure of that part, metric and language."""
    wanted = (part, metric, language)
    (found,) = [one for one in figures if (one.part, one.metric, one.language) == wanted]
    return found


def languages(figures: Sequence[Figure]) -> list[Figure]:
    """Top-1 in the languages other than English, best first."""
    others = [one for one in figures if one.metric == "acc1" and one.language != "en"]
    return sorted(others, key=lambda one: -one.value)


def _zero_shot(lens: Embedder, dataset: Dataset) -> list[Figure]:
    context = EvalContext(lens)
    spoken = {code for sample in dataset.samples for code in sample.metadata.get("names", ())}
    figures: list[Figure] = []
    for language in ("en", *sorted(spoken - {"en"})):
        templates = () if language == "en" else ("{}",)
        result = evaluate_zero_shot(context, dataset, templates=templates, language=language)
        figures += [
            Figure(
                part=dataset.name,
                language=language,
                metric=metric,
                value=result.metrics[metric],
                low=low,
                high=high,
                chance=result.chance[metric],
                images=result.num_samples,
                names=result.num_classes,
            )
            for metric, (low, high) in result.intervals.items()
            if metric in ("acc1", "acc5")
        ]
    return figures


def _retrieval(lens: Embedder, dataset: Dataset) -> list[Figure]:
    """Recall@k of each image's own name among `NAMES` names; those that share one are one."""
    name_of = localised_classnames(dataset)
    known = sorted(set(name_of.values()))
    drawn = np.random.default_rng(SEED).permutation(len(known))[:NAMES].tolist()
    names = [known[i] for i in sorted(drawn)]
    numbers = {name: number for number, name in enumerate(names)}
    samples = [one for one in dataset.samples if name_of.get(str(one.label)) in numbers]
    embedded = embed_dataset(lens, samples, dataset.name)
    targets = np.array([numbers[name_of[str(one.label)]] for one in embedded.samples])
    best = top_k(embedded.embeddings @ lens.embed_texts(names).T, max(KS))
    figures: list[Figure] = []
    for k in KS:
        value = accuracy(best[:, :k], targets)
        low, high = wilson_interval(value, len(targets))
        figures.append(
            Figure(
                part=dataset.name,
                language="en",
                metric=f"recall@{k}",
                value=value,
                low=low,
                high=high,
                chance=k / len(names),
                images=len(targets),
                names=len(names),
            )
        )
    return figures


def show(figures: Sequence[Figure]) -> None:
    rows = [
        (
            one.part,
            one.metric,
            f"{one.value:.1%}",
            one.interval,
            f"{one.chance:.2%}",
            f"{one.times_chance:,.0f}",
            f"{one.images:,}",
            f"{one.names:,}",
        )
        for one in figures
        if one.language == "en"
    ]
    columns = ("Part", "Metric", "Value", "95% interval", "Chance", "Times", "Images", "Names")
    print_table(columns, rows)
    print()
    english = pick(figures, "unseen-style", "acc1").value
    rows = [
        (
            one.language,
            f"{one.value:.1%}",
            one.interval,
            f"{one.value / english:.2f}" if english else "",
        )
        for one in languages(figures)
    ]
    title = "unseen-style, top-1, class names in other languages"
    print_table(("Language", "Top-1", "95% interval", "Of English"), rows, title=title)


def report(model: Path, lens: Embedder, corpus: Path, figures: Sequence[Figure]) -> dict[str, Any]:
    """The figures with everything they depend on."""
    manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    weights = (model / "model.safetensors").read_bytes()
    return {
        "model": {
            "name": model.resolve().name,
            "sha256": hashlib.sha256(weights).hexdigest(),
            "bytes": len(weights),
            "parameters": sum(parameter.numel() for parameter in lens.model.parameters()),
            "provenance": asdict(lens.config.provenance),
            "templates": lens.templates,
        },
        "corpus": {"fingerprint": manifest["fingerprint"], "packages": manifest["packages"]},
        "seed": SEED,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "device": str(lens.device),
        },
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("twinlens", "torch", "numpy", "pillow")},
        "figures": [asdict(one) for one in figures],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a known name or a model's directory")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    lens = load(options.model)
    figures = measure(lens, options.corpus)
    show(figures)
    if options.out:
        found = report(resolve(options.model), lens, options.corpus, figures)
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
