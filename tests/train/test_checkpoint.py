"""Checkpoints on disk: half written, damaged, and on a full disk."""

import resource
import signal
from pathlib import Path

import pytest

from tests.train.runs import first_batch, save_checkpoint, squares, tiny_recipe
from twinlens.data.datasets import Dataset
from twinlens.errors import CheckpointError
from twinlens.train.checkpoint import list_checkpoints
from twinlens.train.state import TrainState
from twinlens.train.trainer import fit


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"))


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_a_half_written_checkpoint_does_not_count(dataset: Dataset, tmp_path: Path):
    fit(tiny_recipe(steps=12), dataset, tmp_path)
    checkpoints = list_checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in checkpoints] == ["step-00000008", "step-00000012"]
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-00000012\n"
    half = tmp_path / "checkpoints" / "step-00000016.partial"
    half.mkdir()
    (half / "rank-00000-of-00001.safetensors").write_bytes(b"half")
    assert list_checkpoints(tmp_path / "checkpoints") == checkpoints
    fit(tiny_recipe(steps=12), dataset, tmp_path, resume=True)
    assert not half.exists()


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    dataset: Dataset, tmp_path: Path
):
    fit(tiny_recipe(), dataset, tmp_path)
    whole = weights(tmp_path)
    (newest,) = list_checkpoints(tmp_path / "checkpoints")[-1].glob("*.safetensors")
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    with pytest.warns(UserWarning, match=r"SHA-256 is another: going on from step-00000008"):
        fit(tiny_recipe(), dataset, tmp_path, resume=True)
    assert weights(tmp_path) == whole
    assert newest.read_bytes() != data  # it was written anew
    for path in tmp_path.glob("checkpoints/*/*.safetensors"):
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="going on from"),
        pytest.raises(CheckpointError, match=r"step-00000008.*SHA-256 is another"),
    ):
        fit(tiny_recipe(), dataset, tmp_path, resume=True)


def test_a_full_disk_keeps_the_earlier_checkpoints(dataset: Dataset, tmp_path: Path):
    run = TrainState(tiny_recipe(), "squares", "cpu")
    run.train_step(first_batch(dataset), 0)
    save_checkpoint(run, tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(CheckpointError, match=r"step-00000002.*could not be written"):
            save_checkpoint(run, tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]
    assert TrainState(tiny_recipe(), "squares", "cpu").load_newest_checkpoint(tmp_path) == 1
