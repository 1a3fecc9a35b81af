"""Exact and fast ways from JPEG files to pixels: how many a second, how far apart, what it costs.

Run: python bench/decode.py [--photos 48] [--rounds 5] [--corpus CORPUS] [--out FILE.json]

Photographs are made up (photos.py), 433, 1,500 and 4,000 pixels squared, for squares of 224. Each
round takes them through one contestant after the other, on one thread and on one a core;
open_clip's own transform is among them where it is installed. Then the mean error in levels of
255, and the cosine of the embeddings of the exact and the fast pixels. CORPUS is one of large icons
that no training image showed:

    twinlens data icons --out CORPUS --set size=433 --set 'parts=["unseen-style","unseen-concepts"]'

Its images become JPEGs of quality 90, and `icons` classifies each part both ways.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from contest import Rows, print_figures, save
from photos import jpeg
from PIL import Image

import twinlens
from twinlens import presets
from twinlens.config import PreprocessConfig
from twinlens.data.datasets import open_dataset
from twinlens.embed.embedder import Embedder
from twinlens.eval.prompts import choose_templates, localised_classnames
from twinlens.images.decode import decode_image, to_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.datasets import Dataset
    from twinlens.types import DecodeMode

CONFIG = PreprocessConfig(image_size=224)
SIDES = {433: 1, 1500: 4, 4000: 16}
"""Pixels, as the root of width by height; of the larger ones, one photograph for so many."""

QUALITY = 90

Contestant = Callable[[bytes], "NDArray[np.uint8]"]


def contestants() -> dict[str, Contestant]:
    """What makes pixels of a file, by name."""
    ours: dict[str, Contestant] = {
        "exact": lambda data: to_pixels(data, CONFIG),
        "fast": lambda data: to_pixels(data, CONFIG, "fast"),
    }
    if find_spec("open_clip") is None:
        print("open_clip is not installed: it takes no part")
        return ours
    from open_clip.transform import image_transform  # noqa: PLC0415

    resize, crop, to_rgb, *_ = image_transform(CONFIG.image_size, is_train=False).transforms
    return ours | {
        "open_clip": lambda data: np.array(to_rgb(crop(resize(Image.open(io.BytesIO(data))))))
    }


def race(photos: Sequence[bytes], threads: int, rounds: int) -> Rows:
    """Photographs a second of the clock and of a processor, each round, and how many times exact's.

    Other programs on the machine move the second figure less.
    """
    rows: Rows = {}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            for name, call in contestants().items():
                start, busy = time.perf_counter(), time.process_time()
                list(pool.map(call, photos))
                seconds, work = time.perf_counter() - start, time.process_time() - busy
                row = {"photos_per_s": len(photos) / seconds, "per_core_s": len(photos) / work}
                rows.setdefault(name, []).append(row)
    for found in rows.values():
        for row, exact in zip(found, rows["exact"], strict=True):
            row |= {f"{key}_of_exact": row[key] / exact[key] for key in list(row)}
    return rows


def closeness(lens: Embedder, photos: Sequence[bytes]) -> dict[str, float]:
    """How far fast pixels are from exact ones, and the worst of their embeddings."""
    exact, fast = (pixels(photos, lens, way) for way in ("exact", "fast"))
    errors = [np.abs(a.astype(np.int16) - b).mean() for a, b in zip(exact, fast, strict=True)]
    cosines = (lens.embed_images(exact) * lens.embed_images(fast)).sum(axis=1)
    return {
        "mean_error": float(np.mean(errors)),
        "worst_mean_error": float(max(errors)),
        "thousandths_off_cosine_1": 1000 * (1 - float(cosines.min())),
    }


def pixels(files: Sequence[bytes], lens: Embedder, decode: DecodeMode) -> list[NDArray[np.uint8]]:
    return [to_pixels(data, lens.config.preprocess_config, decode) for data in files]


def accuracies(lens: Embedder, corpus: Path) -> Rows:
    """Top-1 of both ways by part of the corpus, and of all its parts together."""
    parts = [open_dataset(folder.parent) for folder in sorted(corpus.glob("*/00000.tar"))]
    found = {dataset.name: answers(lens, dataset) for dataset in parts}
    found["all"] = np.concatenate(list(found.values()))
    return {f"icons, {name}": [accuracy(right)] for name, right in found.items()}


def answers(lens: Embedder, dataset: Dataset) -> NDArray[np.bool_]:
    """Which images are classified rightly, exact and fast: [image, 2]."""
    names = localised_classnames(dataset)
    templates = choose_templates((), dataset, lens.templates)
    classifier = lens.zero_shot_classifier(list(names.values()), templates)
    files = [as_jpeg(sample.image_bytes()) for sample in dataset.samples]
    labels = list(names)
    wanted = np.array([labels.index(str(sample.label)) for sample in dataset.samples])
    embedded = [lens.embed_images(pixels(files, lens, way)) for way in ("exact", "fast")]
    return np.stack([(one @ classifier).argmax(axis=1) == wanted for one in embedded], axis=1)


def accuracy(right: NDArray[np.bool_]) -> dict[str, float]:
    """Top-1 in percent, and the difference in points with its 95% interval."""
    exact, fast = right.T
    gained, lost = int((fast & ~exact).sum()), int((exact & ~fast).sum())
    low, high = paired_interval(gained, lost, len(right))
    return {
        "images": len(right),
        "exact": 100 * float(exact.mean()),
        "fast": 100 * float(fast.mean()),
        "gained": gained,
        "lost": lost,
        "points": 100 * (gained - lost) / len(right),
        "low": 100 * low,
        "high": 100 * high,
    }


def as_jpeg(data: bytes) -> bytes:
    file = io.BytesIO()
    decode_image(data).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def paired_interval(gained: int, lost: int, images: int) -> tuple[float, float]:
    """95% for the difference of two shares of the same images (Agresti and Min, 2005)."""
    gained_, lost_, count = gained + 0.5, lost + 0.5, images + 2
    middle = (gained_ - lost_) / count
    error = math.sqrt(gained_ + lost_ - (gained_ - lost_) ** 2 / count) / count
    return middle - 1.96 * error, middle + 1.96 * error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=48, help="of the smallest kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--corpus", type=Path, help="large icons; without it accuracy is left out")
    parser.add_argument("--out", type=Path, default=Path("bench/results/decode.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    icons, vit = twinlens.load(), random_vit()
    rates: Rows = {}
    close: Rows = {}
    for side, fewer in SIDES.items():
        photos = [jpeg(number, side) for number in range(max(1, options.photos // fewer))]
        for threads in sorted({1, os.cpu_count() or 1}):
            for name, rows in race(photos, threads, options.rounds).items():
                rates[f"{side:,} px, {threads} threads, {name}"] = rows
        for name, lens in (("icons, 64 px", icons), ("random ViT-B/32, 224 px", vit)):
            close[f"{side:,} px, {name}"] = [closeness(lens, photos)]
    tables = [rates, close]
    if options.corpus:
        tables.append(accuracies(icons, options.corpus))
    for table in tables:
        print_figures(table)
    figures = {name: rows for table in tables for name, rows in table.items()}
    settings = {"photos": options.photos, "rounds": options.rounds, "quality": QUALITY}
    save(figures, options.out, "pillow", "numpy", settings=settings)


def random_vit() -> Embedder:
    torch.manual_seed(0)
    return Embedder.from_model(twinlens.CLIP(presets.vit_b_32()), None, precision="fp32")


if __name__ == "__main__":
    main()
