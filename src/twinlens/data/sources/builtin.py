"""Data sets that go by a name: real images that can be had on any machine, without a download.

`digits` are the 1,797 handwritten digits of 8x8 that scikit-learn carries (Alpaydin & Kaynak 1998,
UCI "Optical Recognition of Handwritten Digits", the test part). `fashion-mnist` is Fashion-MNIST
(Xiao et al. 2017), 28x28, from Debian's package.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinlens.data.samples import Dataset, LazySamples, Sample
from twinlens.data.sources.arrays import ArrayImage, GreyImages
from twinlens.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ("digits", "fashion-mnist")
SPLITS = ("test", "train")

_DIGITS = tuple("0123456789")
_DIGITS_TEMPLATES = ('a photo of the number: "{}".',)  # OpenAI's for MNIST
_GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_GARMENTS_TEMPLATES = ("a photo of a {}, a type of clothing.",)
_GARMENTS_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_GARMENTS_FILES = {"test": ("t10k", 10_000), "train": ("train", 60_000)}


def open_named(spec: str) -> Dataset | None:
    """The data set of `NAME` or `NAME/SPLIT`; nothing where the name is none of these.

    `digits` alone is all of them; of `fashion-mnist` a split is to be named.

    Raises:
        DataError: There is no such split, none is named, or the files are missing or damaged.
        MissingExtraError: It is `digits` and scikit-learn is not installed.
    """
    name, slash, split = spec.partition("/")
    if name not in NAMES:
        return None
    if split not in SPLITS and (slash or name != "digits"):
        names = ", ".join(map(repr, SPLITS))
        got = f"no split {split!r}" if slash else "no split"
        raise DataError(f"{spec}: got {got}, expected one of {names}: {name}/{SPLITS[0]}")
    return _digits(split) if name == "digits" else _fashion_mnist(split)


def _digits(split: str) -> Dataset:
    images, targets = _digits_arrays()
    test = _third_of_each_class(targets)
    every = np.arange(len(targets))
    chosen = {"": every, "test": test, "train": np.setdiff1d(every, test)}[split]
    return _dataset(
        f"digits/{split}" if split else "digits",
        images,
        targets,
        chosen,
        classnames=_DIGITS,
        templates=_DIGITS_TEMPLATES,
    )


@cache
def _digits_arrays() -> tuple[GreyImages, NDArray[np.int64]]:
    # Found, not imported: scikit-learn takes seconds, and all that is wanted is a file of it.
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError("scikit-learn", "eval")
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        rows = np.loadtxt(path, np.int64, delimiter=",")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    # Counts from 0 to 16 of the inked dots in squares of 4x4: 16 is white here.
    pixels = np.rint(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return GreyImages("digits", pixels), rows[:, -1]


def _third_of_each_class(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of a third of each class, rounded down, drawn once and for all with the seed 0."""
    order = np.random.default_rng(0).permutation(len(targets))
    members = [order[targets[order] == number] for number in range(len(_DIGITS))]
    return np.sort(np.concatenate([one[: len(one) // 3] for one in members]))


def _fashion_mnist(split: str) -> Dataset:
    prefix, count = _GARMENTS_FILES[split]
    name = f"fashion-mnist/{split}"
    pixels = _read_idx(_GARMENTS_FOLDER / f"{prefix}-images-idx3-ubyte.gz", (count, 28, 28))
    labels = _GARMENTS_FOLDER / f"{prefix}-labels-idx1-ubyte.gz"
    targets = _read_idx(labels, (count,)).astype(np.int64)
    if targets.max() >= len(_GARMENTS):
        place = int(targets.argmax())
        raise DataError(
            f"{labels}: image {place}: got the class {targets[place]}, "
            f"expected 0 to {len(_GARMENTS) - 1}"
        )
    return _dataset(
        name,
        GreyImages(name, pixels),
        targets,
        np.arange(count),
        classnames=_GARMENTS,
        templates=_GARMENTS_TEMPLATES,
    )


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An idx file of bytes (MNIST's format): the kind, the lengths, and the numbers."""
    header = struct.pack(f">{1 + len(shape)}I", 0x800 | len(shape), *shape)
    size = len(header) + math.prod(shape)
    try:
        with gzip.open(path) as file:
            data = file.read(size + 1)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file, expected Debian's copy: "
            "run  apt-get install dataset-fashion-mnist"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(data) != size or not data.startswith(header):
        raise DataError(f"{path}: got another file, expected idx of {list(shape)} bytes")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def _dataset(
    name: str,
    images: GreyImages,
    targets: NDArray[np.int64],
    chosen: NDArray[np.int64],
    *,
    classnames: tuple[str, ...],
    templates: tuple[str, ...],
) -> Dataset:
    """The chosen images of an array; a key is an image's place in it."""

    def sample(place: int) -> Sample:
        label = classnames[int(targets[place])]
        return Sample(key=f"{place:05d}", source=ArrayImage(images, place), label=label)

    places: list[int] = chosen.tolist()
    return Dataset(
        name=name,
        samples=LazySamples(places, sample, lambda place: ArrayImage(images, place).mark),
        classnames=classnames,
        templates=templates,
    )
