"""Names with numbers in them are in one order, whatever they are names of."""

import random
from pathlib import Path

import pytest

from tests.data.cases_order import ORDERED
from tests.data.made import greys, image, write_files, write_table, write_tar
from tests.data.sources.test_hub_datasets import offline
from twinlens.data.datasets import open_dataset

__all__ = ["offline"]  # a fixture

orders = pytest.mark.parametrize("names", ORDERED, ids=lambda names: " ".join(names)[:30])


def shuffled(names: tuple[str, ...]) -> list[tuple[int, str]]:
    """The names with their places, in another order."""
    pairs = list(enumerate(names))
    random.Random(len(names)).shuffle(pairs)
    return pairs


def embedded(names: tuple[str, ...]) -> dict[str, bytes]:
    """An image by each name, whose grey is the name's place."""
    return {f"{name}.png": image(place) for place, name in shuffled(names)}


@orders
def test_class_folders_get_the_lines_of_their_list(names: tuple[str, ...], tmp_path: Path):
    write_files(tmp_path, {f"{name}/x.png": image(place) for place, name in shuffled(names)})
    assert open_dataset(tmp_path).classnames == names
    write_files(tmp_path, {"classnames.txt": "".join(f"the {name}\n" for name in names)})
    dataset = open_dataset(tmp_path)
    assert dataset.classnames == tuple(f"the {name}" for name in names)
    assert [sample.label for sample in dataset.samples] == [f"the {name}" for name in names]
    assert greys(dataset) == list(range(len(names)))


@orders
def test_images_with_captions_beside_them(names: tuple[str, ...], tmp_path: Path):
    write_files(tmp_path, embedded(names))
    assert greys(open_dataset(tmp_path)) == list(range(len(names)))


@orders
def test_images_of_a_class(names: tuple[str, ...], tmp_path: Path):
    write_files(tmp_path / "cat", embedded(names))
    write_files(tmp_path / "cat/deeper", embedded(names))
    assert greys(open_dataset(tmp_path)) == 2 * list(range(len(names)))


@orders
def test_tars_of_a_folder(names: tuple[str, ...], tmp_path: Path):
    for place, name in shuffled(names):
        write_tar(tmp_path / f"{name}.tar", {f"s{place}.png": image(place)})
    dataset = open_dataset(tmp_path)
    assert [sample.key for sample in dataset.samples] == [f"s{n}" for n in range(len(names))]
    assert dataset.shard_sizes == [1] * len(names)


@orders
def test_labels_of_tars(names: tuple[str, ...], tmp_path: Path):
    files: dict[str, bytes] = {}
    for place, name in shuffled(names):
        files |= {f"{place}.png": image(), f"{place}.json": f'{{"label": "{name}"}}'.encode()}
    assert open_dataset(write_tar(tmp_path / "0.tar", files)).classnames == names


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@orders
def test_labels_of_tables(names: tuple[str, ...], ending: str, tmp_path: Path):
    write_files(tmp_path, {f"{place}.png": image() for place in range(len(names))})
    rows = [{"image": f"{place}.png", "label": name} for place, name in shuffled(names)]
    assert open_dataset(write_table(tmp_path / f"t{ending}", rows)).classnames == names


@orders
def test_parquet_files_of_a_folder(names: tuple[str, ...], tmp_path: Path):
    for place, name in shuffled(names):
        write_table(tmp_path / f"{name}.parquet", [{"image": image(place), "text": name}])
    dataset = open_dataset(tmp_path)
    assert [sample.captions for sample in dataset.samples] == [(name,) for name in names]
    assert greys(dataset) == list(range(len(names)))


@orders
def test_files_of_the_hub(names: tuple[str, ...], offline: Path):
    for place, name in shuffled(names):
        write_tar(offline / "test" / f"{name}.tar", {f"s{place}.png": image(place)})
    dataset = open_dataset("hf://datasets/org/birds/test")
    assert [sample.key for sample in dataset.samples] == [f"s{n}" for n in range(len(names))]
