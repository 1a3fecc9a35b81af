"""The sources of the images and words: pinned packages, fetched by npm, held in a cache.

A package already in the cache is used without npm, once its SHA-256 agrees.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twinlens.data.webdataset.shards import make_directory
from twinlens.errors import DataError, os_errors_as
from twinlens.files import file_sha256


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One pinned package of the npm registry."""

    name: str
    version: str
    sha256: str

    @property
    def spec(self) -> str:
        """Name and version as npm writes them.

        Example:
            >>> NpmPackage("@iconify/json", "2.2.535", "").spec
            '@iconify/json@2.2.535'
        """
        return f"{self.name}@{self.version}"

    @property
    def filename(self) -> str:
        """The name that `npm pack` gives the archive.

        Example:
            >>> NpmPackage("@iconify/json", "2.2.535", "").filename
            'iconify-json-2.2.535.tgz'
        """
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


ICONIFY = NpmPackage(
    "@iconify/json", "2.2.535", "1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91"
)
CLDR = NpmPackage(
    "cldr-annotations-full",
    "48.2.0",
    "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
)
CLDR_DERIVED = NpmPackage(
    "cldr-annotations-derived-full",
    "48.2.0",
    "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e",
)
LUCIDE = NpmPackage(
    "lucide-static", "1.62.0", "386f9080c440d6f5049cefe3456ae8357f7a0c7f76e59670cd1cb83bc7050a44"
)
TABLER = NpmPackage(
    "@tabler/icons", "3.51.0", "b30108713d3fa60aee862c2a133225da8e0f309be0708fe2925763ff810c766c"
)
PHOSPHOR = NpmPackage(
    "@phosphor-icons/core",
    "2.1.1",
    "313332be6190b724da24107addd781799b48bf76b13963f24501112ffe1baadd",
)
FLUENT_3D = NpmPackage(
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
NOTO_EMOJI_FONT = NpmPackage(
    "@expo-google-fonts/noto-emoji",
    "0.4.7",
    "6a25fd5a4da5bb34bbc2d300531bbf32de86afd866e119314d7e358f61a6104d",
)
PACKAGES = (ICONIFY, CLDR, CLDR_DERIVED, LUCIDE, TABLER, PHOSPHOR, FLUENT_3D, NOTO_EMOJI_FONT)


def fetch_package(package: NpmPackage, cache: Path) -> Path:
    """The package's archive in the cache folder, fetched with `npm pack` if it is not there.

    It comes to the cache verified: a fetch that was killed leaves no archive there.

    Raises:
        DataError: npm is missing or fails, the archive's SHA-256 is not the pinned one, or the
            cache cannot be written.
    """
    path = cache / package.filename
    if path.exists():
        _verify_sha256(package, path, str(path))
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            f"{package.spec}: got neither npm nor {package.filename} in {cache}, "
            "expected one of them"
        )
    make_directory(cache)
    with (
        os_errors_as(DataError, path, "cannot be written"),
        TemporaryDirectory(prefix="npm-pack-", dir=cache) as folder,
    ):
        packed = _npm_pack(npm, package, Path(folder))
        _verify_sha256(package, packed, f"npm pack {package.spec}")
        packed.replace(path)
    return path


def _verify_sha256(package: NpmPackage, path: Path, name: str) -> None:
    got = file_sha256(path)
    if got != package.sha256:
        raise DataError(f"{name}: SHA-256: got {got}, expected {package.sha256}")


def _npm_pack(npm: str, package: NpmPackage, folder: Path) -> Path:
    """The archive that `npm pack` puts into a folder."""
    command = [npm, "pack", "--silent", "--pack-destination", str(folder), package.spec]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    packed = folder / package.filename
    if done.returncode != 0 or not packed.exists():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise DataError(
            f"npm pack {package.spec}: exit status {done.returncode}: {lines[0].strip()}"
        )
    return packed


def read_members(archive: Path, prefix: str, suffix: str = "") -> Iterator[tuple[str, bytes]]:
    """The files of a package archive whose path begins and ends as given, without `package/`.

    Raises:
        DataError: The archive is damaged.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name.partition("/")[2]
                if name.startswith(prefix) and name.endswith(suffix) and member.isfile():
                    file = tar.extractfile(member)
                    assert file is not None
                    yield name, file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive}: not a whole package archive: {error}") from error


def read_json_member(archive: Path, name: str) -> Any:
    """One JSON file of a package archive.

    Raises:
        DataError: The archive has no such file.
    """
    for found, data in read_members(archive, name):
        if found == name:
            return json.loads(data)
    raise DataError(f"{archive}: got no file {name}, expected one")
