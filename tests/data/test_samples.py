"""Fingerprints: the same for the same samples wherever they lie, others for others."""

import io
import shutil
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
from PIL import Image

from twinlens.data.datasets import Dataset, Sample, open_dataset
from twinlens.data.samples import LazySamples, fingerprint
from twinlens.data.webdataset.shards import ShardSample, write_shard
from twinlens.errors import DataError

parquet = pytest.importorskip("pyarrow.parquet")
pyarrow = pytest.importorskip("pyarrow")


def image(size: int = 4) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def tars(root: Path, word: str = "ant", size: int = 4, key: str = "0") -> Path:
    root.mkdir(parents=True)
    for shard, numbers in enumerate([(0, 1), (2,)]):
        members = {"png": image(size), "txt": word.encode()}
        write_shard(root / f"{shard:05d}.tar", [(f"{key}{number}", members) for number in numbers])
    return root


def captioned(root: Path, word: str = "ant", size: int = 4, key: str = "0") -> Path:
    root.mkdir(parents=True)
    for number in range(3):
        (root / f"{key}{number}.png").write_bytes(image(size))
        (root / f"{key}{number}.txt").write_text(word)
    return root


def class_folders(root: Path, word: str = "ant", size: int = 4, key: str = "0") -> Path:
    captioned(root / "one", word, size, key)
    captioned(root / "two", word, size, key)
    return root


def table(root: Path, word: str = "ant", size: int = 4, key: str = "0") -> Path:
    captioned(root / "images", "not read", size, key)
    rows = [f"images/{key}{number}.png,{word}" for number in range(3)]
    (root / "pairs.csv").write_text("\n".join(["image,text", *rows, ""]))
    return root / "pairs.csv"


def images_in_a_table(root: Path, word: str = "ant", size: int = 4, key: str = "0") -> Path:
    root.mkdir(parents=True)
    columns = {"image": [image(size)] * 3, "text": [word] * 3}
    parquet.write_table(pyarrow.table(columns), root / f"{key}.parquet")
    return root / f"{key}.parquet"


def joined(root: Path, **changes: str) -> str:
    return f"{tars(root / 'tars')}::{table(root / 'table', **changes)}"  # pyright: ignore


KINDS = (tars, captioned, class_folders, table, images_in_a_table, joined)
Make = Callable[..., Path | str]


def mark_of(spec: Path | str) -> str:
    return fingerprint(open_dataset(spec).samples)


@pytest.mark.parametrize("make", KINDS)
def test_it_does_not_depend_on_where_the_data_lies(make: Make, tmp_path: Path):
    here, there = (mark_of(make(tmp_path / place)) for place in ("here", "far/away/there"))
    assert here == there


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("changes", [{"word": "bumblebee"}, {"size": 5}, {"key": "1"}])
def test_other_samples_have_another(make: Make, changes: dict[str, object], tmp_path: Path):
    same, other = make(tmp_path / "a"), make(tmp_path / "b", **changes)
    assert mark_of(same) != mark_of(other)


@pytest.mark.parametrize("make", KINDS)
def test_the_order_and_the_number_count(make: Make, tmp_path: Path):
    samples = open_dataset(make(tmp_path / "data")).samples
    assert len({fingerprint(samples), fingerprint(samples[:-1]), fingerprint(samples[::-1])}) == 3


def test_a_table_of_absolute_paths_can_move(tmp_path: Path):
    def absolute(root: Path) -> Dataset:
        images = captioned(root / "images")
        (root / "pairs.csv").write_text(f"image,text\n{images / '00.png'},ant\n")
        return open_dataset(root / "pairs.csv")

    here, there = absolute(tmp_path / "here"), absolute(tmp_path / "there")
    assert fingerprint(here.samples) == fingerprint(there.samples)


def test_what_a_table_calls_one_concept_counts(tmp_path: Path):
    path = table(tmp_path / "data")
    rows = path.read_text().splitlines()
    found = {mark_of(path)}
    for concept in ("insect", "animal"):
        path.write_text(
            "\n".join([f"{rows[0]},concept", *(f"{row},{concept}" for row in rows[1:])])
        )
        found.add(mark_of(path))
    assert len(found) == 3


def test_joined_parts_count_in_their_order(tmp_path: Path):
    one, two = tars(tmp_path / "one"), captioned(tmp_path / "two")
    forwards, backwards = mark_of(f"{one}::{two}"), mark_of(f"{two}::{one}")
    assert len({forwards, backwards, mark_of(one), mark_of(two)}) == 4


def test_tars_are_not_read_again(tmp_path: Path):
    dataset = open_dataset(tars(tmp_path / "data"))
    before = fingerprint(dataset.samples)
    shutil.rmtree(tmp_path / "data")
    assert fingerprint(dataset.samples) == before


def test_a_file_that_is_gone_is_named(tmp_path: Path):
    dataset = open_dataset(captioned(tmp_path / "data"))
    (tmp_path / "data" / "01.png").unlink()
    with pytest.raises(DataError, match=r"01\.png: cannot be read: No such file"):
        fingerprint(dataset.samples)


def test_it_stays_what_it_is(tmp_path: Path):
    """Checkpoints keep it: another value here would refuse to resume every run there is."""
    (tmp_path / "ant.png").write_bytes(bytes(70))
    sample = Sample(key="ant.png", source=tmp_path / "ant.png", captions=("an \N{ANT}",))
    assert fingerprint([sample]) == "4fb566da4f5d0e92"
    place = ShardSample(Path("/any/00000.tar"), "ant", {"png": (512, 70)})
    assert fingerprint([Sample(key="ant", source=place)]) == "2192ad301a756211"
    assert fingerprint(LazySamples([place], _never, attrgetter("mark"))) == "54594df8cec0cbb7"


def _never(_: object) -> Sample:
    raise AssertionError
