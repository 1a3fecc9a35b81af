"""Whether images look like drawings: for models that know nothing else.

The test sees the pixels that the model sees and asks how flat they are: neighbours alike, few
colours, one ground all round. Its numbers lie beside the model's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from twinlens.errors import CheckpointError, ConfigError
from twinlens.settings import read_json

DRAWINGS_FILE = "drawings.json"

_NEAR = 8
"""Levels of 255 by which a pixel of the edge may differ from the edge's median, to be alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """How often the test was wrong about images of a kind that had no part in its numbers."""

    images: str
    wrong: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingTest:
    """A weight for each of `measures`, and what is added: above 0 is no drawing.

    Attributes:
        same: Of the share of neighbouring pixels that are equal.
        within_2: Of those that differ by at most 2 of 255 levels.
        within_8: By at most 8.
        colours: Of the logarithm of the share of distinct colours, 5 bits a channel.
        commonest: Of the share of the commonest of these.
        edge: Of the share of the edge's pixels that are like its median.
        bias: Added.
        measured: How often it is wrong.
    """

    same: float
    within_2: float
    within_8: float
    colours: float
    commonest: float
    edge: float
    bias: float
    measured: tuple[ErrorRate, ...] = ()

    def unlike(self, pixels: UInt8[np.ndarray, "n 3 height width"]) -> Bool[np.ndarray, " n"]:
        """Which of the images do not look like drawings."""
        weights = (self.same, self.within_2, self.within_8)
        weights += (self.colours, self.commonest, self.edge)
        return measures(pixels) @ np.array(weights) + self.bias > 0


def load_drawing_test(directory: Path) -> DrawingTest | None:
    """The test of a model's directory; None where the model has none.

    Raises:
        CheckpointError: It is damaged.
    """
    file = directory / DRAWINGS_FILE
    if not file.is_file():
        return None
    try:
        return read_json(DrawingTest, file)
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error


def measures(pixels: UInt8[np.ndarray, "n 3 height width"]) -> Float[np.ndarray, "n 6"]:
    """What the test weighs, in the order of its fields; 0.2 ms an image of 64 x 64."""
    levels = pixels.astype(np.int16)
    count = len(levels)
    across = np.abs(np.diff(levels, axis=3)).max(axis=1).reshape(count, -1)
    down = np.abs(np.diff(levels, axis=2)).max(axis=1).reshape(count, -1)
    steps = np.concatenate([across, down], axis=1)
    alike = [(steps <= most).mean(axis=1) for most in (0, 2, 8)]
    return np.stack([*alike, *_colours(levels), _even_edge(levels)], axis=1)


def _colours(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the share of distinct colours, and the share of the commonest."""
    red, green, blue = (levels[:, channel] >> 3 for channel in range(3))
    codes = (red * 1024 + green * 32 + blue).reshape(len(levels), -1)
    found = [np.unique(row, return_counts=True)[1] for row in codes]
    size = codes.shape[1]
    distinct = np.array([np.log(len(counts) / size) for counts in found])
    return distinct, np.array([counts.max() / size for counts in found])


def _even_edge(levels: np.ndarray) -> np.ndarray:
    """The share of the outermost pixels that are like their median."""
    sides = (levels[:, :, 0], levels[:, :, -1], levels[:, :, :, 0], levels[:, :, :, -1])
    edge = np.concatenate(sides, axis=2)
    middle = np.median(edge, axis=2, keepdims=True)
    return (np.abs(edge - middle).max(axis=1) <= _NEAR).mean(axis=1)
