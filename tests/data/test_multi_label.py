"""Several labels an image: in tars, in tables, and how they are wrong."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.test_datasets import image, refused, told, write, write_parquet, write_tars
from twinlens.data.datasets import Dataset, open_dataset

NAMES = {"classnames.txt": "zebra\nyak\nant\n"}


def labels(dataset: Dataset) -> list[tuple[str, ...]]:
    return [sample.labels for sample in dataset.samples]


def npy(values: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, **options))
    return file.getvalue()


def write_labelled(root: Path, *labelled: dict[str, bytes]) -> Path:
    return write_tars(root, [{"png": image(), **members} for members in labelled])


# Tars


def test_labels_of_a_json(tmp_path: Path):
    both, none = {"json": told(labels=["yak", "ant"])}, {"json": told(labels=[], style="x")}
    dataset = open_dataset(write_labelled(tmp_path, both, none, {"json": told(labels=["yak"])}))
    assert labels(dataset) == [("yak", "ant"), (), ("yak",)]
    assert [sample.label for sample in dataset.samples] == [None, None, "yak"]
    assert dataset.multi_label
    assert dataset.classnames == ("ant", "yak")
    assert dataset.samples[1].metadata == {"style": "x"}


def test_numbers_are_places_in_the_list(tmp_path: Path):
    write(tmp_path, NAMES)
    samples = [{"json": told(labels=[2, "yak"])}, {"cls": b"0, 2\n"}, {"cls": b"1"}]
    dataset = open_dataset(write_labelled(tmp_path, *samples, {"cls": b"2\n0\n1\n"}))
    assert labels(dataset) == [("ant", "yak"), ("zebra", "ant"), ("yak",), ("ant", "zebra", "yak")]
    assert dataset.classnames == ("zebra", "yak", "ant")
    assert dataset.multi_label


def test_one_number_each_is_one_label_each(tmp_path: Path):
    dataset = open_dataset(write_labelled(write(tmp_path, NAMES), {"cls": b"1"}, {"cls": b"0\n"}))
    assert labels(dataset) == [("yak",), ("zebra",)]
    assert not dataset.multi_label


def test_a_label_beside_labels_is_the_one_that_counts(tmp_path: Path):
    dataset = open_dataset(write_labelled(tmp_path, {"json": told(label="a", labels=["a", "b"])}))
    assert labels(dataset) == [("a",)]
    assert dataset.samples[0].metadata == {"labels": ["a", "b"]}
    assert not dataset.multi_label


@pytest.mark.parametrize("value", ["a, b", [0.5], [True], {"a": 1}, None])
def test_what_else_is_called_labels_is_left(value: object, tmp_path: Path):
    dataset = open_dataset(write_labelled(tmp_path, {"json": told(labels=value)}))
    assert (labels(dataset), dataset.classnames, dataset.multi_label) == ([()], (), False)
    assert dataset.samples[0].metadata == {"labels": value}


def test_a_zero_or_one_for_each_class_as_clip_benchmark_writes_it(tmp_path: Path):
    write(tmp_path, NAMES | {"dataset_type.txt": "multilabel\n"})
    samples = [{"npy": npy([0.0, 1.0, 1.0])}, {"npy": npy([0, 0, 0])}, {"cls": b""}]
    dataset = open_dataset(write_labelled(tmp_path / "test", *samples))
    assert labels(dataset) == [("yak", "ant"), (), ()]
    assert dataset.multi_label
    assert dataset.classnames == ("zebra", "yak", "ant")


def test_an_array_is_no_label_where_nothing_says_so(tmp_path: Path):
    dataset = open_dataset(write_labelled(write(tmp_path, NAMES), {"npy": npy([1.0, 0.0, 0.0])}))
    assert (labels(dataset), dataset.classnames, dataset.multi_label) == ([()], (), False)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"cls": b"0,3"}, "sample 00000: got the class '3', expected a number from 0 to 2"),
        ({"cls": b"0 x"}, "sample 00000: got the class 'x', expected a number from 0 to 2"),
        ({"cls": b" \n"}, "sample 00000: got the class '', expected a number from 0 to 2"),
        ({"json": told(labels=[3])}, "got the class '3', expected a number from 0 to 2"),
        ({"json": told(labels=["yak", "cow"])}, "got the class 'cow', expected one of the 3 in"),
        ({"json": told(label="cow")}, "sample 00000: got the class 'cow', expected one of the 3"),
    ],
)
def test_labels_that_are_wrong(members: dict[str, bytes], message: str, tmp_path: Path):
    refused(write_labelled(write(tmp_path, NAMES), members), message)


@pytest.mark.parametrize("members", [{"cls": b"1,1"}, {"json": told(labels=[1, "yak"])}])
def test_a_class_named_twice_is_taken_once(members: dict[str, bytes], tmp_path: Path):
    dataset = open_dataset(write_labelled(write(tmp_path, NAMES), members))
    assert (labels(dataset), dataset.multi_label) == ([("yak",)], True)
    assert dataset.samples[0].passed_over == ("class that a sample names twice",)
    assert dataset.classnames == ("zebra", "yak", "ant")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy([1, 0]), r"got a npy int64 \[2\], expected a zero or one for each of 3 classes"),
        (npy([[1, 0, 0]]), r"got a npy int64 \[1, 3\], expected"),
        (npy([0.0, 0.5, 1.0]), r"got a npy float64 \[3\], expected"),
        (b"no", "not readable as npy"),
        (npy([{}, 1, 0], dtype=object), "not readable as npy"),
    ],
)
def test_arrays_that_are_wrong(data: bytes, message: str, tmp_path: Path):
    write(tmp_path, NAMES | {"dataset_type.txt": "multilabel"})
    refused(write_labelled(tmp_path, {"npy": data}), f"sample 00000: {message}")


# Tables


def test_labels_of_a_csv(tmp_path: Path):
    images = {f"{n}.png": image(n) for n in range(3)}
    rows = "image,labels,where\n0.png,cat | dog,Kent\n1.png,,\n2.png,ant,\n"
    dataset = open_dataset(write(tmp_path, images | {"t.csv": rows}) / "t.csv")
    assert labels(dataset) == [("cat", "dog"), (), ("ant",)]
    assert dataset.multi_label
    assert dataset.classnames == ("ant", "cat", "dog")
    assert dataset.samples[0].metadata == {"where": "Kent"}


def test_an_image_of_two_rows_with_other_labels(tmp_path: Path):
    write(tmp_path, {"0.png": image(), "t.csv": "image,labels\n0.png,a\n0.png,a|b\n"})
    refused(tmp_path / "t.csv", r"row 2: got '0.png' as 'a\|b', expected 'a' as above")


@pytest.mark.parametrize(
    ("cell", "told_twice"), [("a||b", False), ("a|b|a", True), ("|a| b |", False)]
)
def test_empty_and_repeated_classes_of_a_cell(cell: str, told_twice: bool, tmp_path: Path):
    write(tmp_path, {"0.png": image(), "t.csv": f"image,labels\n0.png,{cell}\n"})
    dataset = open_dataset(tmp_path / "t.csv")
    assert (labels(dataset), dataset.classnames) == ([("a", "b")], ("a", "b"))
    assert dataset.samples[0].passed_over == ("class that a sample names twice",) * told_twice


@pytest.mark.parametrize("spelling", ["names", "feature", "list"])
def test_labels_of_a_parquet_file(spelling: str, tmp_path: Path):
    inner: Any = {"names": ["zebra", "yak", "ant"], "_type": "ClassLabel"}
    feature = {"names": inner, "feature": {"feature": inner, "_type": "List"}, "list": [inner]}
    columns = {"image": [image(n) for n in range(4)], "labels": [[2, 0], [], None, [1]]}
    write_parquet(tmp_path / "t.parquet", columns, {"labels": feature[spelling]})
    dataset = open_dataset(tmp_path / "t.parquet")
    assert labels(dataset) == [("ant", "zebra"), (), (), ("yak",)]
    assert dataset.classnames == ("zebra", "yak", "ant")
    assert dataset.multi_label


def test_a_column_labels_that_is_no_list(tmp_path: Path):
    columns: dict[str, Any] = {"image": [b"x"], "labels": [3], "text": ["a"]}
    write_parquet(tmp_path / "t.parquet", columns)
    dataset = open_dataset(tmp_path / "t.parquet")
    (sample,) = dataset.samples
    assert (sample.captions, sample.labels, sample.metadata) == (("a",), (), {"labels": 3})
    assert sample.passed_over == ("metadata 'labels' of another kind",)
    assert (dataset.classnames, dataset.multi_label) == ((), False)


def test_a_list_in_the_column_label(tmp_path: Path):
    columns = {"image": [b"x"], "label": [["a", "b"]], "text": ["a"]}
    write_parquet(tmp_path / "t.parquet", columns)
    (sample,) = open_dataset(tmp_path / "t.parquet").samples
    assert (sample.captions, sample.labels) == (("a",), ())
    assert sample.metadata == {"label": ["a", "b"]}
    assert sample.passed_over == ("metadata 'label' of another kind",)


def test_two_classes_of_one_name_in_a_schema(tmp_path: Path):
    columns = {"image": [b"x"] * 3, "label": [0, 2, 1]}
    features = {"label": {"names": ["crane", "egret", "crane"]}}
    write_parquet(tmp_path / "t.parquet", columns, features)
    dataset = open_dataset(tmp_path / "t.parquet")
    assert labels(dataset) == [("crane",), ("crane (2)",), ("egret",)]
    assert dataset.spoken == {"crane (2)": "crane"}


def test_joined_sets_have_several_where_one_has(tmp_path: Path):
    one = write_labelled(tmp_path / "a", {"json": told(label="x")})
    several = write_labelled(tmp_path / "b", {"json": told(labels=["y", "z"])})
    joined = open_dataset(f"{one}::{several}")
    assert labels(joined) == [("x",), ("y", "z")]
    assert joined.multi_label
    assert not open_dataset(one).multi_label
