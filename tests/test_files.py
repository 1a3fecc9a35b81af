"""Files that are whole or not there: whatever ends the writing, what was there stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from twinlens import files, locks
from twinlens.files import (
    atomic_directory,
    atomic_file,
    atomic_path,
    atomic_write_text,
    ensure_directory,
    remove_partial_files,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write_half(path: Path, error: BaseException) -> None:
    with atomic_file(path) as file:
        file.write(b"half")
        file.flush()
        raise error


def test_the_name_appears_when_the_bytes_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("no"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("before", [b"before", None])
def test_an_error_inside_leaves_all_as_it_was(
    tmp_path: Path, before: bytes | None, error: BaseException
) -> None:
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)) as raised:
        write_half(path, error)
    assert raised.value is error
    assert names(tmp_path) == (["a.bin"] if before is not None else [])
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text("before", path)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_write_text("after", path)
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_a_text_that_is_no_unicode_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text("\ud800", tmp_path / "a.txt")
    assert names(tmp_path) == []


def test_texts_are_utf_8_as_they_are(tmp_path: Path) -> None:
    atomic_write_text("Löwe\r\n", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"L\xc3\xb6we\r\n"


def test_a_place_that_cannot_be_written_is_named_plainly(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write_text("text", tmp_path / "missing" / "a.txt")
    atomic_write_text("text", tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        atomic_write_text("text", tmp_path / "file" / "a.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        atomic_write_text("text", tmp_path / "folder")
    assert names(tmp_path) == ["file", "folder"]


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_file(path) as first:
        first.write(b"first")
        with atomic_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a.bin"]


def test_permissions_are_those_of_a_plain_file(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        atomic_write_text("ours", tmp_path / "ours")
        (tmp_path / "plain").write_text("plain")
        assert mode(tmp_path / "ours") == mode(tmp_path / "plain") == 0o640
        (tmp_path / "ours").chmod(0o600)
        atomic_write_text("again", tmp_path / "ours")
    finally:
        os.umask(umask)
    assert mode(tmp_path / "ours") == 0o600


def test_a_library_may_put_a_file_of_its_own_there(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("plain")
    with atomic_path(tmp_path / "ours") as partial:
        partial.unlink()
        partial.touch(0o600)
        partial.write_text("theirs")
    assert (tmp_path / "ours").read_text() == "theirs"
    assert mode(tmp_path / "ours") == mode(tmp_path / "plain")


def test_bytes_then_name_are_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, list[str]]] = []

    def fsync(handle: int) -> None:
        here = Path(f"/dev/fd/{handle}").resolve()
        synced.append((here.is_dir(), names(tmp_path)))

    monkeypatch.setattr(files.os, "fsync", fsync)
    atomic_write_text("text", tmp_path / "a.txt")
    (first, partial), (second, renamed) = synced
    assert (first, second) == (False, True)
    assert partial != ["a.txt"]
    assert renamed == ["a.txt"]


def test_a_folder_that_cannot_be_synced_is_none_of_our_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if Path(f"/dev/fd/{handle}").resolve().is_dir():
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    atomic_write_text("text", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "text"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom twinlens.files import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as file:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.bin")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    (tmp_path / "b.zip.partial").write_text("a download of the user's")
    remove_partial_files(tmp_path)
    assert names(tmp_path) == ["b.zip.partial"]


KILLED = """
import os, signal, sys
from pathlib import Path
from twinlens.files import atomic_directory, atomic_file
with getattr(__import__("twinlens.files").files, sys.argv[1])(Path(sys.argv[2])) as place:
    if sys.argv[1] == "atomic_directory":
        (place / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("writer", ["atomic_file", "atomic_directory"])
def test_what_a_killed_process_left_goes_with_the_next_write_there(
    tmp_path: Path, writer: str
) -> None:
    words = [sys.executable, "-c", KILLED, writer, str(tmp_path / "a")]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    atomic_write_text("another file", tmp_path / "b")
    assert names(tmp_path) == ["b"]


def test_what_is_being_written_is_not_removed(tmp_path: Path) -> None:
    code = KILLED.replace(
        "    os.kill(os.getpid(), signal.SIGKILL)",
        "    print(flush=True)\n    sys.stdin.read()",
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "atomic_directory", str(tmp_path / "theirs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with atomic_directory(tmp_path / "ours") as place:
            (place / "whole").write_text("whole")
            remove_partial_files(tmp_path)
            assert place.exists()
            assert len(names(tmp_path)) == 2
        other.communicate(b"")
        assert other.returncode == 0
    assert names(tmp_path) == ["ours", "theirs"]


def test_what_an_earlier_version_left_goes_too(tmp_path: Path) -> None:
    (tmp_path / "a.bin.0123abcd.partial").write_text("half")
    (tmp_path / "model.0123abcd.partial").mkdir()
    (tmp_path / "model.0123abcd.partial" / "half").write_text("half")
    remove_partial_files(tmp_path)
    assert names(tmp_path) == []


def test_where_nobody_can_know_who_lives_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.0123abcd.partial").mkdir()
    monkeypatch.setattr(locks, "fcntl", None)
    remove_partial_files(tmp_path)
    assert names(tmp_path) == ["model.0123abcd.partial"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_no_empty_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="No space"), atomic_directory(tmp_path / "a" / "b") as place:
        (place / "c").write_text("1")
    with pytest.raises(OSError, match="No space"), ensure_directory(tmp_path / "d" / "e") as place:
        atomic_write_text("text", place / "f")
    assert names(tmp_path) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_appears_when_all_is_in_it(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "above" / "made"
    if there:
        path.mkdir(parents=True)
    with atomic_directory(path) as place:
        (place / "a").write_text("1")
        assert not path.exists() or names(path) == []
    assert names(path) == ["a"]
    assert names(tmp_path / "above") == ["made"]


def test_an_error_inside_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "made") as place:
        (place / "missing" / "a").write_text("1")
    assert names(tmp_path) == []


def test_a_directory_that_holds_something_is_left(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").write_text("1")
    with pytest.raises(OSError, match="not empty"), atomic_directory(tmp_path / "mine") as place:
        (place / "a").write_text("2")
    assert names(tmp_path) == ["mine"]
    assert names(tmp_path / "mine") == ["kept"]
