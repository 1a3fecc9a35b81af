"""A run's directory: of one live process, of one recipe, and gone if nothing came of it."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_locks import another
from tests.train.runs import squares, tiny_recipe
from twinlens.data.datasets import Dataset
from twinlens.errors import CheckpointError, ConfigError
from twinlens.train import directory
from twinlens.train.trainer import fit


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def done(pairs: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    out = tmp_path_factory.mktemp("run") / "out"
    fit(tiny_recipe(steps=2), pairs, out, device="cpu")
    return out


@pytest.mark.parametrize("resume", [True, False])
def test_a_directory_in_which_a_run_is_under_way_is_refused(
    resume: bool, pairs: Dataset, tmp_path: Path
):
    out = tmp_path / "run"
    out.mkdir()
    with another(out / directory.LOCK_FILE) as process:
        with pytest.raises(CheckpointError) as refused:
            fit(tiny_recipe(steps=2), pairs, out, resume=resume, device="cpu")
        assert str(refused.value).startswith(
            f"{out}: got a run that is under way there (process {process.pid} on "
        )
        assert [path.name for path in out.iterdir()] == [directory.LOCK_FILE]
        process.send_signal(signal.SIGKILL)
        process.wait()
        fit(tiny_recipe(steps=2), pairs, out, resume=resume, device="cpu")
    assert (out / "model" / "config.json").is_file()
    assert not (out / directory.LOCK_FILE).exists()


def test_two_runs_in_one_process_are_two(pairs: Dataset, tmp_path: Path):
    said: list[str] = []

    def begin_another(_: object) -> None:
        with pytest.raises(CheckpointError) as refused:
            fit(tiny_recipe(steps=2), pairs, tmp_path / "run", resume=True, device="cpu")
        said.append(str(refused.value))

    fit(tiny_recipe(steps=4), pairs, tmp_path / "run", report=begin_another, device="cpu")
    assert len(said) == 2
    assert "under way there (this process)" in said[0]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def test_every_other_setting_of_a_resumed_run_is_named(done: Path, pairs: Dataset):
    recipe = tiny_recipe(steps=4, seed=7)
    recipe = replace(recipe, optim=replace(recipe.optim, lr=0.5))
    with pytest.raises(ConfigError) as refused:
        fit(recipe, pairs, done, resume=True, device="cpu")
    assert str(refused.value) == (
        f"{done / 'recipe.json'}: is of another recipe: steps: got 4, expected 2; "
        "seed: got 7, expected 0; optim.lr: got 0.5, expected 0.01"
    )


def test_another_architecture_is_named_where_it_differs(done: Path, pairs: Dataset):
    with pytest.raises(ConfigError) as refused:
        fit(tiny_recipe("vit", steps=2), pairs, done, resume=True, device="cpu")
    said = str(refused.value)
    assert "model.vision.kind: got 'vit', expected 'resnet'" in said
    assert "; model.vision.patch_size: got 16, expected nothing; " in said
    assert "\n" not in said


def test_how_a_run_is_computed_may_change(done: Path):
    recipe = tiny_recipe(steps=2)
    directory.check_run_directory(
        done, replace(recipe, compute=replace(recipe.compute, loss_tile_size=4)), True
    )


def test_a_disk_without_room_leaves_no_empty_directory(
    pairs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directory, "write_dataclass", full)
    monkeypatch.setattr("twinlens.text.base_tokenizer.atomic_write_text", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        fit(tiny_recipe(steps=2), pairs, tmp_path / "above" / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_second_command_is_one_line_and_status_2(pairs: Dataset, tmp_path: Path):
    out = tmp_path / "run"
    out.mkdir()
    command = [
        sys.executable, "-c", "from twinlens.cli.main import main; main()", "train",
        "--recipe", "icons-demo", "--data", str(Path(pairs.samples[0].where).parent),
        "--out", str(out), "--resume",
        *("--set", "model.text.vocab_size=520"),
    ]  # fmt: skip
    with another(out / directory.LOCK_FILE):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(f"error: {out}: got a run that is under way")
    assert not (out / "log.jsonl").exists()
