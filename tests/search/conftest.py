"""A folder of small images, and an index of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinlens.embed.embedder import Embedder
from twinlens.search.index import Index


def write_images(folder: Path, numbers: Sequence[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n in numbers:
        pixels = np.random.default_rng(n).integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((12 + n, 20)).save(folder / f"{n}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_images(tmp_path / "photos", range(1, 7))
    return tmp_path / "photos"


@pytest.fixture
def index(tmp_path: Path, lens: Embedder) -> Index:
    return Index.create(tmp_path / "photos.idx", lens, "tiny")
