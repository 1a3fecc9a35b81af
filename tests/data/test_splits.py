"""Data sets opened by their splits: what is found, when it is opened, and what does not agree."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.data.sources.test_hub_datasets import offline, write_split
from tests.data.test_datasets import image, told, values, write, write_parquet, write_tars
from twinlens.data import splits
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.data.splits import open_splits
from twinlens.errors import DataError

PROMPTS = "zeroshot_classification_templates.txt"

__all__ = ["offline"]  # a fixture


def numbered(folder: Path, labels: Sequence[int], grey: int = 0) -> None:
    """A tar an image, `0.tar` to `N.tar`, as CLIP_benchmark writes them."""
    for number, label in enumerate(labels):
        members = {"webp": image(grey + number, "WEBP"), "cls": str(label).encode()}
        write_tars(folder, [members], first=number)
        os.replace(folder / "00000.tar", folder / f"{number}.tar")  # noqa: PTH105
    write(folder, {"nshards.txt": f"{len(labels)}\n"})


def benchmark(root: Path, **splits: Sequence[int]) -> Path:
    for place, (split, labels) in enumerate(splits.items()):
        numbered(root / split, labels, grey=100 * place)
    names = {"classnames.txt": "zebra\nyak\nant\n", PROMPTS: "a photo of {c}.\n"}
    return write(root, names | {"dataset_type.txt": "classification\n"})


def labels(dataset: Dataset | None) -> list[str | None]:
    assert dataset is not None
    return [sample.label for sample in dataset.samples]


def refused(message: str, spec: Path, **own: Path) -> None:
    def open_all() -> None:
        opened = open_splits(spec, **own)
        _ = opened.test.classnames, opened.train, opened.val

    with pytest.raises(DataError, match=message) as found:
        open_all()
    assert "\n" not in str(found.value)


# Tars as CLIP_benchmark lays them out


def test_clip_benchmarks_layout(tmp_path: Path):
    root = benchmark(tmp_path / "beasts", test=[1, 0, 2], train=[2, 2], val=[0])
    found = open_splits(root)
    assert (found.name, found.test.name) == ("beasts", "beasts")
    assert labels(found.test) == ["yak", "zebra", "ant"]
    assert labels(found.train) == ["ant", "ant"]
    assert labels(found.val) == ["zebra"]
    for part in (found.test, found.train, found.val):
        assert part is not None
        assert part.classnames == ("zebra", "yak", "ant")
        assert part.templates == ("a photo of {c}.",)
        assert (part.left_out.total, part.multi_label) == (0, False)
    assert found.train is not None
    assert found.train.name == "beasts/train"


def test_tars_are_in_the_order_of_their_numbers(tmp_path: Path):
    numbered(tmp_path / "test", [0] * 12)
    keys = [sample.key for sample in open_splits(tmp_path).test.samples]
    assert keys == [f"{number:05d}" for number in range(12)]


def test_a_count_that_is_not_that_of_the_tars(tmp_path: Path):
    root = benchmark(tmp_path, test=[0, 1])
    write(root, {"test/nshards.txt": "3\n"})
    refused(r"test/nshards.txt: got '3', expected 2, as many as there are tars", root)


def test_class_numbers_out_of_range(tmp_path: Path):
    root = benchmark(tmp_path, test=[0], train=[3])
    assert labels(open_splits(root).test) == ["zebra"]
    refused("0.tar: sample 00000: got the class '3', expected a number from 0 to 2", root)


def test_captions_of_retrieval_sets(tmp_path: Path):
    write_tars(tmp_path / "test", [{"jpg": image(1, "JPEG"), "txt": b"one\ntwo\n"}])
    write(tmp_path, {"dataset_type.txt": "retrieval"})
    found = open_splits(tmp_path)
    assert found.test.samples[0].captions == ("one", "two")
    assert found.test.classnames == ()
    assert (found.train, found.val) == (None, None)
    write(tmp_path, {"dataset_type.txt": "regression"})
    refused(r"got 'regression', expected one of classification, multilabel, retrieval", tmp_path)


def test_parts_are_opened_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    plain = splits.open_split
    monkeypatch.setattr(
        splits,
        "open_split",
        lambda part, **options: opened.append(part.split) or plain(part, **options),
    )
    found = open_splits(benchmark(tmp_path, test=[0, 1], train=[1]))
    assert opened == ["test"]
    assert found.train is found.train
    assert opened == ["test", "train"]


# Folders, tables and the hub


def folders(root: Path, **splits: dict[str, int]) -> Path:
    """An image a class in each split, of a grey of its own."""
    images = {
        f"{split}/{name}/x.png": image(grey)
        for split, classes in splits.items()
        for name, grey in classes.items()
    }
    return write(root, images)


def test_class_folders(tmp_path: Path):
    root = folders(tmp_path / "animals", test={"n1": 1, "n2": 2}, train={"n1": 3, "n2": 4})
    found = open_splits(root)
    assert found.test.classnames == ("n1", "n2")
    assert found.train is not None
    assert (values(found.test), values(found.train)) == ([1, 2], [3, 4])
    write(root, {"classnames.txt": "cat\ndog\n", PROMPTS: "a {}"})
    found = open_splits(root)
    assert labels(found.test) == labels(found.train) == ["cat", "dog"]
    assert found.test.templates == ("a {}",)
    assert open_dataset(root / "train").classnames == ("n1", "n2")  # as it always was


def test_classes_that_differ(tmp_path: Path):
    root = folders(tmp_path, test={"cat": 1, "dog": 2}, train={"cat": 3, "fox": 4}, val={"cat": 5})
    refused("got train without 'dog' and with 'fox', expected the test's classes", root)
    more = folders(tmp_path / "more", train={"cat": 6, "dog": 7})
    refused("got val without 'dog', expected", root, train=more / "train")
    many = folders(tmp_path / "many", one={f"c{n}": n for n in range(9)}, two={"c8": 8})
    refused("got train with 'c0', 'c1', 'c2' and 5 others", many / "two", train=many / "one")


def test_classes_in_another_order_are_brought_into_the_tests(tmp_path: Path):
    for name, order in (("a", ["x", "y"]), ("b", ["y", "x"])):
        features = {"label": {"names": order}}
        columns = {"image": [image(len(order))], "label": [0], "id": [name]}
        write_parquet(tmp_path / f"{name}.parquet", columns, features)
    found = open_splits(tmp_path / "a.parquet", train=tmp_path / "b.parquet")
    assert found.train is not None
    assert found.train.classnames == found.test.classnames == ("x", "y")
    assert labels(found.train) == ["y"]


def test_what_has_no_parts_is_measured_on_whole(tmp_path: Path):
    root = folders(tmp_path, all={"cat": 1, "dog": 2}, more={"cat": 3, "dog": 4})
    found = open_splits(root / "all", train=root / "more")
    assert (found.name, found.val) == ("all", None)
    assert (labels(found.test), labels(found.train)) == (["cat", "dog"], ["cat", "dog"])
    assert open_splits(f"{root}/all::{root}/more").test.classnames == ("cat", "dog")


@pytest.mark.parametrize("beside", ["car", "plane"])
def test_a_class_may_be_called_as_a_split_is(beside: str, tmp_path: Path):
    write(tmp_path, {"test/1.png": image(1), "train/2.png": image(2)})
    write(tmp_path, {f"{beside}/3.png": image(3)})
    assert set(open_splits(tmp_path).test.classnames) == {"test", "train", beside}


def test_splits_without_a_test(tmp_path: Path):
    folders(tmp_path, train={"cat": 1}, val={"cat": 2})
    refused(r"got the splits 'train', 'val', expected 'test' among them; or give .*val", tmp_path)


def test_splits_of_the_hub(offline: Path):
    for split in ("train", "test", "validation"):
        write_split(offline, split, [split])
    found = open_splits("hf://datasets/org/birds")
    assert found.name == "org/birds"
    assert found.train is not None
    assert found.val is not None
    captions = [part.samples[0].captions for part in (found.test, found.train, found.val)]
    assert captions == [("test",), ("train",), ("validation",)]
    alone = open_splits("hf://datasets/org/birds/train")
    assert (alone.name, alone.train) == ("org/birds/train", None)


def test_splits_of_several_configurations_are_to_be_named(offline: Path):
    for language in ("de", "en"):
        columns = {"image": [image()], "text": ["x"]}
        write_parquet(offline / language / "test-00000-of-00001.parquet", columns)
    with pytest.raises(DataError, match="got the splits 'de/test', 'en/test', expected one"):
        open_splits("hf://datasets/org/birds")


# Images that are in two parts


def test_a_image_in_test_and_train(tmp_path: Path):
    root = folders(tmp_path, test={"cat": 1, "dog": 2}, train={"cat": 3, "dog": 2})
    refused(r"got .*test/dog/x.png in test and in train, expected it in one of them", root)


def test_one_tar_in_test_and_train(tmp_path: Path):
    root = benchmark(tmp_path, test=[0, 1], train=[1])
    refused("got .*0.tar: sample 00000 in test and in val", root, val=root / "test/0.tar")
    same = write_tars(tmp_path / "a", [{"png": image(7), "json": told(label="yak")}])
    refused("got .*00000.tar: sample 00000 in test and in train", same, train=same)


def test_images_of_equal_names_and_sizes_may_differ(tmp_path: Path):
    root = write(tmp_path, {"test/cat/1.bmp": image(1, "BMP"), "train/cat/1.bmp": image(2, "BMP")})
    assert len({path.stat().st_size for path in root.glob("*/cat/1.bmp")}) == 1
    assert open_splits(root).train is not None


# Names that words cannot tell apart


def labelled(names: list[str], root: Path) -> Path:
    samples = [{"png": image(n), "json": told(label=name)} for n, name in enumerate(names)]
    return write_tars(root, samples)


@pytest.mark.parametrize(
    "names", [["T-shirt", "t-shirt"], ["Ice  cream", "ice_cream", "ice cream"]]
)
def test_names_that_are_the_same_in_words_are_classes_all_the_same(
    names: list[str], tmp_path: Path
):
    splits = open_splits(labelled(names, tmp_path))
    assert set(splits.test.classnames) == set(names)
    assert [sample.label for sample in splits.test.samples] == names


def test_a_class_needs_a_name(tmp_path: Path):
    root = labelled(["_", "a"], tmp_path)
    refused("got the class '_', expected a name that is not empty", root)
    assert set(open_dataset(root).classnames) == {"_", "a"}  # to learn from, as ever


def test_classes_of_one_name_are_the_same_ones_in_every_split(tmp_path: Path):
    names = ["crane", "egret", "crane"]
    write(tmp_path, {"classnames.txt": "\n".join(names)})
    for start, split in enumerate(("test", "train")):
        for number in range(3):
            write(tmp_path, {f"{split}/{number}/a.png": image(3 * start + number)})
    splits = open_splits(tmp_path)
    assert splits.train is not None
    for part in (splits.test, splits.train):
        assert part.classnames == ("crane", "egret", "crane (2)")
        assert [sample.label for sample in part.samples] == ["crane", "egret", "crane (2)"]
        assert part.spoken == {"crane (2)": "crane"}


def test_one_label_a_image_beside_any_number(tmp_path: Path):
    for name, label in (("a", {"label": "x"}), ("b", {"labels": ["x"]})):
        members = {"png": image(1 + len(name)), "json": json.dumps(label).encode()}
        write_tars(tmp_path / name, [members])
    refused(
        "got one label an image in test or in train alone", tmp_path / "a", train=tmp_path / "b"
    )
