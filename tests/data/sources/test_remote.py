"""Tars behind URLs: in memory, and from a server that answers ranges."""

import functools
import http.server
import itertools
import re
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.test_datasets import image, told, values
from twinlens.data.datasets import open_dataset
from twinlens.data.samples import fingerprint
from twinlens.data.sources import remote
from twinlens.data.webdataset import indexes
from twinlens.data.webdataset.shards import write_shard
from twinlens.data.workers import read_in_processes
from twinlens.errors import DataError, MissingExtraError

fsspec = pytest.importorskip("fsspec")
memory = pytest.importorskip("fsspec.implementations.memory")

FOLDERS = itertools.count()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote, "_WAITS", (0.0, 0.0))
    indexes._load_or_build_index.cache_clear()
    yield tmp_path / "home/.cache/twinlens/index"
    indexes._load_or_build_index.cache_clear()


def shards(folder: Path) -> Path:
    folder.mkdir()
    described = told(label="ant", captions=["an ant"])
    write_shard(folder / "0.tar", [("a", {"png": image(1), "json": described})])
    write_shard(
        folder / "1.tar",
        [("b", {"png": image(2), "txt": b"one\ntwo"}), ("c", {"png": image(3), "cls": b"7"})],
    )
    (folder / "classnames.txt").write_text("\n".join([*"01234567", "ant"]))
    return folder


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The two shards in memory, in a folder of their own."""
    url = f"memory://bucket{next(FOLDERS)}/set"
    for path in shards(tmp_path / "set").iterdir():
        with fsspec.open(f"{url}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    return url


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Errors that the next reads answer with."""
    errors: list[Exception] = []
    plain = memory.MemoryFileSystem.cat_file

    def cat_file(*words: object, **named: object) -> bytes:
        if errors:
            raise errors.pop()
        return plain(*words, **named)

    monkeypatch.setattr(memory.MemoryFileSystem, "cat_file", cat_file)
    return errors


def test_remote_tars_are_as_those_on_this_machine(url: str, tmp_path: Path, cache: Path):
    here, there = open_dataset(tmp_path / "set"), open_dataset(f"{url}/{{0..1}}.tar")
    assert (there.name, there.classnames) == ("set", here.classnames)
    assert values(there) == [1, 2, 3]
    assert [sample.label for sample in there.samples] == ["ant", None, "7"]
    assert [sample.captions for sample in there.samples] == [("an ant",), ("one", "two"), ()]
    assert fingerprint(there.samples) == fingerprint(here.samples)
    assert there.samples[2].where == f"{url}/1.tar: sample c"
    assert len(list(cache.iterdir())) == 2
    assert values(open_dataset(f"{url}/1.tar::{tmp_path}/set/0.tar")) == [2, 3, 1]


def test_headers_are_read_once(url: str, monkeypatch: pytest.MonkeyPatch):
    open_dataset(f"{url}/1.tar")
    monkeypatch.setattr(indexes, "list_samples", None)
    assert values(open_dataset(f"{url}/1.tar")) == [2, 3]


def test_a_url_of_a_file(tmp_path: Path):
    dataset = open_dataset(f"file://{shards(tmp_path / 'set')}/{{0..1}}.tar")
    assert values(dataset) == [1, 2, 3]


def test_failures_are_tried_again(url: str, failing: list[Exception]):
    sample = open_dataset(f"{url}/1.tar").samples[0]
    failing[:] = [OSError("connection reset"), TimeoutError()]
    assert sample.image_bytes() == image(2)
    failing[:] = [RuntimeError("service\nunavailable")] * 3
    with pytest.raises(DataError, match=r"1\.tar: cannot be read, tried 3 times: service unav"):
        sample.image_bytes()
    assert not failing


def test_what_another_try_does_not_mend(url: str, failing: list[Exception]):
    sample = open_dataset(f"{url}/1.tar").samples[0]
    failing[:] = [PermissionError("Forbidden"), FileNotFoundError("1.tar")]
    with pytest.raises(DataError, match=r"1\.tar: no such file"):
        sample.image_bytes()
    with pytest.raises(DataError, match=r"1\.tar: cannot be read: Forbidden"):
        sample.image_bytes()


@pytest.mark.parametrize("folder", ["memory://{}", "memory:///{}", "memory://a{}/b"])
def test_folders_of_any_depth(folder: str):
    url = f"{folder.format(f'deep{next(FOLDERS)}')}/0.tar"
    with fsspec.open(url, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("a.png")
        tar.addfile(info)
    assert [sample.key for sample in open_dataset(url).samples] == ["a"]
    assert remote.beside(f"{url}?a/b", "x.txt") == url.replace("0.tar", "x.txt")


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 3)])
def test_answers_of_a_server(status: int, tries: int, url: str, failing: list[Exception]):
    error = RuntimeError(f"status {status}")
    error.status = status  # pyright: ignore
    sample = open_dataset(f"{url}/1.tar").samples[0]
    failing[:] = [error] * 3
    with pytest.raises(DataError, match=r"1\.tar: (no such file|cannot be read)"):
        sample.image_bytes()
    assert len(failing) == 3 - tries


def test_a_forbidden_file_beside_the_tars_is_none(url: str, failing: list[Exception]):
    failing[:] = [PermissionError("Forbidden")] * 4
    assert open_dataset(f"{url}/0.tar").classnames == ("ant",)


@pytest.mark.parametrize("cut", [512, 1024, 2000])
def test_half_a_tar(cut: int, url: str):
    with fsspec.open(f"{url}/1.tar", "rb") as file:
        data = file.read()
    with fsspec.open(f"{url}/1.tar", "wb") as file:
        file.write(data.rstrip(b"\0")[:-cut])
    with pytest.raises(DataError, match=r"1\.tar: not a whole tar"):
        open_dataset(f"{url}/1.tar")


def test_what_is_not_there(url: str):
    with pytest.raises(DataError, match=r"2\.tar: no such file"):
        open_dataset(f"{url}/{{0..2}}.tar")
    with pytest.raises(
        DataError, match=r"nowhere://x/0\.tar: cannot be opened: Protocol not known"
    ):
        open_dataset("nowhere://x/0.tar")


def test_urls_need_fsspec(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twinlens\[data\]'"):
        open_dataset("memory://x/0.tar")


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Answers ranges, which Python's own handler does not."""

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return None
        size = path.stat().st_size
        start, end = 0, size
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, size)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(path.read_bytes()[start:end])
        return None

    def log_message(self, *_: object) -> None:
        pass


def test_tars_of_a_server(tmp_path: Path):
    pytest.importorskip("aiohttp")
    folder = shards(tmp_path / "set")
    handler = functools.partial(_Ranges, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            dataset = open_dataset(f"http://127.0.0.1:{server.server_port}/set/{{0..1}}.tar")
            assert values(dataset) == [1, 2, 3]
            assert dataset.classnames == open_dataset(folder).classnames
            # The processes that read for training are forked from one that has opened the data.
            read = read_in_processes(
                lambda index: dataset.samples[index].image_bytes(),
                range(3),
                workers=2,
                pin_memory=False,
            )
            assert list(read) == [image(1), image(2), image(3)]
        finally:
            server.shutdown()
