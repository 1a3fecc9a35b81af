"""Checkpoints of every family are read and checked where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints.formats.openai_archive import openai_model, save_openai_archive

PROGRAM = """
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

sys.modules["torch"] = None  # an import of it fails
from twinlens.checkpoints import checksums, finite, formats, mismatch
for module in pkgutil.walk_packages(formats.__path__, "twinlens.checkpoints.formats."):
    import_module(module.name)

from twinlens.checkpoints.formats.storage.tensors import open_tensors
path = Path(sys.argv[1])
for name, array in open_tensors(path).items():
    finite.require_finite(name, array, path)
    print(name, array.dtype, array.tobytes().hex(), sep=",")
"""

WEIGHTS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "c": torch.tensor([0.5, 2.0]).to(torch.float8_e4m3fn),
}


def write(kind: str, path: Path) -> dict[str, torch.Tensor]:
    if kind == "torchscript":
        model = openai_model()
        save_openai_archive(model, path)
        return model.state_dict()
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, a=WEIGHTS["a"].numpy())
        return {"a": WEIGHTS["a"]}
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=kind == "pickle")
    return WEIGHTS


@pytest.mark.parametrize("kind", ["safetensors", "pickle", "legacy", "npz", "torchscript"])
def test_files_are_read_without_torch(kind: str, tmp_path: Path):
    expected = write(kind, tmp_path / "weights")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "weights")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = (line.split(",") for line in ended.stdout.split())
    got = {name: (dtype, content) for name, dtype, content in lines}
    assert got == {
        name: (
            str(value.dtype).removeprefix("torch."),
            value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes().hex(),
        )
        for name, value in expected.items()
    }
