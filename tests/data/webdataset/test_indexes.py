"""Indexes of tars: built once, mapped, built again where stale or damaged, never in the way."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.data.datasets import open_dataset
from twinlens.data.left_out import LeftOut
from twinlens.data.samples import fingerprint
from twinlens.data.webdataset import duplicate_keys, indexes, shard_index
from twinlens.data.webdataset.indexes import open_shards
from twinlens.data.webdataset.shard_index import hash_key, make_index, map_index
from twinlens.data.webdataset.shards import ShardSample, list_samples, write_shard
from twinlens.data.webdataset.tars import TarSamples
from twinlens.errors import DataError

KEYS = st.text(alphabet="abé/01\udc80", min_size=1, max_size=8)
SPANS = st.tuples(st.integers(0, 2**40), st.integers(0, 2**33))
MEMBERS = st.dictionaries(st.sampled_from(["jpg", "txt", "json", "seg.png"]), SPANS, min_size=1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own, and indexes kept however small the tars."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(indexes, "MIN_CACHED_BYTES", 0)
    indexes._load_or_build_index.cache_clear()
    yield tmp_path / "home/.cache/twinlens/index"
    indexes._load_or_build_index.cache_clear()


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The tars whose headers are read."""
    scanned: list[object] = []
    plain = indexes.list_samples
    monkeypatch.setattr(
        indexes,
        "list_samples",
        lambda place, left_out: scanned.append(place) or plain(place, left_out),
    )
    return scanned


def tar(path: Path, keys: str, word: str = "ant") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard(path, [(key, {"png": b"x" * 9, "txt": word.encode()}) for key in keys])
    return path


def replace(file: Path, data: bytes) -> None:
    """A file under the name of one that may still be mapped."""
    file.unlink()
    file.write_bytes(data)
    indexes._load_or_build_index.cache_clear()


@given(samples=st.dictionaries(KEYS, MEMBERS, max_size=6))
def test_what_is_saved_is_mapped(
    tmp_path_factory: pytest.TempPathFactory, samples: dict[str, dict[str, tuple[int, int]]]
):
    path = tmp_path_factory.mktemp("index") / "0.index"
    places = [ShardSample(path, key, members) for key, members in samples.items()]
    left_out = LeftOut()
    left_out.add("link", "a.jpg")
    index = make_index(places, size=7, stamp="x", left_out=left_out)
    index.save(path)
    mapped = map_index(path)
    assert mapped is not None
    assert [mapped.sample_at(row, path) for row in range(len(mapped))] == places
    assert (mapped.size, mapped.stamp, mapped.left_out) == (7, "x", left_out)
    lacking = [key for key, members in samples.items() if not {"txt", "json"} & members.keys()]
    assert mapped.without_caption == index.without_caption
    assert mapped.without_caption.total == len(lacking)
    assert mapped.digest == index.digest


def test_an_index_is_built_once(tmp_path: Path, cache: Path, scans: list[object]):
    paths = [tar(tmp_path / "set/0.tar", "ab"), tar(tmp_path / "set/1.tar", "cd")]
    first = open_dataset(tmp_path / "set")
    assert scans == paths
    assert len(list(cache.iterdir())) == 2
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["0.tar", "1.tar"]
    again = open_dataset(tmp_path / "set")
    assert scans == paths
    assert list(again.samples) == list(first.samples)
    assert [sample.key for sample in again.samples] == list("abcd")
    assert fingerprint(again.samples) == fingerprint(first.samples)
    assert again.shard_sizes == [2, 2]


def test_small_sets_leave_no_index(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, scans: list[object]
):
    path = tar(tmp_path / "0.tar", "ab")
    open_dataset(path)
    kept = open_dataset(path)
    monkeypatch.setattr(indexes, "MIN_CACHED_BYTES", 1 << 20)
    for file in cache.iterdir():
        file.unlink()
    small = open_dataset(path)
    assert list(cache.iterdir()) == []
    assert list(small.samples) == list(kept.samples)
    assert fingerprint(small.samples) == fingerprint(kept.samples)


def test_an_index_beside_the_tar_is_used(tmp_path: Path, cache: Path, scans: list[object]):
    path = tar(tmp_path / "set/0.tar", "ab")
    indexes.build_index(path).save(tmp_path / "set/0.tar.index")
    scans.clear()
    dataset = open_dataset(tmp_path / "set")
    assert (len(dataset.samples), dataset.left_out.total, scans, cache.exists()) == (
        2,
        0,
        [],
        False,
    )


def test_a_changed_tar_is_indexed_again(tmp_path: Path, cache: Path):
    path = tar(tmp_path / "0.tar", "ab")
    before = fingerprint(open_dataset(path).samples)
    tar(path, "cd")
    os.utime(path, ns=(0, 7))
    dataset = open_dataset(path)
    assert [sample.key for sample in dataset.samples] == ["c", "d"]
    assert fingerprint(dataset.samples) != before
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("place", [0, 8, 13, 40, 300, -1])
def test_a_damaged_index_is_built_again(place: int, tmp_path: Path, cache: Path):
    path = tar(tmp_path / "0.tar", "ab")
    expected = list(open_dataset(path).samples)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    data = bytearray(whole)
    data[place] ^= 0x11
    replace(file, bytes(data))
    assert list(open_dataset(path).samples) == expected
    assert file.read_bytes() == whole


@pytest.mark.parametrize("length", [0, 5, 16, 100, 500])
def test_a_cut_index_is_built_again(length: int, tmp_path: Path, cache: Path):
    path = tar(tmp_path / "0.tar", "ab")
    expected = list(open_dataset(path).samples)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    replace(file, whole[:length])
    assert list(open_dataset(path).samples) == expected
    assert file.read_bytes() == whole


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path):
    (tmp_path / "home").write_text("not a folder")
    dataset = open_dataset(tar(tmp_path / "0.tar", "ab"))
    assert [sample.captions for sample in dataset.samples] == [("ant",), ("ant",)]


def test_an_index_that_went_away_is_built_again(tmp_path: Path, cache: Path):
    path = tar(tmp_path / "0.tar", "ab")
    dataset = open_dataset(path)
    indexes._load_or_build_index.cache_clear()
    for file in cache.iterdir():
        file.unlink()
    assert dataset.samples[1].key == "b"
    indexes._load_or_build_index.cache_clear()
    for file in cache.iterdir():
        file.unlink()
    tar(path, "abc")
    with pytest.raises(DataError, match=r"0\.tar: got a tar that was changed"):
        _ = dataset.samples[1]


def test_a_half_written_tar_leaves_no_index(tmp_path: Path, cache: Path):
    path = tar(tmp_path / "0.tar", "ab")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"0\.tar: not a whole tar"):
        open_dataset(path)
    assert not cache.exists()


def test_samples_travel_to_other_processes(tmp_path: Path):
    samples = open_dataset(tar(tmp_path / "0.tar", "ab")).samples
    assert list(pickle.loads(pickle.dumps(samples))) == list(samples)


def test_places_and_slices_are_those_of_the_tars(tmp_path: Path):
    paths = [tar(tmp_path / "0.tar", "ab"), tar(tmp_path / "1.tar", "cde")]
    samples = open_dataset(tmp_path).samples
    assert isinstance(samples, TarSamples)
    assert [samples.locate(index) for index in range(5)] == [
        sample for path in paths for sample in list_samples(path, LeftOut())
    ]
    assert [sample.key for sample in samples[::-2]] == ["e", "c", "a"]
    assert samples[-1].key == "e"
    with pytest.raises(IndexError):
        _ = samples[5]


# Keys in several tars


@pytest.mark.parametrize("at_once", [2, 3, 1000])
def test_a_key_in_two_tars_is_found_in_any_pass(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(duplicate_keys, "_HASHES_PER_PASS", at_once)
    tar(tmp_path / "0.tar", "abcdef")
    tar(tmp_path / "1.tar", "ghijkl")
    assert len(open_dataset(tmp_path).samples) == 12
    tar(tmp_path / "2.tar", "xd")
    dataset = open_dataset(tmp_path)
    assert [sample.key for sample in dataset.samples][10:] == ["1/k", "1/l", "2/x", "2/d"]
    assert dataset.left_out.lines() == [
        "1 x key that is in several tars, told apart by the tar: "
        f"{tmp_path}/0.tar: d and {tmp_path}/2.tar: d"
    ]


def test_keys_of_one_hash_are_no_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shard_index, "hash_key", lambda key: hash_key(key) & (7 << 61))
    for number, keys in enumerate(("abcdef", "ghijkl")):
        tar(tmp_path / f"{number}.tar", keys)
    assert len(open_dataset(tmp_path).samples) == 12
    assert open_dataset(tmp_path).left_out.total == 0
    tar(tmp_path / "2.tar", "l")
    dataset = open_dataset(tmp_path)
    assert dataset.left_out.lines() == [
        "1 x key that is in several tars, told apart by the tar: "
        f"{tmp_path}/1.tar: l and {tmp_path}/2.tar: l"
    ]


def test_columns_are_narrow(tmp_path: Path):
    (shard,) = open_shards([tar(tmp_path / "0.tar", "ab")])
    index = shard.load_index()
    assert (index.offsets.dtype, index.exts.dtype) == (np.uint16, np.uint8)
