import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.data.left_out import LeftOut
from twinlens.data.webdataset.shards import (
    list_samples,
    make_directory,
    write_shard,
    write_text_file,
)
from twinlens.errors import DataError

KEYS = st.text(alphabet="abcdefghij0123456789_-", min_size=1, max_size=12)
MEMBERS = st.dictionaries(
    st.sampled_from(["webp", "json", "txt", "cls"]), st.binary(max_size=2000), min_size=1
)


@given(samples=st.dictionaries(KEYS, MEMBERS, min_size=1, max_size=6))
def test_what_is_written_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, samples: dict[str, dict[str, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("shards") / "00000.tar"
    assert write_shard(path, samples.items()) == len(samples)
    index = list_samples(path, LeftOut())
    assert [sample.key for sample in index] == list(samples)
    for sample in index:
        assert {ext: sample.read_member(ext) for ext in sample.members} == samples[sample.key]


def test_other_programs_read_the_tars(tmp_path: Path) -> None:
    write_shard(tmp_path / "00000.tar", [("000000000", {"txt": b"image 0"})])
    with tarfile.open(tmp_path / "00000.tar") as tar:
        info = tar.getmembers()[0]
        assert (info.name, info.mtime, info.uid, info.gid) == ("000000000.txt", 0, 0, 0)


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [(f"{n:09d}", {"txt": b"image %d" % n}) for n in range(7)])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_cut_tar_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    write_shard(path, [(f"{n:09d}", {"txt": b"x" * 700}) for n in range(8)])
    whole = path.read_bytes()
    for length in range(0, 8 * 1536 + 512, 256):  # up to the end-of-archive mark
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"00000\.tar: not a whole tar"):
            list_samples(path, LeftOut())


def test_a_file_that_is_no_tar_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    path.write_bytes(b"<html>not found</html>" * 200)
    with pytest.raises(DataError, match="not a whole tar"):
        list_samples(path, LeftOut())


def test_a_missing_tar_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"00007\.tar: no such shard"):
        list_samples(tmp_path / "00007.tar", LeftOut())


def test_a_tar_shortened_after_indexing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    write_shard(path, [("a", {"txt": b"x" * 3000})])
    (sample,) = list_samples(path, LeftOut())
    os.truncate(path, 1000)
    with pytest.raises(DataError, match=r"sample a: got 488 bytes of \.txt, expected 3000"):
        sample.read_member("txt")


def test_a_missing_member_says_what_there_is(tmp_path: Path) -> None:
    write_shard(tmp_path / "00000.tar", [("a", {"txt": b"", "webp": b""})])
    (sample,) = list_samples(tmp_path / "00000.tar", LeftOut())
    with pytest.raises(DataError, match=r"sample a: got txt, webp, expected a \.json"):
        sample.read_member("json")


def test_members_of_one_key_are_one_sample_whatever_the_case(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    write_shard(path, [("set/0001", {"JPG": b"1", "seg.png": b"2"})])
    (sample,) = list_samples(path, LeftOut())
    assert (sample.key, list(sample.members)) == ("set/0001", ["jpg", "seg.png"])


@pytest.mark.parametrize("second", ["set/0001.jpg", "set/0001.JPG", "./set/0001.jpg"])
def test_of_a_member_that_is_there_twice_the_last_is_used(tmp_path: Path, second: str) -> None:
    path = tmp_path / "00000.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("set/0001.jpg", b"one"), ("set/0001.txt", b""), (second, b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    left_out = LeftOut()
    (sample,) = list_samples(path, left_out)
    assert sample.read_member("jpg") == b"two"  # as tar itself extracts it
    assert left_out.lines() == [
        f"1 x file named twice in a tar, of which the last is used: {path}: {second}"
    ]


def test_a_text_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written: No such file or directory"):
        write_text_file(tmp_path / "missing" / "README.md", "text")


def test_a_file_where_the_folder_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        make_directory(tmp_path / "file" / "corpus")


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_shard(tmp_path: Path) -> None:
    def samples():
        yield "a", {"txt": json.dumps({}).encode()}
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"00000\.tar: cannot be written: No space left on device"):
        write_shard(tmp_path / "00000.tar", samples())
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_samples_leaves_no_half_shard(tmp_path: Path) -> None:
    def samples():
        yield "a", {"txt": b"a cat"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "00000.tar", samples())
    assert list(tmp_path.iterdir()) == []
