"""Runs of several processes: as one process would train, and readable by any other number."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.runs import write_squares

ROOT = Path(__file__).parents[2]
TIME_LIMIT = 300


def program(module: str, *words: object) -> str:
    """What a program of this folder printed; one thread a process."""
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.train.{module}", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory of runs, and what was said while they ran."""
    root = tmp_path_factory.mktemp("worlds")
    return root, program("world_runs", write_squares(root / "squares"), root)


@pytest.mark.parametrize(
    "name", ["two", "sharded", "sharded-then-one", "one-then-sharded", "sharded-then-two"]
)
def test_the_weights_are_those_of_one_process(runs: tuple[Path, str], name: str):
    expected = load_file(runs[0] / "one" / "model" / "model.safetensors")
    got = load_file(runs[0] / name / "model" / "model.safetensors")
    assert got.keys() == expected.keys()
    moved = 0.0
    for key, tensor in got.items():
        # Twelve steps of AdamW, each of which makes much of the rounding of small gradients.
        torch.testing.assert_close(tensor, expected[key], rtol=0, atol=5e-4, msg=key)
        moved = max(moved, (tensor - expected[key]).abs().max().item())
    assert moved > 0  # they were summed in another order: nobody copied the other's weights


def test_a_sharded_checkpoint_has_a_file_a_process(runs: tuple[Path, str]):
    newest = runs[0] / "sharded" / "checkpoints" / "step-00000012"
    first, second = sorted(newest.glob("*.safetensors"))
    name = "master/image_tower.transformer.blocks.0.attention.qkv.weight"
    assert load_file(first)[name].shape == load_file(second)[name].shape == (48, 32)


def test_a_dead_process_ends_the_run_with_a_line(runs: tuple[Path, str]):
    [line] = [line for line in runs[1].splitlines() if line.startswith("process 0:")]
    assert "another process died or was silent for 60 s" in line
    assert "run again with --resume" in line
