"""How near each precision is to float32, for every architecture, and whether it decides alike.

Run: python bench/precision.py [--model ViT-B-32 --model icons ...] [--out FILE.json]

Of each architecture, whole and with random weights, and of the embedded model: the least cosine of
noise and of texts of natural lengths with their embeddings in float32. Of the embedded model also
how often it takes the same of 815 names for an image of the unseen style that the package holds.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from contest import print_figures, save
from numpy.typing import NDArray

import twinlens
from twinlens import Embedder, load
from twinlens.benchmark.synthetic_inputs import (
    ARCHITECTURES,
    random_pixels,
    synthetic_texts,
    write_random_checkpoint,
)
from twinlens.data.datasets import open_dataset

PRECISIONS = ("bf16", "int8", "int8-weights")
IMAGES, TEXTS = 8, 32
UNSEEN = Path(twinlens.__file__).parent / "assets" / "shards" / "unseen-style"


def answers(lens: Embedder) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors of noise and of texts."""
    images = lens.embed_pixels(random_pixels(IMAGES, lens.config.preprocess_config, lens.device))
    return images, lens.embed_texts(synthetic_texts(lens.config.text_config, lens.tokenizer, TEXTS))


def choices(lens: Embedder) -> NDArray[np.int64]:
    """Which name each image gets."""
    dataset = open_dataset(str(UNSEEN))
    embeddings = lens.embed_images([sample.image_bytes() for sample in dataset.samples])
    return (embeddings @ lens.zero_shot_classifier(dataset.classnames)).argmax(axis=1)


def figures_of(path: str | Path, precisions: Sequence[str]) -> dict[str, dict[str, float]]:
    """The figures of one model, by precision."""
    exact = load(path, precision="fp32", device="cpu")
    expected, chosen = answers(exact), choices(exact) if path == "icons" else None
    del exact
    found: dict[str, dict[str, float]] = {}
    for precision in precisions:
        lens = load(path, precision=precision, device="cpu")
        cosines = [(a * b).sum(axis=1).min() for a, b in zip(answers(lens), expected, strict=True)]
        found[precision] = {"images": float(cosines[0]), "texts": float(cosines[1])}
        if chosen is not None:
            found[precision]["agreement"] = float((choices(lens) == chosen).mean())
    return found


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", choices=("icons", *ARCHITECTURES))
    parser.add_argument("--out", type=Path, default=Path("bench/results/precision.json"))
    options = parser.parse_args()
    figures: dict[str, list[dict[str, float]]] = {}
    for name in options.model or ("icons", *ARCHITECTURES):
        with tempfile.TemporaryDirectory() as directory:
            if name != "icons":
                write_random_checkpoint(name, Path(directory))
            path = name if name == "icons" else directory
            for precision, row in figures_of(path, PRECISIONS).items():
                print(name, precision, {key: round(value, 6) for key, value in row.items()})
                figures[f"{name} {precision}"] = [row]
    if len({len(rows[0]) for rows in figures.values()}) == 1:
        print_figures(figures)
    save(figures, options.out)


if __name__ == "__main__":
    main()
