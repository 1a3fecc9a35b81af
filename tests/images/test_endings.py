"""Every ending that is read, in every kind of data set and on the command line."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.ending_cases import HIDDEN, NO_IMAGES, NOT_READ, READ
from twinlens.cli.found import find_images
from twinlens.data.datasets import open_dataset
from twinlens.data.samples import Dataset
from twinlens.errors import DataError
from twinlens.images.decode import decode_image

NAMES = [(kind, name) for kind, names in READ.items() for name in names if name.count(".") == 1]
SWATCH = Image.linear_gradient("L").resize((24, 16))


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    SWATCH.save(file, kind)
    return file.getvalue()


def folder(root: Path, name: str, data: bytes) -> Path:
    (root / name).write_bytes(data)
    (root / "a.txt").write_text("a swatch", encoding="utf-8")
    return root


def class_folders(root: Path, name: str, data: bytes) -> Path:
    for label in ("red", "blue"):
        (root / label).mkdir()
        (root / label / name).write_bytes(data if label == "red" else encoded("PNG"))
    return root


def tar(root: Path, name: str, data: bytes) -> Path:
    with tarfile.open(root / "0.tar", "w") as file:
        for member, content in ((name, data), ("a.txt", b"a swatch")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return root / "0.tar"


def table(root: Path, name: str, data: bytes) -> Path:
    (root / name).write_bytes(data)
    (root / "table.csv").write_text(f"image,text\n{name},a swatch\n", encoding="utf-8")
    return root / "table.csv"


def only_image(dataset: Dataset, name: str) -> np.ndarray:
    [sample] = [one for one in dataset.samples if one.label in (None, "red")]
    return np.asarray(decode_image(sample.image_bytes(), name=name))


@pytest.mark.parametrize("make", [folder, class_folders, tar, table])
@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_data_sets_read_every_ending(make, kind: str, name: str, tmp_path: Path):
    dataset = open_dataset(make(tmp_path, name, encoded(kind)))
    expected = np.asarray(Image.open(io.BytesIO(encoded(kind))).convert("RGB"))
    assert np.array_equal(only_image(dataset, name), expected)


def test_directories_on_the_command_line(tmp_path: Path):
    """Read, named or passed over: nothing is lost, and what is hidden is none of it."""
    root = tmp_path / ".of the user" / "all"
    read = [name for _, name in NAMES]
    known = [name for names in NOT_READ.values() for name in names]
    none = [name for name in NO_IMAGES if "/" not in name]
    hidden = [name for name in HIDDEN if "\\" not in name]
    for place, names in (("read", read), ("known", known), ("none", none), ("hidden", hidden)):
        for name in names:
            path = root / place / name.removeprefix("./")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = find_images([str(root)])
    assert found.images == sorted(str(root / "read" / name) for name in read)
    assert sorted(found.unreadable) == sorted(str(root / "known" / name) for name in known)
    assert sorted(found.non_images) == sorted(str(root / "none" / name) for name in none)
    assert find_images([f"{root}/**/*"]).images == found.images
    assert find_images([str(root / "known" / "a.psd")]).images == [str(root / "known" / "a.psd")]
    with pytest.raises(DataError, match=r"got no images that can be read \(\d+ x camera raw image"):
        find_images([str(root / "known")])
