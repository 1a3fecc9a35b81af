"""A lens, and data sets whose right answers are known."""

from pathlib import Path

import pytest

from twinlens import Embedder
from twinlens.data.datasets import Dataset, Sample
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer

GERMAN = {"blue": "blau", "green": "grün", "red": "rot"}


@pytest.fixture(scope="session")
def lens(tiny_model: CLIP) -> Embedder:
    return Embedder(tiny_model, Tokenizer.clip(), device="cpu")


@pytest.fixture
def dataset(picture_folders: Path) -> Dataset:
    """Three pictures of each of four classes; three classes have a German name."""
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
        for path in sorted(picture_folders.glob("*/*.png"))
    ]
    classnames = tuple(sorted({str(sample.label) for sample in samples}))
    return Dataset(name="noise", samples=samples, classnames=classnames, templates=())
