"""Updates: only what changed is read, the rest is kept, nothing is lost without a word."""

import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.search.conftest import write_images
from tests.search.small import content
from twinlens.embed.embedder import Embedder
from twinlens.errors import DataError
from twinlens.search import update
from twinlens.search.index import Index
from twinlens.types import ImageInput


@pytest.fixture
def embedded(lens: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[ImageInput]:
    """The images that were embedded."""
    seen: list[ImageInput] = []
    embed = lens.embed_readable_images

    def spy(images: Iterable[ImageInput], **options: object):
        listed = list(images)
        seen.extend(listed)
        return embed(listed, **options)

    monkeypatch.setattr(lens, "embed_readable_images", spy)
    return seen


def counts(index: Index, *sources: Path | str) -> tuple[int, int, int, int]:
    told = index.update([str(source) for source in sources])
    return told.added, told.changed, told.removed, told.unchanged


def test_only_what_changed_is_touched(index: Index, photos: Path, embedded: list[ImageInput]):
    assert counts(index, photos) == (6, 0, 0, 0)
    assert len(embedded) == 6
    embedded.clear()
    assert counts(index) == (0, 0, 0, 6)
    (photos / "1.png").touch()
    assert counts(index) == (0, 0, 0, 6)
    assert embedded == []
    shutil.copy(photos / "5.png", photos / "1.png")
    (photos / "2.png").rename(photos / "moved.png")
    (photos / "3.png").unlink()
    write_images(photos / "below", [9])
    assert counts(index) == (2, 1, 2, 3)
    assert embedded == [photos / "below" / "9.png"]
    assert sorted(Path(path).name for path in content(index.store)) == [
        "1.png", "4.png", "5.png", "6.png", "9.png", "moved.png",
    ]  # fmt: skip
    assert len(index) == 5  # 1.png and 5.png are one image


def test_an_updated_index_equals_a_new_one(
    index: Index, photos: Path, lens: Embedder, tmp_path: Path
):
    index.update([str(photos)])
    (photos / "3.png").unlink()
    write_images(photos, [8, 9])
    index.update()
    new = Index.create(tmp_path / "new.idx", lens, "tiny")
    new.update([str(photos)])
    assert content(index.store) == content(new.store)


def test_other_sources_are_kept(index: Index, photos: Path, tmp_path: Path):
    write_images(tmp_path / "more", [10, 11])
    assert counts(index, photos) == (6, 0, 0, 0)
    assert counts(index, tmp_path / "more") == (2, 0, 0, 0)
    assert counts(index) == (0, 0, 0, 8)
    assert index.store.sources() == sorted([str(photos), str(tmp_path / "more")])
    assert index.remove([str(photos)]) == 6
    assert counts(index) == (0, 0, 0, 2)


def test_a_folder_removes_nothing_of_a_table(index: Index, photos: Path):
    write_images(photos / ".cache", [9])
    (photos / "list.csv").write_text("image,text\n.cache/9.png,nine\n")
    assert counts(index, photos / "list.csv") == (1, 0, 0, 0)
    assert counts(index, photos) == (6, 0, 0, 0)
    assert len(index) == 7


def test_a_tar_beside_folders_of_images_hides_none(index: Index, photos: Path):
    below = photos.parent / "all"
    below.mkdir()
    photos.rename(below / "photos")
    assert counts(index, below) == (6, 0, 0, 0)
    write_tar(below / "backup.tar", {"one": 1})
    assert counts(index) == (0, 0, 0, 6)


def test_a_disk_that_is_not_mounted_empties_nothing(index: Index, photos: Path):
    index.update([str(photos)])
    for path in photos.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="expected some of the 6 in the index"):
        index.update()
    photos.rmdir()
    with pytest.raises(DataError):
        index.update()
    assert len(index) == 6


def test_unreadable_images_are_counted_and_not_read_again(
    index: Index, photos: Path, embedded: list[ImageInput]
):
    (photos / "cut.png").write_bytes((photos / "1.png").read_bytes()[:60])
    (photos / "empty.jpg").write_bytes(b"")
    told = index.update([str(photos)])
    assert (told.added, told.unreadable.total) == (6, 2)
    assert any("empty file" in reason for reason in told.unreadable.counts)
    embedded.clear()
    again = index.update()
    assert (again.unchanged, again.unreadable.counts) == (6, told.unreadable.counts)
    assert embedded == []
    shutil.copy(photos / "2.png", photos / "cut.png")
    mended = index.update()
    assert (mended.added, mended.duplicates, mended.unreadable.total) == (1, 1, 1)


def test_an_image_that_breaks_leaves_the_index(index: Index, photos: Path):
    index.update([str(photos)])
    (photos / "1.png").write_bytes(b"no image")
    told = index.update()
    assert told.unreadable.total == 1
    assert len(index) == 5


def test_vectors_that_no_search_finds_are_counted(
    index: Index, photos: Path, lens: Embedder, monkeypatch: pytest.MonkeyPatch
):
    embed = lens.embed_readable_images

    def spoiled(images: Iterable[ImageInput], **options: object):
        vectors, failures = embed(images, **options)
        vectors[2] = np.nan
        return vectors, failures

    monkeypatch.setattr(lens, "embed_readable_images", spoiled)
    told = index.update([str(photos)])
    assert told.added == 5
    assert told.unreadable.counts == {"image whose embedding is zero or not finite": 1}


def test_a_file_that_changes_while_it_is_read_is_left_to_the_next_run(
    index: Index, photos: Path, lens: Embedder, monkeypatch: pytest.MonkeyPatch
):
    embed = lens.embed_readable_images

    def embed_and_change(images: Iterable[ImageInput], **options: object):
        found = embed(images, **options)
        shutil.copy(photos / "2.png", photos / "1.png")
        return found

    monkeypatch.setattr(lens, "embed_readable_images", embed_and_change)
    told = index.update([str(photos)])
    assert told.added == 5
    assert "1.png" in str(told.unreadable.examples)
    monkeypatch.undo()
    told = index.update()
    assert (told.added, told.unreadable.total) == (1, 0)


def test_folders_that_cannot_be_read_keep_their_images(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    write_images(photos / "sealed", [7])
    index.update([str(photos)])
    listed = update.SourceFiles.files

    def without_sealed(self: update.SourceFiles):
        self.unlisted.append(f"{photos}/sealed/")
        return (one for one in listed(self) if "sealed" not in one.path)

    monkeypatch.setattr(update.SourceFiles, "files", without_sealed)
    assert index.update().removed == 0
    assert len(index) == 7


def test_tars_are_indexed_by_content(index: Index, tmp_path: Path, embedded: list[ImageInput]):
    tar = tmp_path / "a.tar"
    write_tar(tar, {"one": 1, "two": 2})
    assert counts(index, tar) == (2, 0, 0, 0)
    embedded.clear()
    write_tar(tar, {"one": 1, "two": 3})
    assert counts(index) == (0, 1, 0, 1)
    assert len(embedded) == 1
    (found,) = index.store.describe(list(index.store.rows_by_hash_prefix("")))[:1]
    assert found["metadata"]["text"] == "caption of one"


def test_tars_have_the_same_names_from_another_directory(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_tar(tmp_path / "0.tar", {"one": 1})
    write_tar(tmp_path / "1.tar", {"two": 2})
    monkeypatch.chdir(tmp_path)
    assert counts(index, "{0..1}.tar") == (2, 0, 0, 0)
    assert counts(index, "0.tar") == (0, 0, 0, 1)
    monkeypatch.chdir(tmp_path.parent)
    assert counts(index) == (0, 0, 0, 3)
    (first, _) = index.search("a cat", min_score=None)
    assert isinstance(index.read_image(first.image), bytes)


def test_a_caption_that_changes_is_a_change(index: Index, photos: Path, embedded: list[ImageInput]):
    index.update([str(photos)])
    embedded.clear()
    (photos / "1.txt").write_text("a new caption")
    assert counts(index) == (0, 1, 0, 5)
    assert embedded == []
    assert index.store.texts(9) == [(0, "a new caption")]


def test_a_run_that_is_stopped_keeps_its_chunks(
    index: Index, photos: Path, lens: Embedder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(update, "CHUNK", 2)
    embed, calls = lens.embed_readable_images, 0

    def stop_at_third(images: Iterable[ImageInput], **options: object):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return embed(images, **options)

    monkeypatch.setattr(lens, "embed_readable_images", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        index.update([str(photos)])
    assert len(index) == 4
    assert counts(index, photos) == (2, 0, 0, 4)


def write_tar(path: Path, numbers: dict[str, int]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, number in numbers.items():
            pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            for name, data in (
                (f"{key}.png", buffer.getvalue()),
                (f"{key}.txt", b"caption of " + key.encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
