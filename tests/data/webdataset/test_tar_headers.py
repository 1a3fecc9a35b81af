"""Headers read in bulk against tarfile's own reading."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twinlens.data.left_out import LeftOut
from twinlens.data.webdataset.tar_headers import list_tar_members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
NAMES = st.text("ab.é/", min_size=1, max_size=160).filter(lambda name: name.strip("/. "))


def write(path: Path, files: list[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def by_tarfile(path: Path) -> list[tuple[str, int, int]]:
    with tarfile.open(path, "r:") as tar:
        return [(one.name, one.offset_data, one.size) for one in tar if one.isfile()]


@settings(max_examples=40, deadline=None)
@given(
    files=st.lists(st.tuples(NAMES, st.binary(max_size=1100)), max_size=6),
    kind=st.sampled_from(FORMATS),
)
@example(files=[("d" * 90 + "/" + "n" * 90, b"x")], kind=tarfile.USTAR_FORMAT)
@example(files=[("n" * 150, b"x"), ("é", b"")], kind=tarfile.PAX_FORMAT)
def test_the_same_files_as_tarfile(
    files: list[tuple[str, bytes]], kind: int, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("tars") / "a.tar"
    try:
        write(path, files, kind)
    except ValueError:  # a name that the format cannot hold
        return
    assert list_tar_members(path, LeftOut()) == by_tarfile(path)


def test_folders_and_links_are_no_files(tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE), ("f", tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "far/f" if kind == tarfile.SYMTYPE else ""
            tar.addfile(info)
    left_out = LeftOut()
    assert [name for name, _, _ in list_tar_members(path, left_out)] == ["f"]
    assert left_out.lines() == [f"1 x link that leads nowhere new: {path}: l -> far/f"]


def test_a_damaged_header_is_no_end(tmp_path: Path):
    path = write(tmp_path / "a.tar", [("one.txt", b"1" * 600), ("two.txt", b"22")])
    data = bytearray(path.read_bytes())
    data[600 + 1024] ^= 0x15
    path.write_bytes(data)
    assert len(by_tarfile(path)) == 1  # which takes it for the end, without a word
    with pytest.raises(tarfile.ReadError, match="got more behind its end: a header is damaged"):
        list_tar_members(path, LeftOut())


@pytest.mark.parametrize("place", [0, 124, 148])
def test_a_damaged_header_is_an_error_or_what_tarfile_says(place: int, tmp_path: Path):
    path = write(tmp_path / "a.tar", [("one.txt", b"1" * 600), ("two.txt", b"22")])
    data = bytearray(path.read_bytes())
    data[place] ^= 0x15
    path.write_bytes(data)
    try:
        expected = by_tarfile(path)
    except tarfile.TarError:
        with pytest.raises(tarfile.TarError):
            list_tar_members(path, LeftOut())
    else:
        assert list_tar_members(path, LeftOut()) == expected


@pytest.mark.parametrize("data", [b"", b"hello", b"x" * 2000])
def test_what_is_no_tar(data: bytes, tmp_path: Path):
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(tarfile.TarError):
        list_tar_members(path, LeftOut())


def test_a_tar_of_nothing(tmp_path: Path):
    assert list_tar_members(write(tmp_path / "a.tar", []), LeftOut()) == []


def test_tars_that_cat_put_together_are_read_to_the_end(tmp_path: Path):
    one, two, both = (tmp_path / f"{name}.tar" for name in ("one", "two", "both"))
    for path in (one, two):
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo(f"{path.stem}.txt")
            info.size = 3
            tar.addfile(info, io.BytesIO(path.stem[:3].encode()))
    both.write_bytes(one.read_bytes() + two.read_bytes())
    data = both.read_bytes()
    found = {
        name: data[offset : offset + size]
        for name, offset, size in list_tar_members(both, LeftOut())
    }
    assert found == {"one.txt": b"one", "two.txt": b"two"}


def test_tars_with_more_than_plain_files_that_cat_put_together_are_refused(tmp_path: Path):
    path = tmp_path / "one.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("folder" + "x" * 200))  # a long name is no plain header
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(tarfile.ReadError, match="got more behind its end"):
        list_tar_members(path, LeftOut())
