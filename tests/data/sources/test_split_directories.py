"""Roots of splits: never classes of these names, and opened by their splits in every reader."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.data.cases_splits import CLASSES, ROOTS, SPLITS
from tests.data.made import greys, image, write_files, write_table, write_tar
from twinlens.data.datasets import open_dataset
from twinlens.data.splits import open_splits
from twinlens.errors import DataError


def classes(folder: Path, grey: int) -> None:
    write_files(folder, {"cat/1.png": image(grey), "dog/2.png": image(grey + 1)})


def captioned(folder: Path, grey: int) -> None:
    write_files(folder, {"1.png": image(grey), "1.txt": "a cat", "2.png": image(grey + 1)})


def tars(folder: Path, grey: int) -> None:
    members = {f"{grey}.png": image(grey), f"{grey}.txt": b"a cat", "x.jpg": image(grey + 1)}
    write_tar(folder / "00000.tar", members)


def parquet(folder: Path, grey: int) -> None:
    rows = [{"image": image(grey + n), "text": "a cat", "id": grey} for n in range(2)]
    write_table(folder / "00000.parquet", rows)


def split_of(name: str) -> Any:
    """Which split a name in the lists is."""
    return next(split for split, names in SPLITS.items() if {name, name.lower()} & {*names})


kinds = pytest.mark.parametrize("fill", [classes, captioned, tars, parquet])
Fill = Callable[[Path, int], None]


def refused(spec: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as told:
        open_dataset(spec)
    assert "\n" not in str(told.value)


# Folders


@kinds
@pytest.mark.parametrize("name", [name for names in SPLITS.values() for name in names])
def test_every_name_of_a_split(name: str, fill: Fill, tmp_path: Path):
    split = split_of(name)
    fill(tmp_path / name, 5)
    refused(tmp_path, rf"got the splits '{name}', expected one data set; or give .*/{name}$")
    dataset = open_dataset(tmp_path, splits=(split,))
    assert greys(dataset) == [5, 6]
    assert not {name, split} & set(dataset.classnames)
    others: Any = [other for other in SPLITS if other != split]
    with pytest.raises(DataError, match=rf"got the splits '{name}', expected one of {others[0]}"):
        open_dataset(tmp_path, splits=others)


@kinds
@pytest.mark.parametrize("names", ROOTS, ids="+".join)
def test_roots_of_splits(names: Sequence[str], fill: Fill, tmp_path: Path):
    for place, name in enumerate(names):
        fill(tmp_path / name, 10 * place)
    write_files(tmp_path, {"README.md": "of this data", "LICENSE": ""})
    listed = ", ".join(map(repr, sorted(names)))
    refused(tmp_path, rf"got the splits {listed}, expected one data set; or give .*/\w+$")
    for place, name in enumerate(names):
        split = split_of(name)
        assert greys(open_dataset(tmp_path, splits=(split,))) == [10 * place, 10 * place + 1]
    if "test" not in map(split_of, names):
        with pytest.raises(DataError, match=rf"got the splits {listed}, expected 'test' among"):
            open_splits(tmp_path)
        return
    parts = open_splits(tmp_path)
    found = {"train": parts.train, "val": parts.val, "test": parts.test}
    for place, name in enumerate(names):
        part = found.pop(str(split_of(name)))
        assert part is not None
        assert greys(part) == [10 * place, 10 * place + 1]
    assert set(found.values()) <= {None}


def test_the_first_split_that_is_there_is_taken(tmp_path: Path):
    classes(tmp_path / "training", 1)
    classes(tmp_path / "testing", 3)
    assert greys(open_dataset(tmp_path, splits=("val", "test"))) == [3, 4]
    assert greys(open_dataset(tmp_path, splits=("train", "test"))) == [1, 2]
    assert open_dataset(tmp_path, splits=("train",)).split == "train"


@pytest.mark.parametrize("fill", [classes, tars, parquet])
def test_names_above_the_splits_are_theirs(fill: Fill, tmp_path: Path):
    fill(tmp_path / "train", 1)
    fill(tmp_path / "valid", 5)
    prompts = {"zeroshot_classification_templates.txt": "a {c}"}
    write_files(tmp_path, {"classnames.txt": "house cat\nhound\n", **prompts})
    dataset = open_dataset(tmp_path, splits=("train",))
    assert dataset.templates == ("a {c}",)
    assert dataset.classnames == (("house cat", "hound") if fill is classes else ())
    assert (greys(dataset), dataset.left_out.total) == ([1, 2], 0)


@pytest.mark.parametrize("second", ["valid", "validation", "dev", "Val", "val2017"])
def test_one_split_by_two_names(second: str, tmp_path: Path):
    for name in ("train", "val", second):
        classes(tmp_path / name, 1)
    refused(tmp_path, rf"got the folders '(val|{second})' and '(val|{second})', expected one of")


@pytest.mark.parametrize("names", CLASSES, ids="+".join)
def test_classes_that_are_called_as_splits_are(names: Sequence[str], tmp_path: Path):
    write_files(tmp_path, {f"{name}/{n}.png": image(n) for n, name in enumerate(names)})
    dataset = open_dataset(tmp_path)
    assert set(dataset.classnames) == set(names)
    by_label = {
        sample.label: grey for sample, grey in zip(dataset.samples, greys(dataset), strict=True)
    }
    assert by_label == {name: grey for grey, name in enumerate(names)}
    assert open_splits(tmp_path).test.classnames == dataset.classnames
    assert open_dataset(tmp_path, splits=("train", "test")).classnames == dataset.classnames


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "test_images"),
        ("TrainData", "ValData"),
        ("train imgs", "val imgs"),
        ("trainval", "test"),
    ],
)
@kinds
def test_words_after_the_name_of_a_split(names: Sequence[str], fill: Fill, tmp_path: Path):
    for grey, name in enumerate(names):
        fill(tmp_path / name, 10 * grey)
    refused(tmp_path, r"got the splits '.*', '.*', expected one data set; or give")
    assert greys(open_dataset(tmp_path, splits=("train",))) == [0, 1]


@pytest.mark.parametrize("folder", ["images", "data", "cub/images"])
@kinds
def test_splits_in_the_only_folder(folder: str, fill: Fill, tmp_path: Path):
    for grey, name in enumerate(("train", "test")):
        fill(tmp_path / folder / name, 10 * grey)
    write_files(tmp_path, {"labels/train/1.txt": "0 0.5 0.5 1 1", "README.md": ""})
    refused(tmp_path, rf"got the splits 'test', 'train', expected one .*/{folder}/test$")
    assert greys(open_dataset(tmp_path, splits=("train",))) == [0, 1]
    assert greys(open_splits(tmp_path).test) == [10, 11]


def test_an_empty_folder_is_no_split(tmp_path: Path):
    write_files(tmp_path, {"cat/1.png": image(1), "dog/2.png": image(2), "test/.keep": ""})
    dataset = open_dataset(tmp_path)
    assert [sample.label for sample in dataset.samples] == ["cat", "dog"]


def test_a_joined_root_is_refused_too(tmp_path: Path):
    classes(tmp_path / "a" / "cat", 1)
    classes(tmp_path / "b" / "train", 1)
    with pytest.raises(DataError, match="b: got the splits 'train', expected one data set"):
        open_dataset(f"{tmp_path}/a::{tmp_path}/b")


# Files


FILES: list[tuple[str, ...]] = [
    ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
    ("cc3m-train-0.tar", "cc3m-train-1.tar", "cc3m-val-0.tar"),
    ("train.csv", "validation.csv"),
    ("birds_train.tsv", "birds_test.tsv"),
    ("train.jsonl", "dev.jsonl"),
    ("Train.parquet", "Eval.parquet"),
    ("coco_train2017.tar", "coco_val2017.tar"),
]


def fill_file(path: Path, grey: int) -> None:
    if path.suffix == ".tar":
        write_tar(path, {f"{grey}.png": image(grey), f"{grey}.txt": b"a cat"})
    elif path.suffix == ".parquet":
        write_table(path, [{"image": image(grey), "text": "a cat"}])
    else:
        write_files(path.parent, {f"images/{grey}.png": image(grey)})
        write_table(path, [{"image": f"images/{grey}.png", "text": "a cat"}])


@pytest.mark.parametrize("inner", ["", "data"])
@pytest.mark.parametrize("files", FILES, ids=lambda files: files[-1])
def test_files_named_by_splits(files: Sequence[str], inner: str, tmp_path: Path):
    for grey, name in enumerate(files):
        fill_file(tmp_path / inner / name, grey)
    refused(tmp_path, r"got the splits '\w+', '\w+', expected one data set; or give .*")
    second = "test" if re.search("test|eval", files[-1].lower()) else "val"
    train = open_dataset(tmp_path, splits=("train",))
    assert greys(train) == list(range(len(files) - 1))
    assert greys(open_dataset(tmp_path, splits=(second,))) == [len(files) - 1]
    if second == "test":
        assert greys(open_splits(tmp_path).test) == [len(files) - 1]


@pytest.mark.parametrize("ending", ["tar", "parquet"])
@pytest.mark.parametrize("first", ["train-0", "trains-0", "0"])
def test_files_of_one_split_are_one_data_set(first: str, ending: str, tmp_path: Path):
    for grey, name in enumerate((first, first.replace("0", "1"))):
        fill_file(tmp_path / f"{name}.{ending}", grey)
    assert greys(open_dataset(tmp_path)) == [0, 1]
