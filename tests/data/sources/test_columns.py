"""Columns and separators that the user names."""

from pathlib import Path

import pytest

from tests.data.made import greys, image, write_files, write_table
from tests.data.sources.test_captions import KINDS, TEXT, captions, root
from twinlens.data.datasets import open_dataset
from twinlens.data.sources.columns import Columns
from twinlens.data.splits import open_splits
from twinlens.errors import DataError

__all__ = ["root"]  # a fixture


@pytest.mark.parametrize(("ending", "separator"), KINDS)
def test_columns_that_the_user_names(ending: str, separator: str, root: Path):
    rows = [{"wo": f"images/{n}.png", "was": f"{TEXT} {n}", "text": "no"} for n in range(3)]
    path = write_table(root / f"t{ending}", rows, separator)
    columns = Columns(image="WO", text="was", separator=separator or None)
    dataset = open_dataset(path, columns=columns)
    assert captions(dataset) == [(f"{TEXT} {n}",) for n in range(3)]
    assert greys(dataset) == [0, 1, 2]
    for wrong in (Columns(image="wo", text="what"), Columns(image="where")):
        with pytest.raises(DataError, match=r"expected one of images .* --image-column, --text"):
            open_dataset(path, columns=wrong)


def test_a_separator_that_only_the_user_knows(root: Path):
    write_files(root, {"t.csv": "image~text\nimages/0.png~a; b, c\n", "u.txt": ""})
    dataset = open_dataset(root / "t.csv", columns=Columns(separator="~"))
    assert captions(dataset) == [("a; b, c",)]
    for separator in ("ab", ""):
        with pytest.raises(DataError, match="expected one character or tab"):
            Columns(separator=separator)
    assert Columns(separator="tab").separator == Columns(separator="\\t").separator == "\t"


def test_columns_are_those_of_the_split(tmp_path: Path):
    for grey, name in enumerate(("train", "test")):
        write_files(tmp_path, {f"images/{grey}.png": image(grey)})
        row = {"where": f"images/{grey}.png", "words": name}
        write_table(tmp_path / f"{name}.csv", [row], separator="~")
    columns = Columns(image="where", text="words", separator="~")
    dataset = open_dataset(tmp_path, columns=columns, splits=("train",))
    assert [sample.captions for sample in dataset.samples] == [("train",)]
    parts = open_splits(tmp_path, columns=columns)
    assert parts.train is not None
    assert [sample.captions for sample in parts.train.samples] == [("train",)]
    assert [sample.captions for sample in parts.test.samples] == [("test",)]
