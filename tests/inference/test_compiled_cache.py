"""Compiled towers on disk: used again, and never wrong."""

import mmap
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twinlens
from tests.checkpoints.formats.reference import shaken
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens.checkpoints.formats.storage import arrays
from twinlens.checkpoints.native import save_model
from twinlens.inference import compiled_cache, openvino_engine
from twinlens.inference.compiled_cache import clear_compiled, list_compiled, remove_oldest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return compiled_cache.default_compiled_dir()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    return tmp_path / "model"


def embed(model: Path, **options: Any) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    return twinlens.load(model, engine="openvino", **options).embed_images(image)


def no_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "image_graph", None)


def test_a_second_start_builds_nothing(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    first = embed(model)
    no_builds(monkeypatch)
    assert np.array_equal(embed(model), first)
    [file] = list_compiled(home)
    assert (file.model, file.tower, file.precision) == (str(model), "image embedding", "fp32")
    assert file.path.stat().st_size == file.size


def test_notes_beside_a_model_are_not_part_of_it(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    first = embed(model)
    (model / "README.md").write_text("a better description", encoding="utf-8")
    (model / "log.jsonl").write_text("{}", encoding="utf-8")
    no_builds(monkeypatch)
    assert np.array_equal(embed(model), first)


def resident_bytes(name: str) -> int:
    """Of this process's mappings of files whose names end in `name`."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        if re.match(r"[0-9a-f]+-", line):
            counts = line.endswith(name)
        elif counts and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cached_tower_gives_its_pages_back_and_the_same_answers(home: Path):
    texts = ["a cat", "a dog"]
    first = twinlens.load("icons", engine="openvino").embed_texts(texts)
    [file] = list_compiled(home)
    lens = twinlens.load("icons", engine="openvino")
    assert np.array_equal(lens.embed_texts(texts), first)  # with all pages in memory
    assert resident_bytes(file.path.name) < file.size / 10
    assert np.array_equal(lens.embed_texts(texts), first)  # after they were given back
    assert lens.embed_texts("many other words, a zebra").shape == first[:1].shape


def test_pages_that_are_locked_stay_and_the_file_is_used(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    first = embed(model)

    class Locked(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(arrays.mmap, "mmap", Locked)
    no_builds(monkeypatch)
    assert np.array_equal(embed(model), first)


def test_other_weights_precisions_and_sizes_are_other_files(home: Path, model: Path):
    first = embed(model)
    embed(model, precision="bf16")
    embed(model, image_size=48)
    save_model(shaken(tiny_clip(vocab_size=CLIP_VOCABULARY)), model)
    assert not np.array_equal(embed(model), first)
    assert len(list_compiled(home)) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "header", "empty"])
def test_a_damaged_file_is_removed_and_made_again(
    damage: str, home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    first = embed(model)
    [file] = list_compiled(home)
    content = bytearray(file.path.read_bytes())
    content[len(content) // 2] ^= 255
    file.path.write_bytes(
        {
            "cut": content[: len(content) // 3],
            "flipped": content,
            "foreign": b"something else",
            "header": b"twinlens compiled 1\n[]\n" + content,
            "empty": b"",
        }[damage]
    )
    with pytest.warns(UserWarning, match="a damaged compiled model was removed") as found:
        assert np.array_equal(embed(model), first)
    assert len(found) == 1
    assert "\n" not in str(found[0].message)
    no_builds(monkeypatch)
    assert np.array_equal(embed(model), first)  # the new one is whole


def test_a_file_of_another_runtime_is_not_used(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    embed(model)
    monkeypatch.setattr(compiled_cache.openvino, "get_version", lambda: "2031.1")
    embed(model)
    assert len(list_compiled(home)) == 2


def test_a_file_of_other_graph_code_is_not_used(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    embed(model)
    monkeypatch.setattr(openvino_engine, "graph_digest", lambda: "of another release")
    embed(model)
    assert len(list_compiled(home)) == 2


def test_where_nothing_can_be_written_the_answer_is_the_same(home: Path, model: Path):
    home.parent.mkdir(parents=True)
    home.write_text("in the way")
    with pytest.warns(UserWarning, match="could not be cached"):
        answer = embed(model)
    assert answer.shape == (1, 8)


def test_the_least_used_go_first(tmp_path: Path):
    for age, name in enumerate(("new", "old", "oldest")):
        path = tmp_path / f"{name}.blob"
        path.write_bytes(bytes(100))

        os.utime(path, (1000 - age, 1000 - age))
    remove_oldest(tmp_path, 250, keep=tmp_path / "new.blob")
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["new", "old"]
    remove_oldest(tmp_path, 50, keep=tmp_path / "new.blob")
    assert [path.stem for path in tmp_path.iterdir()] == ["new"]


def test_cleared(home: Path, model: Path):
    assert clear_compiled(home) == (0, 0)
    embed(model)
    number, size = clear_compiled(home)
    assert number == 1
    assert size > 0
    assert list_compiled(home) == []


def test_a_model_replaced_under_a_live_embedder_is_not_cached_as_the_new_one(
    home: Path, model: Path
):
    lens = twinlens.load(model, engine="openvino")
    save_model(shaken(tiny_clip(vocab_size=CLIP_VOCABULARY)), model)
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    old = lens.embed_images(image)
    assert list_compiled(home) == []
    expected = twinlens.load(model, engine="torch", device="cpu").embed_images(image)
    assert np.abs(embed(model) - expected).max() < 2e-5
    assert np.abs(old - expected).max() > 1e-3


def test_a_file_that_cannot_be_touched_is_used(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    first = embed(model)

    def refused(*_: object) -> None:
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(compiled_cache.os, "utime", refused)
    no_builds(monkeypatch)
    assert np.array_equal(embed(model), first)


def test_without_a_home_there_is_an_answer_and_no_cache(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compiled_cache.Path, "home", homeless)
    with pytest.warns(UserWarning, match="got no home directory"):
        assert embed(model).shape == (1, 8)


def test_the_file_of_another_tower_or_model_is_not_used(home: Path, model: Path, tmp_path: Path):
    other = tmp_path / "other"
    save_model(shaken(tiny_clip(vocab_size=CLIP_VOCABULARY)), other)
    expected, theirs = embed(model), embed(other)
    one, two = (file.path for file in list_compiled(home))
    contents = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(contents)
    for path, right in ((model, expected), (other, theirs)):
        with pytest.warns(UserWarning, match="under another name"):
            assert np.array_equal(embed(path), right)
    assert np.array_equal(embed(model), expected)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_in_the_directory_blocks_nobody(home: Path, model: Path):
    expected = embed(model)
    [file] = list_compiled(home)
    file.path.unlink()
    os.mkfifo(file.path)
    assert list_compiled(home) == []
    with pytest.warns(UserWarning, match="got no regular file"):
        assert np.array_equal(embed(model), expected)
    assert len(list_compiled(home)) == 1
