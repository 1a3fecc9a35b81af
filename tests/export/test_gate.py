"""The gate between a written file and its place: what passes, what must not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.tiny import tiny_config
from twinlens.errors import CheckpointError
from twinlens.export.gate import MIN_COSINES, check_min_cosine
from twinlens.export.towers import ExportTower


@pytest.fixture
def tower() -> ExportTower:
    """A tower whose probes are numbers 0 to 10, each with a unit vector of its own."""
    vectors = F.normalize(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    return ExportTower("text", "tokens", tiny_config(), nn.Identity(), torch.arange(11), vectors)


def test_every_probe_is_asked_once_in_batches_of_several_sizes(tower: ExportTower):
    sizes: list[int] = []

    def run(inputs: np.ndarray) -> np.ndarray:
        sizes.append(len(inputs))
        return tower.embeddings.numpy()[inputs]

    assert check_min_cosine(run, tower, "fp32") == pytest.approx(1, abs=1e-6)
    assert sizes == [1, 2, 5, 3]


def turned(tower: ExportTower, cosine: float) -> np.ndarray:
    """The expected vectors, the last of them turned until it has this cosine with what it was."""
    vectors = tower.embeddings.numpy().astype(np.float64)
    last = vectors[-1]
    other = np.cross(last[:3], [1.0, 0, 0])
    other = np.concatenate([other, np.zeros(3)])
    other -= (other @ last) * last
    other /= np.linalg.norm(other)
    vectors[-1] = cosine * last + np.sqrt(1 - cosine**2) * other
    return vectors.astype(np.float32)


@pytest.mark.parametrize("precision", MIN_COSINES)
def test_one_probe_below_the_limit_is_enough(precision: str, tower: ExportTower):
    limit = MIN_COSINES[precision]
    near, far = turned(tower, limit + 2e-5), turned(tower, limit - 2e-5)
    assert check_min_cosine(lambda x: near[x], tower, precision) == pytest.approx(limit, abs=4e-5)
    with pytest.raises(CheckpointError, match=rf"text tower's file: got a cosine .* {limit} in"):
        check_min_cosine(lambda x: far[x], tower, precision)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: 1.01 * x, r"vectors of lengths 1\.0100 to 1\.0100, expected 1"),
        (lambda x: x * np.float32("nan"), "expected 1"),
        (lambda x: x.astype(np.float16), r"got float16 \[11, 6\], expected float32"),
        (lambda x: x[:, :4], r"got float32 \[11, 4\], expected float32 \[11, 6\]"),
    ],
)
def test_what_are_no_unit_vectors_is_refused(spoil, message: str, tower: ExportTower):
    vectors = spoil(tower.embeddings.numpy())
    with pytest.raises(CheckpointError, match=message):
        check_min_cosine(lambda x: vectors[x], tower, "fp32")
