"""Who learns from which emoji, and what is asked: held-out drawings and three shifts.

For `robustness.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import COLOUR_EMOJI, Part, at, read_part
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from twinlens.data.datasets import open_dataset
from twinlens.files import atomic_write_text

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
HELD, STYLE, LINES, CORRUPTED = "held out", "new styles", "line drawings", "corrupted"
SHIFTS = (STYLE, LINES, CORRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Images to be named, and their classes."""

    pixels: UInt8[np.ndarray, "image 3 size size"]
    targets: Int64[np.ndarray, " image"]


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
    """Choose the classes; hold out a fifth of their drawings, each with all images of it."""
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
    images = {
        HELD: [at(part, _once(icons, held & asked & known))],
        STYLE: [
            at(style, np.flatnonzero(np.isin(style.names, classes))),
            at(part, _once(icons, new & asked)),
        ],
        LINES: [at(part, _once(icons, held & asked & lines))],
    }
    number = {name: i for i, name in enumerate(classes)}
    tests = {key: _asked(parts, number) for key, parts in images.items()}
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
    """Which drawing each training image is of; kept beside the pixels."""
    kept = corpus / "pixels" / f"train-{tars}-icons.json"
    if not kept.is_file():
        samples = open_dataset(str(corpus / "train" / f"{{00000..{tars - 1:05}}}.tar")).samples
        atomic_write_text(json.dumps([sample.metadata["icon"] for sample in samples]), kept)
    return json.loads(kept.read_text(encoding="utf-8"))


def _once(icons: NDArray[np.str_], chosen: Bool[np.ndarray, " image"]) -> NDArray[np.int64]:
    """The first image of each of the chosen drawings."""
    rows = np.flatnonzero(chosen)
    return np.sort(rows[np.unique(icons[rows], return_index=True)[1]])


def corrupted(asked: Asked) -> Asked:
    """The images with noise, blurred, and with little contrast, one after the other.

    In the spirit of Hendrycks & Dietterich 2019, at one strength each.
    """
    x = torch.from_numpy(asked.pixels).float() / 255
    mean = x.mean(dim=(2, 3), keepdim=True)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(SPLIT_SEED))
    changed = torch.cat([x + 0.15 * noise, _blurred(x, 1.5), mean + 0.3 * (x - mean)])
    pixels = changed.clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    return Asked(pixels=pixels, targets=np.tile(asked.targets, 3))


def _blurred(x: Float[Tensor, "image 3 size size"], sigma: float) -> Tensor:
    """By a Gaussian; the border is repeated."""
    reach = round(3 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel, groups=3)
    return F.conv2d(across, kernel.transpose(2, 3), groups=3)
