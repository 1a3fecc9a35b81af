"""What the experiments on the embedded model share: its features of test sets, and resampling."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from twinlens.data.datasets import open_dataset

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder
    from twinlens.types import Embeddings

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's `dataset-fashion-mnist` has it."""

FASHION_NAMES = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A set of images as the model sees it.

    Attributes:
        name: Of the set.
        values: Unit vectors.
        names: The classes.
        targets: Each image's class.
        groups: Images of equal number are alike, and are resampled together.
        metadata: What the corpus says of each image; nothing for other sets.
    """

    name: str
    values: Float[np.ndarray, "image embed"]
    names: list[str]
    targets: Int64[np.ndarray, " image"]
    groups: Int64[np.ndarray, " image"]
    metadata: Sequence[dict[str, Any]] = ()


def of_part(lens: Embedder, corpus: Path, part: str) -> Features:
    """A part of the corpus; classes are the English names, groups the concepts."""
    samples = list(open_dataset(corpus / part).samples)
    images = (sample.image_bytes() for sample in samples)
    names, targets = np.unique([str(sample.label) for sample in samples], return_inverse=True)
    concepts = [str(sample.concept) for sample in samples]
    return Features(
        name=part,
        values=kept(corpus, part, lambda: lens.embed_images(images)),
        names=names.tolist(),
        targets=targets,
        groups=np.unique(concepts, return_inverse=True)[1],
        metadata=[sample.metadata for sample in samples],
    )


def of_fashion(lens: Embedder, corpus: Path, count: int = 3000) -> Features:
    """The first test images of Fashion-MNIST (Xiao et al. 2017): clothes, grey on black."""
    pixels = _idx(FASHION / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)[:count]
    targets = _idx(FASHION / "t10k-labels-idx1-ubyte.gz", 8)[:count].astype(np.int64)
    return Features(
        name="Fashion-MNIST",
        values=kept(corpus, "Fashion-MNIST", lambda: lens.embed_images(pixels)),
        names=list(FASHION_NAMES),
        targets=targets,
        groups=np.arange(count),
    )


def of_digits(lens: Embedder, corpus: Path) -> Features:
    """Scikit-learn's digits: handwritten, 8 pixels, white on black."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  # two experiments need no digits

    read: Any = load_digits()
    pixels = np.minimum(read.images * 16, 255).astype(np.uint8)[..., None]
    return Features(
        name="digits",
        values=kept(corpus, "digits", lambda: lens.embed_images(pixels)),
        names=list(DIGIT_NAMES),
        targets=read.target.astype(np.int64),
        groups=np.arange(len(pixels)),
    )


def kept(corpus: Path, name: str, make: Callable[[], Embeddings]) -> Embeddings:
    """Embeddings that are made the first time, and then read from `corpus/features`."""
    path = corpus / "features" / f"{name}.npy"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        made = make()
        partial = path.with_suffix(".partial.npy")
        np.save(partial, made)
        partial.replace(path)
    return np.load(path)


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def resampled(
    groups: Int64[np.ndarray, " image"], times: int, seed: int = 0
) -> Float[np.ndarray, "time image"]:
    """How much each image counts in each bootstrap sample of the groups; a row sums to 1."""
    rng = np.random.default_rng(seed)
    count = int(groups.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=times)
    weights = drawn[:, groups].astype(np.float64)
    return weights / weights.sum(axis=1, keepdims=True)
