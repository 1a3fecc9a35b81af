"""Zips whose members are stored as they are, seen through a memory map.

torch and numpy write such zips. A compressed member is refused: a few of its bytes can claim to be
gigabytes.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from twinlens.errors import CheckpointError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, length of the name, length of the extra field (APPNOTE 4.3.7)."""

_AMPLE = 4
"""How often a file's bytes may be used: tied weights share theirs."""


def require_proportion(path: Path, wanted: int) -> None:
    """Refuse tensors that share few bytes so as to become many.

    Args:
        path: The file.
        wanted: Bytes of all its tensors together, as if none shared any.

    Raises:
        CheckpointError: They are many times the file's.
    """
    size = path.stat().st_size
    if wanted > _AMPLE * size:
        raise CheckpointError(
            f"{path}: got tensors of {wanted} bytes in a file of {size}, expected at most "
            f"{_AMPLE} times its size"
        )


class StoredZip:
    """The members of a zip by name.

    Raises:
        CheckpointError: A name occurs twice.
        zipfile.BadZipFile: It is no zip, or its directory is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise CheckpointError(f"{path}: got members of the same name, expected unlike names")
        with path.open("rb") as file:
            # Private: a tensor that is changed in place leaves the file as it was.
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    @property
    def names(self) -> Collection[str]:
        """Members' names, in the order of the zip's directory."""
        return self._members.keys()

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self._bytes)

    def place(self, name: str) -> tuple[int, int]:
        """Where a member's bytes begin in the file, and how many they are.

        Raises:
            CheckpointError: There is none, it is compressed or encrypted, or it leaves the file.
        """
        if name not in self._members:
            raise CheckpointError(f"{self.path}: got no member {name[:100]!r}, expected one")
        member = self._members[name]
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise CheckpointError(
                f"{self.path}: got {name[:100]!r} compressed or encrypted, expected it stored"
            )
        header = member.header_offset
        if 0 <= header <= self.size - _LOCAL_HEADER.size:
            signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(self._bytes, header)
            begin = header + _LOCAL_HEADER.size + name_length + extra_length
            if signature == b"PK\3\4" and begin + member.file_size <= self.size:
                return begin, member.file_size
        raise CheckpointError(
            f"{self.path}: got {name[:100]!r} beyond the end, expected {member.file_size} bytes in "
            "the file"
        )

    def head(self, name: str, count: int) -> bytes:
        """A member's first bytes, `count` or all.

        Raises:
            CheckpointError: As by `place`.
        """
        begin, size = self.place(name)
        return self._bytes[begin : begin + min(size, count)]

    def read(self, name: str, *, limit: int) -> bytes:
        """A member's bytes.

        Raises:
            CheckpointError: As by `place`, or they are more than `limit`.
        """
        _, size = self.place(name)
        if size > limit:
            raise CheckpointError(
                f"{self.path}: {name}: got {size} bytes, expected at most {limit}"
            )
        return self.head(name, size)

    def tensor(self, name: str, dtype: torch.dtype, *, skip: int = 0) -> Tensor:
        """A member from its byte `skip` on, as a vector that lies in the file.

        Raises:
            CheckpointError: As by `place`.
        """
        begin, size = self.place(name)
        if size <= skip:
            return torch.empty(0, dtype=dtype)
        values = torch.frombuffer(
            self._bytes, dtype=torch.uint8, offset=begin + skip, count=size - skip
        )
        if (begin + skip) % dtype.itemsize:
            values = values.clone()  # numbers of this type must not begin at any byte
        return values.view(dtype)
