import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from twinlens.curate.icons import sources
from twinlens.curate.icons.sources import (
    PACKAGES,
    NpmPackage,
    fetch_package,
    read_json_member,
    read_members,
)
from twinlens.errors import DataError

CONTENT = b"a package"
PACKAGE = NpmPackage("@scope/icons", "1.2.3", hashlib.sha256(CONTENT).hexdigest())


def no_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)


def fake_npm(monkeypatch: pytest.MonkeyPatch, *, writes: bytes | None, message: str = "") -> None:
    monkeypatch.setattr(sources.shutil, "which", lambda name: "/usr/bin/npm")

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "@scope/icons@1.2.3"
        if writes is not None:
            folder = Path(command[command.index("--pack-destination") + 1])
            (folder / PACKAGE.filename).write_bytes(writes)
        return subprocess.CompletedProcess(command, int(writes is None), "", message)

    monkeypatch.setattr(sources.subprocess, "run", run)


def test_a_verified_file_in_the_cache_needs_no_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_npm(monkeypatch)
    (tmp_path / "scope-icons-1.2.3.tgz").write_bytes(CONTENT)
    assert fetch_package(PACKAGE, tmp_path).read_bytes() == CONTENT


def test_without_npm_and_cache_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_npm(monkeypatch)
    message = r"got neither npm nor scope-icons-1\.2\.3\.tgz in .*, expected one of them"
    with pytest.raises(DataError, match=message):
        fetch_package(PACKAGE, tmp_path)


def test_npm_fills_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(monkeypatch, writes=CONTENT)
    archive = fetch_package(PACKAGE, tmp_path / "new" / "cache")
    assert archive.read_bytes() == CONTENT
    assert list((tmp_path / "new" / "cache").iterdir()) == [archive]


NPM = """#!/bin/sh
while [ "$1" != --pack-destination ]; do shift; done
printf 'half a pack' > "$2/scope-icons-1.2.3.tgz"
{ending}
"""


@pytest.mark.parametrize("ending", ["kill -9 $$", "exit 0"])
def test_an_archive_cut_short_never_reaches_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(NPM.format(ending=ending))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    message = "exit status -9" if ending.startswith("kill") else "SHA-256: got"
    with pytest.raises(DataError, match=f"^npm pack @scope/icons@1.2.3: {message}"):
        fetch_package(PACKAGE, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    fake_npm(monkeypatch, writes=CONTENT)
    assert fetch_package(PACKAGE, tmp_path / "cache").read_bytes() == CONTENT


def test_a_fetch_that_is_killed_itself_leaves_no_archive(tmp_path: Path) -> None:
    (tmp_path / "npm").write_text(NPM.format(ending="kill -9 $PPID"))
    (tmp_path / "npm").chmod(0o755)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from twinlens.curate.icons.sources import NpmPackage, fetch_package\n"
        "fetch_package(NpmPackage('@scope/icons', '1.2.3', ''), Path(sys.argv[1]))\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    killed = subprocess.run(command, env={**os.environ, "PATH": path}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "cache").glob("*.tgz")) == []


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(monkeypatch, writes=CONTENT)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources, "TemporaryDirectory", full)
    with pytest.raises(DataError, match=r"1\.2\.3\.tgz: cannot be written: No space left"):
        fetch_package(PACKAGE, tmp_path)


def test_a_failing_npm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(monkeypatch, writes=None, message="\nnpm error 404\nmore\n")
    with pytest.raises(DataError, match=r"npm pack @scope/icons@1\.2\.3: .*: npm error 404$"):
        fetch_package(PACKAGE, tmp_path)


def test_a_wrong_hash_names_file_got_and_expected(tmp_path: Path) -> None:
    (tmp_path / PACKAGE.filename).write_bytes(b"another package")
    got = hashlib.sha256(b"another package").hexdigest()
    with pytest.raises(DataError, match=rf"{PACKAGE.filename}: SHA-256: got {got}, expected") as e:
        fetch_package(PACKAGE, tmp_path)
    assert PACKAGE.sha256 in str(e.value)


def test_every_package_is_pinned() -> None:
    assert len({package.filename for package in PACKAGES}) == len(PACKAGES)
    for package in PACKAGES:
        assert len(bytes.fromhex(package.sha256)) == 32
        assert package.version.count(".") == 2


def test_members_are_read_by_prefix_and_suffix(cache: Path) -> None:
    archive = cache / sources.ICONIFY.filename
    names = [name for name, _ in read_members(archive, "json/l", ".json")]
    assert names == ["json/lucide.json", "json/logos.json"]
    assert read_json_member(archive, "json/lucide.json")["width"] == 24
    with pytest.raises(DataError, match=r"got no file missing\.json"):
        read_json_member(archive, "missing.json")


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"x\.tgz: not a whole package archive"):
        list(read_members(path, ""))
