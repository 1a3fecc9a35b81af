"""The classifier's file: there and back, and every way it can be wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from twinlens.checkpoints import head as heads
from twinlens.errors import CheckpointError

WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)


def names(*classnames: str) -> dict[str, str]:
    return {"classnames": json.dumps(classnames)}


def test_there_and_back(tmp_path: Path):
    heads.save_head(heads.ClassifierHead(("cat", "dog"), WEIGHT), tmp_path)
    again = heads.load_head(tmp_path, 3)
    assert again is not None
    assert again.classnames == ("cat", "dog")
    assert again.weight.dtype == np.float32
    assert np.array_equal(again.weight, WEIGHT)


def test_files_of_other_names_have_no_classifier(tmp_path: Path):
    heads.save_head(heads.ClassifierHead(("cat", "dog"), WEIGHT), tmp_path)
    assert heads.load_head(tmp_path / "model.safetensors", 3) is not None
    assert heads.load_head(tmp_path / "other.safetensors", 3) is None
    assert heads.load_head(tmp_path / "missing", 3) is None


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        (
            {"weight": WEIGHT},
            names("cat"),
            r"got a weight of \[3, 2\], expected \[3, class",
        ),
        ({"weight": WEIGHT}, names("cat", "cat"), "got a class name twice"),
        ({"weight": WEIGHT}, {}, "cannot be read as a classifier"),
        ({"weight": WEIGHT}, {"classnames": "{"}, "cannot be read as a classifier"),
        ({"other": WEIGHT}, names("cat", "dog"), "cannot be read as a classifier"),
    ],
)
def test_a_file_that_is_wrong(
    tensors: dict[str, np.ndarray], metadata: dict[str, str], message: str, tmp_path: Path
):
    save_file(tensors, tmp_path / heads.HEAD_FILE, metadata)
    with pytest.raises(CheckpointError, match=message):
        heads.load_head(tmp_path, 3)
