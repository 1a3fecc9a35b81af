"""Data sets that go by a name, against the files that they come from."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinlens.data.datasets import Dataset, open_dataset
from twinlens.data.samples import Sample, fingerprint
from twinlens.data.sources import builtin
from twinlens.data.sources.arrays import ArrayImage, GreyImages
from twinlens.data.splits import open_splits
from twinlens.errors import DataError, MissingExtraError
from twinlens.images.decode import decode_image


def pixels(sample: Sample) -> np.ndarray:
    """The image as PIL reads the file."""
    return np.asarray(Image.open(io.BytesIO(sample.image_bytes())))


def keys(dataset: Dataset) -> set[str]:
    return {sample.key for sample in dataset.samples}


# An array of images


def test_images_of_an_array_are_read_without_loss():
    array = np.random.default_rng(0).integers(0, 256, (5, 9, 4), dtype=np.uint8)
    images = GreyImages("noise", array)
    for place in range(5):
        sample = Sample(key=str(place), source=ArrayImage(images, place))
        assert np.array_equal(pixels(sample), array[place])
        assert np.array_equal(np.asarray(decode_image(sample.image_bytes()))[..., 1], array[place])
        assert sample.where == f"noise: image {place}"


def test_arrays_have_marks_of_their_content():
    array = np.zeros((3, 2, 2), np.uint8)
    other = array.copy()
    other[2, 1, 1] = 1
    arrays = (array, array.copy(), other, array.reshape(3, 1, 4))
    marks = [ArrayImage(GreyImages("any", one), 0).mark for one in arrays]
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3
    samples = [Sample(key="a", source=ArrayImage(GreyImages("x", array), i)) for i in range(3)]
    assert fingerprint(samples) != fingerprint(samples[::-1])


# Digits


def test_digits_are_scikit_learns():
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    dataset = open_dataset("digits")
    assert (dataset.name, len(dataset.samples)) == ("digits", 1797)
    assert dataset.classnames == tuple("0123456789")
    assert dataset.templates == ('a photo of the number: "{}".',)
    assert [sample.label for sample in dataset.samples] == [str(n) for n in theirs.target]
    for place in (0, 7, 1796):
        assert np.abs(pixels(dataset.samples[place]) / 255 * 16 - theirs.images[place]).max() < 0.04


def test_digits_are_split_once_and_for_all():
    pytest.importorskip("sklearn")
    found = open_splits("digits")
    assert found.train is not None
    assert (found.name, found.val) == ("digits", None)
    assert keys(found.test).isdisjoint(keys(found.train))
    assert keys(found.test) | keys(found.train) == keys(open_dataset("digits"))
    for name in found.test.classnames:
        counts = [
            sum(sample.label == name for sample in part.samples)
            for part in (found.test, found.train)
        ]
        assert counts[0] == sum(counts) // 3
    assert fingerprint(found.test.samples) == "147e016add667763"  # what published figures are of
    assert fingerprint(open_dataset("digits/test").samples) == "147e016add667763"
    with pytest.raises(DataError, match=r"got digits: image \d+ in test and in train"):
        _ = open_splits("digits", train="digits").train


def test_digits_need_scikit_learn(monkeypatch: pytest.MonkeyPatch):
    builtin._digits_arrays.cache_clear()
    monkeypatch.setattr(builtin, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn.*'twinlens\[eval\]'"):
        open_dataset("digits")


@pytest.mark.parametrize("spec", ["fashion-mnist", "fashion-mnist/val", "digits/val", "digits/"])
def test_a_split_is_to_be_named(spec: str):
    with pytest.raises(DataError, match=r"expected one of 'test', 'train': .*/test"):
        open_dataset(spec)


def test_a_path_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("digits", "fashion-mnist/test"):
        (tmp_path / name / "cat").mkdir(parents=True)
        Image.new("L", (3, 3)).save(tmp_path / name / "cat/1.png")
    monkeypatch.chdir(tmp_path)
    assert open_dataset("digits").classnames == ("cat",)
    assert open_splits("digits").test.classnames == ("cat",)
    assert open_splits("fashion-mnist").test.classnames == ("cat",)
    assert open_dataset("fashion-mnist/test").classnames == ("cat",)


# Fashion-MNIST


def idx(array: np.ndarray) -> bytes:
    """An idx file of bytes, by its description: 0, 0, 8, dimensions; their lengths; the data."""
    lengths = b"".join(struct.pack(">I", length) for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def garments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of the package's names with 12 and 20 images of noise."""
    monkeypatch.setattr(builtin, "_GARMENTS_FOLDER", tmp_path)
    monkeypatch.setattr(builtin, "_GARMENTS_FILES", {"test": ("t10k", 12), "train": ("train", 20)})
    rng = np.random.default_rng(0)
    for prefix, count in (("t10k", 12), ("train", 20)):
        array = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_gzip(tmp_path / f"{prefix}-images-idx3-ubyte.gz", idx(array))
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_gzip(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", idx(labels))
    return tmp_path


def write_gzip(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 1))


def test_fashion_mnist(garments: Path):
    found = open_splits("fashion-mnist")
    assert found.name == "fashion-mnist"
    assert found.train is not None
    assert (len(found.test.samples), len(found.train.samples)) == (12, 20)
    assert [sample.label for sample in found.test.samples[:3]] == [
        "T-shirt/top",
        "Trouser",
        "Pullover",
    ]
    assert found.test.samples[9].label == "Ankle boot"
    data = gzip.decompress((garments / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert pixels(found.test.samples[1]).tobytes() == data[16 + 784 : 16 + 2 * 784]
    assert found.test.templates == ("a photo of a {}, a type of clothing.",)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t10k-images-idx3-ubyte.gz", None, r"no such file.*apt-get install dataset-fashion-mnist"),
        ("t10k-images-idx3-ubyte.gz", b"\x1f\x8bno", "cannot be read: "),
        (
            "t10k-labels-idx1-ubyte.gz",
            idx(np.zeros(11, np.uint8)),
            r"got another file, expected idx of \[12\] bytes",
        ),
        ("t10k-labels-idx1-ubyte.gz", idx(np.zeros(13, np.uint8)), r"got another file, expected"),
        (
            "t10k-labels-idx1-ubyte.gz",
            idx(np.full(12, 10, np.uint8)),
            "image 0: got the class 10",
        ),
    ],
)
def test_files_that_are_wrong(name: str, data: bytes | None, message: str, garments: Path):
    if data is None:
        (garments / name).unlink()
    elif data.startswith(b"\x1f\x8b"):
        (garments / name).write_bytes(data)
    else:
        write_gzip(garments / name, data)
    with pytest.raises(DataError, match=f"{name}: {message}") as found:
        open_dataset("fashion-mnist/test")
    assert "\n" not in str(found.value)


@pytest.mark.skipif(not builtin._GARMENTS_FOLDER.exists(), reason="Debian's package is not here")
def test_fashion_mnist_as_debian_has_it():
    dataset = open_dataset("fashion-mnist/test")
    counts = np.unique([sample.label for sample in dataset.samples], return_counts=True)
    assert counts[1].tolist() == [1000] * 10
    assert pixels(dataset.samples[0]).shape == (28, 28)
    assert dataset.samples[0].label == "Ankle boot"  # the first of the published test labels: 9
