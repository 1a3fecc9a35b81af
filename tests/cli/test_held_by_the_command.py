"""What was wrong without a word, asked of the command and of `fit` alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run
from tests.train.runs import FunctionEvaluator, squares, tiny_recipe
from twinlens.config_io import apply_overrides
from twinlens.errors import CheckpointError, ConfigError
from twinlens.files import atomic_directory
from twinlens.train.trainer import fit


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


def test_a_flipped_byte_of_the_weights_is_no_answer(
    run: Run, tiny_directory: Path, drawing: Path, tmp_path: Path
):
    model = tmp_path / "model"
    shutil.copytree(tiny_directory, model)
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 0x10
    weights.write_bytes(data)
    ending = run("classify", drawing, "--labels", "cat,dog", "--model", model)
    assert (ending.status, ending.out) == (2, "")


def test_a_second_run_in_a_directory_is_refused(tmp_path: Path):
    data, out = squares(tmp_path / "squares"), tmp_path / "run"
    recipe = tiny_recipe("vit", steps=4, eval_every=2, checkpoint_every=2)
    refused: list[str] = []

    def evaluate(lens: object) -> dict[str, float]:
        try:
            fit(recipe, data, out, resume=True)
        except CheckpointError as error:
            refused.append(str(error))
        return {"acc1": 0.0}

    fit(recipe, data, out, evaluators=[FunctionEvaluator(evaluate)])
    assert len(refused) == 2


def test_what_a_killed_export_left_goes(tmp_path: Path):
    left = tmp_path / "out.06da8526.partial"
    left.mkdir()
    (left / "model.onnx").write_bytes(b"half")
    with atomic_directory(tmp_path / "out") as place:  # as `export` writes
        (place / "model.onnx").write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "setting", ["batch_size=1000000000", "captions_per_image=1000000", f"seed={2**64}"]
)
def test_numbers_beyond_reason_are_refused(setting: str):
    refused = ""
    try:
        apply_overrides(tiny_recipe("vit"), [setting])
    except ConfigError as error:
        refused = str(error)
    assert f"{setting.partition('=')[0]}: got" in refused


def test_a_warm_up_longer_than_the_run_is_said(tmp_path: Path):
    recipe = apply_overrides(tiny_recipe("vit", steps=2), ["optim.warmup_steps=9"])
    fit(recipe, squares(tmp_path / "squares"), tmp_path / "run")
    assert "optim.warmup_steps: got 9" in (tmp_path / "run" / "log.jsonl").read_text()
