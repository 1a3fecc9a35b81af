"""A test of images for drawings: for models that know nothing else.

The test sees the pixels that the model sees and asks how flat they are: neighbours that are equal,
one ground all round. Its numbers lie beside the model's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from twinlens.config_io import read_dataclass
from twinlens.errors import CheckpointError, ConfigError, UnknownNameError

DRAWING_DETECTOR_FILE = "drawings.json"

_EDGE_TOLERANCE = 8
"""Levels of 255 by which a pixel of the edge may differ from the edge's median, to be alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """The errors of the test on images of a kind that had no part in its numbers."""

    images: str
    wrong: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingDetector:
    """A weight for each of `measures`, and what is added: above 0 is no drawing.

    Attributes:
        same: Of the share of neighbouring pixels that are equal; at most 0.
        slight: Of those that differ by 1 or 2 of 255 levels, as in skies and grain; 0 or more.
        rough: Of those that differ by more than 8; 0 or more.
        edge: Of the share of the edge's pixels that are like its median; at most 0.
        bias: Added.
        measured: How often it is wrong.
    """

    same: float
    slight: float
    rough: float
    edge: float
    bias: float
    measured: tuple[ErrorRate, ...] = ()

    def is_not_drawing(
        self, pixels: UInt8[np.ndarray, "n 3 height width"]
    ) -> Bool[np.ndarray, " n"]:
        """True for each of the images that does not look like a drawing."""
        weights = np.array((self.same, self.slight, self.rough, self.edge))
        return flatness_features(pixels) @ weights + self.bias > 0


def load_drawing_detector(directory: Path) -> DrawingDetector | None:
    """The test of a model's directory; None where the model has none.

    Raises:
        CheckpointError: It is damaged.
    """
    file = directory / DRAWING_DETECTOR_FILE
    if not file.is_file():
        return None
    try:
        return read_dataclass(DrawingDetector, file)
    except (ConfigError, UnknownNameError) as error:
        raise CheckpointError(f"{file}: {error}") from error


def flatness_features(pixels: UInt8[np.ndarray, "n 3 height width"]) -> Float[np.ndarray, "n 4"]:
    """The features that the test weighs, in the order of its fields."""
    levels = pixels.astype(np.int16)
    count, _, height, width = levels.shape
    across = np.abs(np.diff(levels, axis=3)).max(axis=1).reshape(count, height * (width - 1))
    down = np.abs(np.diff(levels, axis=2)).max(axis=1).reshape(count, (height - 1) * width)
    steps = np.concatenate([across, down], axis=1)
    same, within_2, within_8 = ((steps <= most).mean(axis=1) for most in (0, 2, 8))
    return np.stack([same, within_2 - same, 1 - within_8, _uniform_edge_fraction(levels)], axis=1)


def _uniform_edge_fraction(levels: np.ndarray) -> np.ndarray:
    """The share of the outermost pixels that are like their median."""
    sides = (levels[:, :, 0], levels[:, :, -1], levels[:, :, :, 0], levels[:, :, :, -1])
    edge = np.concatenate(sides, axis=2)
    middle = np.median(edge, axis=2, keepdims=True)
    return (np.abs(edge - middle).max(axis=1) <= _EDGE_TOLERANCE).mean(axis=1)
