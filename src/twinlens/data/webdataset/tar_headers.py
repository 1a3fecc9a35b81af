"""The places of the files in a tar, read from its headers alone and quickly.

Python's tarfile takes about 40 microseconds a file, which is minutes for a data set of millions.
Here plain headers are read in bulk; a tar with anything else in it (long names, links, sparse
files) is left to tarfile. Hard links are the file that they lead to; other links and sparse files,
whose bytes do not lie in one piece, are left out and counted.
"""

from __future__ import annotations

import io
import mmap
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from twinlens.data.left_out import LINK, LeftOut
from twinlens.data.sources.remote import attempt

_BLOCK_SIZE = 512
_END_OF_TAR = bytes(2 * _BLOCK_SIZE)
_USTAR_HEADER = struct.Struct("100s24x12s12x8sc100x5s83x155s12x")
"""name, size, checksum, kind, "ustar", prefix (POSIX.1-1988)."""

SPARSE_FILE = "sparse file in a tar, which is not read (write the tar without --sparse)"

TarMember = tuple[str, int, int]
"""Name, offset and size in bytes."""


def list_tar_members(path: Path, left_out: LeftOut) -> list[TarMember]:
    """Each regular file of an uncompressed tar, in order.

    Args:
        path: The tar.
        left_out: Gets what else is in it.

    Raises:
        tarfile.TarError: It is not a tar, or a header is damaged.
        OSError: It cannot be read.
    """
    if path.stat().st_size < _BLOCK_SIZE:
        raise tarfile.ReadError("got less than a block")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        members = _fast_members(data)
        if members is not None:
            return members
        with tarfile.open(path, "r:") as tar:
            files = _regular_files(tar, left_out)
            if np.frombuffer(data, np.uint8)[tar.offset :].any():
                raise tarfile.ReadError(
                    "got more behind its end: a header is damaged, or cat put tars together"
                )
            return files


def _regular_files(tar: tarfile.TarFile, left_out: LeftOut) -> list[TarMember]:
    places: dict[str, tuple[int, int]] = {}
    files: list[TarMember] = []
    for one in tar:
        place = (one.offset_data, one.size)
        if one.issparse():
            left_out.add(SPARSE_FILE, f"{tar.name}: {one.name}")
            continue
        target = one.linkname.removeprefix("./")
        if one.islnk() and target in places:
            place = places[target]
        elif one.issym() or one.islnk():
            left_out.add(LINK, f"{tar.name}: {one.name} -> {one.linkname}")
            continue
        elif not one.isfile():  # folders and devices
            continue
        places[one.name.removeprefix("./")] = place
        files.append((one.name, *place))
    return files


def list_remote_tar_members(url: str, left_out: LeftOut) -> list[TarMember]:
    """As `list_tar_members`, of a tar behind a URL, which must have its end mark.

    Payloads are sought past. That they are few and large, or many and small, fsspec's reading
    ahead of some MB serves both: few requests for small ones, few bytes of large ones.

    Raises:
        tarfile.TarError: It is not a whole tar.
        DataError: It is gone, or cannot be reached.
        MissingExtraError: fsspec is not installed.
    """

    def scan(system: Any, path: str) -> tuple[list[TarMember], LeftOut] | tarfile.TarError:
        found = LeftOut()  # of this attempt: another one counts anew
        with system.open(path, "rb") as file:
            try:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    members = _regular_files(tar, found)
                require_end_mark(file, members)
            except tarfile.TarError as error:  # trying again does not mend it
                return error
        return members, found

    scanned = attempt(url, scan)
    if isinstance(scanned, tarfile.TarError):
        raise scanned
    members, found = scanned
    left_out.merge(found)
    return members


def require_end_mark(file: IO[bytes], members: Sequence[TarMember]) -> None:
    """Refuse a tar without its end mark: tarfile itself reads one cut between members.

    Raises:
        tarfile.ReadError: The mark is missing, or a member reaches into it.
    """
    size = file.seek(0, io.SEEK_END)
    place = size - len(_END_OF_TAR)
    last = max((offset + length for _, offset, length in members), default=0)
    file.seek(max(0, place))
    if file.read() != _END_OF_TAR or last > place:
        raise tarfile.ReadError(f"got {size} bytes without the end-of-archive mark")


def _fast_members(data: mmap.mmap) -> list[TarMember] | None:
    """The files, or nothing if some header is not that of a plain file or is damaged."""
    members: list[TarMember] = []
    checksums: list[int] = []
    place = 0
    while place + _BLOCK_SIZE <= len(data):
        if not data[place]:  # the end of the archive; another one follows where tars were joined
            if any(data[place : place + _BLOCK_SIZE]):
                return None
            place += _BLOCK_SIZE
            continue
        name, size, checksum, kind, magic, prefix = _USTAR_HEADER.unpack_from(data, place)
        if kind not in b"0\0" or magic != b"ustar":
            return None
        try:
            length = int(size.rstrip(b"\0 "), 8)
            checksums.append(int(checksum.rstrip(b"\0 "), 8))
            name = name.rstrip(b"\0").decode()
            if prefix[0]:
                name = f"{prefix.rstrip(bytes(1)).decode()}/{name}"
        except ValueError:
            return None
        members.append((name, place + _BLOCK_SIZE, length))
        place += _BLOCK_SIZE + -(-length // _BLOCK_SIZE) * _BLOCK_SIZE
    return members if _header_checksums(data, members) == checksums else None


def _header_checksums(data: mmap.mmap, members: list[TarMember]) -> list[int]:
    """The sum of each header's bytes, those of the checksum itself taken as blanks."""
    blocks = np.frombuffer(data, np.uint8, count=len(data) // _BLOCK_SIZE * _BLOCK_SIZE).reshape(
        -1, _BLOCK_SIZE
    )
    headers = blocks[[offset // _BLOCK_SIZE - 1 for _, offset, _ in members]].astype(np.uint32)
    return (headers.sum(axis=1) - headers[:, 148:156].sum(axis=1) + 8 * ord(" ")).tolist()
