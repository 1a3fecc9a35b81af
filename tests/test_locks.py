"""Locks of live processes: held, told of, and gone with their process."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from twinlens import locks
from twinlens.locks import LockHeldError, file_lock

HOLD = """
import sys
from pathlib import Path
from twinlens.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(path: Path) -> Generator[subprocess.Popen[str]]:
    """A process that holds a lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_of_another_process_is_told_of_and_one_that_was_killed_has_none(tmp_path: Path):
    path = tmp_path / "lock"
    with another(path) as process:
        with pytest.raises(LockHeldError, match=rf"process {process.pid} on "), file_lock(path):
            raise AssertionError
        assert path.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        with file_lock(path) as alone:
            assert alone
    assert not path.exists()


def test_this_process_holds_a_lock_once(tmp_path: Path):
    path = tmp_path / "lock"
    with file_lock(path):
        for _ in range(2):  # to be refused must not let go of it
            with pytest.raises(LockHeldError, match="this process"), file_lock(path):
                raise AssertionError
        code = HOLD.replace('print("held", flush=True)', "")
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"HeldError: process {os.getpid()} on" in other.stderr
    with file_lock(path):
        pass


def test_readers_that_outlive_a_killed_process_do_not_hold_its_lock(tmp_path: Path):
    """A fork keeps the open file, but not the lock."""
    code = HOLD.replace(
        "    sys.stdin.read()",
        "    import os, time\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        time.sleep(600)\n"
        "    print(child, flush=True)\n"
        "    time.sleep(600)\n",
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            os.kill(child, 0)
            with file_lock(tmp_path / "lock"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_where_a_file_system_has_no_locks_nothing_is_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    with file_lock(tmp_path / "lock") as alone:
        assert not alone
    monkeypatch.setattr(locks, "fcntl", None)
    with file_lock(tmp_path / "lock") as alone:
        assert not alone
