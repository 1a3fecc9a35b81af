"""Folders, files, globs and data sets as lists of images."""

import os
from pathlib import Path

import pytest

from tests.search.conftest import write_images
from twinlens.errors import DataError
from twinlens.search.sources import SourceFiles, open_source, require_images


def names(listing: SourceFiles) -> list[str]:
    return sorted(Path(file.path).name for file in listing.files())


def test_a_folder_is_walked(photos: Path):
    write_images(photos / "below" / "further", [7])
    write_images(photos / ".hidden", [8])
    (photos / "._1.png").write_bytes(b"")
    (photos / "notes.pdf").write_bytes(b"x")
    (photos / "raw.nef").write_bytes(b"x")
    (photos / "1.txt").write_text(" a caption \n")
    listing = open_source(str(photos))
    found = {Path(file.path).name: file for file in listing.files()}
    assert sorted(found) == [f"{n}.png" for n in range(1, 8)]
    assert found["1.png"].text == "a caption"
    assert found["2.png"].text is None
    assert found["1.png"].size == (photos / "1.png").stat().st_size
    assert listing.left_out.counts == {
        "hidden file or folder": 2,
        "file that is no image": 1,
        "camera raw image (.nef), which is not read": 1,
    }


def test_link_loops_end_and_links_are_followed(photos: Path, tmp_path: Path):
    write_images(tmp_path / "elsewhere", [9])
    (photos / "loop").symlink_to(photos)
    (photos / "other").symlink_to(tmp_path / "elsewhere")
    (photos / "gone.png").symlink_to(tmp_path / "nothing.png")
    (photos / "self").symlink_to(photos / "self")
    (tmp_path / "elsewhere" / "x.idx").mkdir()
    for name in ("index.sqlite", "vectors-0.f32", "12.png"):
        (tmp_path / "elsewhere" / "x.idx" / name).touch()
    listing = open_source(str(photos))
    assert names(listing) == [*(f"{n}.png" for n in range(1, 7)), "9.png"]
    assert listing.left_out.counts == {
        "link that leads nowhere new": 1,
        "file that cannot be read: No such file or directory": 1,
        "file that is no image": 1,
    }


def test_pipes_are_no_files(photos: Path):
    os.mkfifo(photos / "pipe.png")
    listing = open_source(str(photos))
    assert "pipe.png" not in names(listing)
    assert listing.left_out.counts == {"entry that is no file": 1}


def test_names_of_no_encoding(photos: Path):
    (photos / "1.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    assert os.fsdecode(b"caf\xe9.png") in names(open_source(str(photos)))


def test_a_folder_that_cannot_be_read_is_counted(photos: Path, monkeypatch: pytest.MonkeyPatch):
    write_images(photos / "sealed", [7])
    scandir = os.scandir

    def refuse(path: str):
        if str(path).endswith("sealed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    listing = open_source(str(photos))
    monkeypatch.setattr(os, "scandir", refuse)
    assert len(names(listing)) == 6
    assert listing.unlisted == [f"{photos}/sealed/"]
    assert listing.left_out.counts == {"folder that cannot be read: Permission denied": 1}


def test_files_and_globs(photos: Path):
    assert names(open_source(str(photos / "1.png"))) == ["1.png"]
    assert names(open_source(f"{photos}/[12].png")) == ["1.png", "2.png"]
    assert names(open_source(f"{photos}/no*.png")) == []


def test_tables_bring_their_columns(photos: Path):
    table = photos / "table.csv"
    table.write_text("image,text,lang\n1.png,one,en\n2.png,two,de\n")
    listing = open_source(str(table))
    files = list(listing.files())
    assert [(file.text, file.metadata["lang"]) for file in files] == [("one", "en"), ("two", "de")]
    assert listing.image(files[0]) == photos / "1.png"


@pytest.mark.parametrize("name", ["", " ", "nothing/here", "x.tar"])
def test_what_is_not_there_is_refused(name: str):
    with pytest.raises(DataError):
        open_source(name)


def test_a_source_without_images_is_refused(photos: Path, tmp_path: Path):
    listing = SourceFiles(str(tmp_path / "mount"))
    with pytest.raises(DataError, match="got no images, expected files that end in"):
        require_images(listing, 0, 0)
    with pytest.raises(DataError, match="is its disk mounted"):
        require_images(listing, 0, 5)
    require_images(listing, 1, 5)
