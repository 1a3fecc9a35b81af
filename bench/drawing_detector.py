"""How well `classify` tells photographs from drawings, and the numbers it does that with.

Run: python bench/drawing_detector.py PACKAGES [--write]

PACKAGES has a folder for each package whose images are used, as `dpkg -x` unpacks it (Debian 12)
or `unzip` a wheel. `drawing_detector.tsv` beside this script names the photographs, each looked at
and one of each scene; the drawings are drawn with seed 0 from whole icon themes. The numbers are
fitted to one part of the packages, the errors counted on the other; no package is in both but
tuxpaint-stamps-default, whose cut-out photographs are in no fit. With --write both go into
`drawings.json` of the embedded model.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import resvg_py
from PIL import Image
from scipy.optimize import minimize

import twinlens
from twinlens.config import CLIPConfig, PreprocessConfig
from twinlens.config_io import read_dataclass, write_dataclass
from twinlens.data.datasets import open_dataset
from twinlens.eval.metrics.statistics import wilson_interval
from twinlens.images.decode import to_pixels
from twinlens.images.drawing_detector import (
    DRAWING_DETECTOR_FILE,
    DrawingDetector,
    ErrorRate,
    flatness_features,
)

Part = Literal["choose", "measure"]

ASSETS = Path(twinlens.__file__).parent / "assets"
LIST = Path(__file__).with_suffix(".tsv")
THEMES = (
    ("choose", "openclipart-png", "*.png", 600),
    ("choose", "gnome-icon-theme", "48x48/*/*.png", 150),
    ("choose", "gnome-icon-theme", "256x256/*/*.png", 150),
    ("choose", "elementary-icon-theme", "48/*.svg", 300),
    ("measure", "oxygen-icon-theme", "128x128/*/*.png", 300),
    ("measure", "breeze-icon-theme", "*.svg", 300),
    ("measure", "papirus-icon-theme", "Papirus/64x64/*/*.svg", 300),
    ("measure", "tango-icon-theme", "*.svg", 300),
    ("measure", "tuxpaint-stamps-default", "*.svg", 300),
)
SHARDS = (("choose", "train"), ("measure", "unseen-style"))
SIGNS = {"same": -1, "slight": 1, "rough": 1, "edge": -1}
"""Which way each measure may count: above 0 for photographs."""
SIDES = (96, 200, 400, 800)
"""Longest side of a drawing as a JPEG, in pixels."""
QUALITIES = (50, 65, 75, 85, 92)
WINDOWS = 4
"""Random windows of each photograph, besides the whole."""
ALARMS = 0.02
"""The share of the drawings fitted to that may be taken for photographs."""
MOST_PIXELS = 90_000_000
Image.MAX_IMAGE_PIXELS = None  # ours is the limit


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as the model sees it."""

    part: str
    kind: str
    source: str
    pixels: np.ndarray


def opened(path: Path) -> Image.Image:
    """An image with its transparency.

    Raises:
        ValueError: A drawing has no size, or an image far too many pixels.
    """
    if path.suffix == ".svg":
        drawn = resvg_py.svg_to_bytes(svg_string=path.read_text(encoding="utf-8"), width=256)
        return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")
    image = Image.open(path)
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{path}: {image.width} x {image.height} pixels")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def windows(image: Image.Image, rng: random.Random) -> Iterator[Image.Image]:
    """Random squares of it."""
    for _ in range(WINDOWS):
        side = min(max(64, int(min(image.size) * rng.uniform(0.3, 0.9))), *image.size)
        left, top = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
        yield image.crop((left, top, left + side, top + side))


def as_jpeg(image: Image.Image, rng: random.Random) -> bytes:
    """A drawing on white as it is often passed on: smaller, with JPEG's noise round its edges."""
    smaller = image.copy()
    side = rng.choice(SIDES)
    smaller.thumbnail((side, side))
    ground = Image.new("RGBA", smaller.size, "white")
    file = io.BytesIO()
    flat = Image.alpha_composite(ground, smaller.convert("RGBA")).convert("RGB")
    flat.save(file, "JPEG", quality=rng.choice(QUALITIES))
    return file.getvalue()


def listed(packages: Path, config: PreprocessConfig) -> Iterator[Seen]:
    """The photographs of the list, whole and in windows; cut-outs whole only."""
    rng = random.Random(0)
    with LIST.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            source = row["path"].partition("/")[0]
            image = opened(packages / row["path"])
            yield Seen(row["part"], row["kind"], source, to_pixels(image, config))
            for window in windows(image, rng) if row["kind"] == "photograph" else ():
                yield Seen(row["part"], "window", source, to_pixels(window, config))


def themes(packages: Path, config: PreprocessConfig) -> Iterator[Seen]:
    """Drawings of icon themes, as they are and as JPEG."""
    for part, source, pattern, count in THEMES:
        rng = random.Random(0)
        paths = sorted(path for path in (packages / source).rglob("*") if path.match(pattern))
        paths = [path for path in paths if path.is_file() and not path.is_symlink()]
        rng.shuffle(paths)
        for path in paths[:count]:
            try:
                image = opened(path)
            except ValueError as error:
                print(f"left out: {path.relative_to(packages)}: {error}")
                continue
            yield Seen(part, "drawing", source, to_pixels(image, config))
            yield Seen(part, "drawing as JPEG", source, to_pixels(as_jpeg(image, rng), config))


def shards(config: PreprocessConfig) -> Iterator[Seen]:
    """The emoji that come with the package."""
    for part, name in SHARDS:
        for sample in open_dataset(str(ASSETS / "shards" / name)).samples:
            yield Seen(part, "drawing", name, to_pixels(sample.image_bytes(), config))


def fitted(images: list[Seen]) -> DrawingDetector:
    """Logistic regression of photographs against drawings, both alike in weight.

    Each measure may only count as its name says: what is rougher is never more of a drawing.
    """
    found = [image for image in images if image.part == "choose" and image.kind != "cut-out"]
    values = values_of(found)
    photographs = np.array([image.kind in ("photograph", "window") for image in found])
    middle, spread = values.mean(axis=0), values.std(axis=0)
    weights = logistic((values - middle) / spread, photographs, np.array(list(SIGNS.values())))
    weights /= spread
    limit = np.quantile((values @ weights)[~photographs], 1 - ALARMS)
    same, slight, rough, edge = (round(float(one), 3) for one in weights)
    bias = round(-float(limit), 3)
    return DrawingDetector(same=same, slight=slight, rough=rough, edge=edge, bias=bias)


def logistic(values: np.ndarray, truth: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Weights of these signs, or 0, that fit best, with a penalty of half their square."""
    rows = np.column_stack([values * signs, np.ones(len(values))])
    share = np.where(truth, truth.mean(), 1 - truth.mean())

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = rows @ weights
        penalty = np.append(weights[:-1], 0.0)
        errors = (1 / (1 + np.exp(-odds)) - truth) / (2 * share)
        terms = (np.logaddexp(0, odds) - truth * odds) / (2 * share)
        return terms.sum() + penalty @ penalty / 2, rows.T @ errors + penalty

    bounds = [(0, None)] * len(signs) + [(None, None)]
    found = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B")
    return found.x[:-1] * signs


def values_of(images: list[Seen]) -> np.ndarray:
    return flatness_features(np.stack([image.pixels for image in images]).transpose(0, 3, 1, 2))


def errors(
    test: DrawingDetector, images: list[Seen], part: Part, source: str = ""
) -> list[ErrorRate]:
    """How often the test is wrong, a kind each."""
    rates: list[ErrorRate] = []
    for kind in ("drawing", "drawing as JPEG", "photograph", "window", "cut-out"):
        of = [one for one in images if (one.part, one.kind) == (part, kind)]
        of = [one for one in of if source in ("", one.source)]
        if of:
            unlike = test.is_not_drawing(np.stack([one.pixels for one in of]).transpose(0, 3, 1, 2))
            wrong = unlike if kind.startswith("drawing") else ~unlike
            rates.append(ErrorRate(images=kind, wrong=int(wrong.sum()), of=len(of)))
    return rates


def show(title: str, rates: list[ErrorRate]) -> None:
    print(title)
    for one in rates:
        low, high = wilson_interval(one.wrong / one.of, one.of)
        share = f"{one.wrong / one.of:.1%} (95% interval {low:.1%} to {high:.1%})"
        print(f"  {one.images:16} wrong {one.wrong:4} of {one.of:5}  {share}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", type=Path)
    parser.add_argument("--write", action="store_true", help="into the embedded model's folder")
    options = parser.parse_args()
    config = read_dataclass(CLIPConfig, ASSETS / "icons" / "config.json").preprocess_config
    images = [*listed(options.packages, config), *themes(options.packages, config)]
    images += shards(config)
    test = fitted(images)
    print(test)
    show("Fitted to:", errors(test, images, "choose"))
    measured = errors(test, images, "measure")
    show("Measured on:", measured)
    for source in sorted({one.source for one in images if one.part == "measure"}):
        show(f"  of these, {source}:", errors(test, images, "measure", source))
    if options.write:
        write_dataclass(
            replace(test, measured=tuple(measured)), ASSETS / "icons" / DRAWING_DETECTOR_FILE
        )


if __name__ == "__main__":
    main()
