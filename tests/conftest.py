"""What tests of several parts share: a tiny model on disk, images, one thread."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook
from PIL import Image

from tests.shapes import HOOKED

# Caches of features and of compiled models go to a home of their own.
os.environ["HOME"] = tempfile.mkdtemp(prefix="twinlens-home-")
atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)

# Before anything imports one of these: a module that is already there is not watched.
install_import_hook(HOOKED, "tests.shapes.check_shapes")

from tests.peers import ARE_HERE
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens import Embedder
from twinlens.checkpoints.native import save_model
from twinlens.config import Provenance
from twinlens.data.datasets import Dataset, Sample
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer

pytest_plugins = ["tests.tally"]

CLASSES = ("blue", "green", "red", "yellow")
GERMAN = {"blue": "blau", "green": "grün", "red": "rot"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the two environments each runs its own tests: see `tests/peers`."""
    left = [one for one in items if (one.get_closest_marker("peers") is not None) != ARE_HERE]
    config.hook.pytest_deselected(items=left)
    items[:] = [one for one in items if (one.get_closest_marker("peers") is not None) == ARE_HERE]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Test processes run side by side; small tensors gain nothing from threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model() -> CLIP:
    """A seeded CLIP of 32-pixel images with CLIP's own vocabulary."""
    return tiny_clip(
        embed_dim=16,
        vocab_size=CLIP_VOCABULARY,
        context_length=24,
        provenance=Provenance(name="tiny", licence="CC0-1.0", recipe="by hand"),
    )


@pytest.fixture(scope="session")
def tiny_directory(tiny_model: CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_model` saved."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_model, directory)
    return directory


@pytest.fixture(scope="session")
def image_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noisy images a class, in class-per-folder directories."""
    root = tmp_path_factory.mktemp("images") / "noise"
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (root / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def lens(tiny_model: CLIP) -> Embedder:
    return Embedder.from_model(tiny_model, Tokenizer.clip(), device="cpu")


@pytest.fixture
def dataset(image_folders: Path) -> Dataset:
    """Three images of each of four classes; three classes have a German name."""
    samples = [
        Sample(
            key=f"{path.parent.name}/{path.stem}",
            source=path,
            captions=(),
            label=path.parent.name,
            concept=None,
            metadata={"names": {"de": GERMAN[path.parent.name]}}
            if path.parent.name in GERMAN
            else {},
        )
        for path in sorted(image_folders.glob("*/*.png"))
    ]
    classnames = tuple(sorted({str(sample.label) for sample in samples}))
    return Dataset(name="noise", samples=samples, classnames=classnames, templates=())
