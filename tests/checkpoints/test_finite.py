"""Weights that are not finite in float32 are refused, of whatever type they are."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from twinlens.checkpoints.finite import require_finite
from twinlens.checkpoints.formats.storage.arrays import DTYPES
from twinlens.errors import CheckpointError


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_weights_must_be_finite(name: str, value: str):
    weights = np.ones((3, 4), DTYPES[name])
    require_finite("a.weight", weights, Path("x.pt"))
    require_finite("a.weight", -weights, Path("x.pt"))
    weights[1, 2] = float(value)
    message = rf"x\.pt: a\.weight: got {value}, expected finite"
    with pytest.raises(CheckpointError, match=message):
        require_finite("a.weight", weights, Path("x.pt"))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_the_largest_halves_are_finite(name: str, tmp_path: Path):
    largest = ml_dtypes.finfo(DTYPES[name]).max
    require_finite("a", np.array([largest, -largest], DTYPES[name]), tmp_path)


def test_what_need_not_be_checked(tmp_path: Path):
    for weights in (np.zeros(0), np.arange(3), np.array(True), np.array(1.0)):
        require_finite("a", weights, tmp_path)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_weights_of_eight_bits(name: str, tmp_path: Path):
    require_finite("a", np.ones(2, DTYPES[name]), tmp_path)
    with pytest.raises(CheckpointError, match="got nan"):
        require_finite("a", np.array([1.0, np.nan]).astype(DTYPES[name]), tmp_path)
