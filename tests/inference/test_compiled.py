"""Towers that are compiled, and machines where nothing can compile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import twinlens
from tests.tiny import tiny_clip
from twinlens import Embedder
from twinlens.inference.compiled import CompiledTower

pytestmark = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch's own


class Recorded(CompiledTower):
    """Buckets without the minutes of a compiler."""

    def __init__(self, tower: torch.nn.Module) -> None:
        torch.nn.Module.__init__(self)
        self.sizes: list[int] = []

        def run(images: torch.Tensor) -> torch.Tensor:
            self.sizes.append(len(images))
            return tower(images)

        self.compiled = run


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (3, [4]), (16, [16]), (17, [64]), (1030, [1024, 16])]
)
def test_batches_are_filled_up_to_few_sizes_and_cut_again(count: int, sizes: list[int]):
    tower = tiny_clip().image_tower
    pixels = torch.randn(count, 3, 32, 32)
    recorded = Recorded(tower)
    with torch.inference_mode():
        torch.testing.assert_close(recorded(pixels), tower(pixels), rtol=1e-4, atol=1e-5)
    assert recorded.sizes == sizes


COMPILED = """
import torch
from tests.tiny import tiny_clip
from twinlens import Embedder

model = tiny_clip()
pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
lens = Embedder.from_model(model, None, device="cpu", compiled=True)
assert lens.engine.compiled
answer = torch.from_numpy(lens.embed_pixels(pixels))
other = Embedder.from_model(model, None, device="cpu")
expected = torch.from_numpy(other.embed_pixels(pixels))
torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
print("the same")
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_tower_answers_as_the_other_and_is_kept(tmp_path: Path):
    environment = {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"}
    # A process of its own: what checks shapes in tests is nothing that torch can compile.
    ended = subprocess.run(
        [sys.executable, "-c", COMPILED],
        cwd=Path(__file__).parents[2],
        env=environment | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "the same\n", ended.stderr
    assert any((tmp_path / ".cache" / "twinlens" / "compiled").iterdir())


def test_without_a_compiler_one_warning_says_so_and_towers_stay(monkeypatch: pytest.MonkeyPatch):
    def missing() -> str:
        raise RuntimeError("No working C++ compiler found in\nsome config")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", missing)
    with pytest.warns(UserWarning, match=r"compiled: got no C\+\+ compiler \(No working C"):
        lens = Embedder.from_model(tiny_clip(), None, device="cpu", compiled=True)
    assert not isinstance(lens.engine.prepared_tower("image"), CompiledTower)


def test_only_image_towers_are_compiled_and_load_passes_it_on(
    tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("twinlens.inference.torch_engine.can_compile", lambda: True)
    lens = twinlens.load(tiny_directory, device="cpu", compiled=True)
    assert isinstance(lens.engine.prepared_tower("image"), CompiledTower)
    assert not isinstance(lens.engine.prepared_tower("text"), CompiledTower)
