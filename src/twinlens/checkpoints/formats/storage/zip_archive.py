"""Zips whose members are not compressed, read through a memory map.

torch and numpy write such zips. A compressed member is refused: a few bytes can expand to
gigabytes.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from twinlens.checkpoints.formats.storage.arrays import Array, DType, array_at, map_file
from twinlens.errors import CheckpointError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, length of the name, length of the extra field (APPNOTE 4.3.7)."""

_MAX_SIZE_RATIO = 4
"""Largest ratio of the tensors' bytes to the file's: tied weights share theirs."""


def check_total_bytes(path: Path, total_bytes: int) -> None:
    """Refuse tensors that share bytes to become far larger than the file.

    Args:
        path: The file.
        total_bytes: Bytes of all its tensors together, as if none shared any.

    Raises:
        CheckpointError: They are many times the file's.
    """
    size = path.stat().st_size
    if total_bytes > _MAX_SIZE_RATIO * size:
        raise CheckpointError(
            f"{path}: got tensors of {total_bytes} bytes in a file of {size}, expected at most "
            f"{_MAX_SIZE_RATIO} times its size"
        )


class UncompressedZip:
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
        self.mapped = map_file(path)

    @property
    def names(self) -> Collection[str]:
        """Members' names, in the order of the zip's directory."""
        return self._members.keys()

    def locate(self, name: str) -> tuple[int, int]:
        """Offset and size of a member in the file, in bytes.

        Raises:
            CheckpointError: The member is missing, compressed, encrypted, or beyond the file.
        """
        if name not in self._members:
            raise CheckpointError(f"{self.path}: got no member {name[:100]!r}, expected one")
        member = self._members[name]
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise CheckpointError(
                f"{self.path}: got {name[:100]!r} compressed or encrypted, expected it stored"
            )
        header, size = member.header_offset, len(self.mapped)
        if 0 <= header <= size - _LOCAL_HEADER.size:
            signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(self.mapped, header)
            begin = header + _LOCAL_HEADER.size + name_length + extra_length
            if signature == b"PK\3\4" and begin + member.file_size <= size:
                return begin, member.file_size
        raise CheckpointError(
            f"{self.path}: got {name[:100]!r} beyond the end, expected {member.file_size} bytes in "
            "the file"
        )

    def read_prefix(self, name: str, count: int) -> bytes:
        """Read a member's first bytes, at most `count`.

        Raises:
            CheckpointError: See `locate`.
        """
        begin, size = self.locate(name)
        return self.mapped[begin : begin + min(size, count)]

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Read a member's bytes.

        Raises:
            CheckpointError: See `locate`; or the member is larger than `max_bytes`.
        """
        _, size = self.locate(name)
        if size > max_bytes:
            raise CheckpointError(
                f"{self.path}: {name}: got {size} bytes, expected at most {max_bytes}"
            )
        return self.read_prefix(name, size)

    def array(self, name: str, dtype: DType, shape: Sequence[int], *, skip: int) -> Array:
        """A row-major array in a member, over the mapped bytes.

        Args:
            name: The member.
            dtype: Of its numbers.
            shape: Of the array.
            skip: Bytes of the member before the first number.

        Raises:
            CheckpointError: See `locate`.
        """
        begin, _ = self.locate(name)
        return array_at(self.mapped, begin + skip, dtype, shape)
