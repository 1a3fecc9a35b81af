"""The index of one tar: where its images' samples lie, in columns that are mapped, not read.

A file is: the magic bytes, a CRC-32 of all that follows, the length of a JSON header, the header,
and the columns, each from a multiple of 64 bytes on. It says of which tar it is by size and
stamp (the time of its last change, or what a server has for that).
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.data.left_out import NO_CAPTION, LeftOut
from twinlens.data.sources.remote import Place
from twinlens.data.sources.sample_files import TEXTS
from twinlens.data.webdataset.shards import ShardSample
from twinlens.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"TLINDEX2"
_PREAMBLE = struct.Struct("<8sII")
_ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """Columns over the samples of one tar, and over their members.

    Attributes:
        size: The tar's, in bytes.
        stamp: Another one where the tar was changed.
        left_out: What is in the tar and not in the index, by reason.
        without_caption: Samples without any file that may hold a caption.
        digest: What tells the samples from those of another tar, wherever it lies.
        extensions: Those of members; `exts` are places here.
        keys: All keys one after another, in UTF-8.
        key_ends: Where each key ends.
        hashes: 64 bits of each key, sorted: to find keys that are in several tars.
        member_ends: Where each sample's members end in the three columns that follow.
        exts: Of each member the extension,
        offsets: its place in the tar,
        sizes: and its size.
    """

    size: int
    stamp: str
    left_out: LeftOut
    without_caption: LeftOut
    digest: str
    extensions: tuple[str, ...]
    keys: NDArray[np.uint8]
    key_ends: NDArray[np.unsignedinteger[Any]]
    hashes: NDArray[np.uint64]
    member_ends: NDArray[np.unsignedinteger[Any]]
    exts: NDArray[np.unsignedinteger[Any]]
    offsets: NDArray[np.unsignedinteger[Any]]
    sizes: NDArray[np.unsignedinteger[Any]]

    def __len__(self) -> int:
        return len(self.key_ends)

    def key_at(self, row: int) -> str:
        """The name of a sample."""
        start = int(self.key_ends[row - 1]) if row else 0
        return self.keys[start : int(self.key_ends[row])].tobytes().decode(*_NAME_ENCODING)

    def sample_at(self, row: int, shard: Place) -> ShardSample:
        """Return the place of a sample in the tar."""
        start = int(self.member_ends[row - 1]) if row else 0
        members = slice(start, int(self.member_ends[row]))
        columns = (self.exts[members], self.offsets[members], self.sizes[members])
        spans = zip(*(column.tolist() for column in columns), strict=True)
        return ShardSample(
            shard,
            self.key_at(row),
            {self.extensions[ext]: (offset, size) for ext, offset, size in spans},
        )

    def save(self, path: Path) -> None:
        """Write it whole.

        Raises:
            OSError: It cannot be written.
        """
        columns = {name: np.ascontiguousarray(getattr(self, name)) for name in _COLUMNS}
        header = json.dumps(
            {
                "size": self.size,
                "stamp": self.stamp,
                "left_out": self.left_out.as_json(),
                "without_caption": self.without_caption.as_json(),
                "digest": self.digest,
                "extensions": self.extensions,
                "columns": {name: [c.dtype.str, len(c)] for name, c in columns.items()},
            }
        ).encode()
        header += b" " * (-(_PREAMBLE.size + len(header)) % _ALIGNMENT)
        pieces = [header]
        for column in columns.values():
            pieces.extend((column.tobytes(), bytes(_padding(column))))
        crc = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        with atomic_file(path) as file:
            file.write(_PREAMBLE.pack(_MAGIC, crc, len(header)))
            for piece in pieces:
                file.write(piece)


_COLUMNS = ("keys", "key_ends", "hashes", "member_ends", "exts", "offsets", "sizes")
_NAME_ENCODING = ("utf-8", "surrogateescape")  # as tarfile reads names that are not UTF-8


def _padding(column: NDArray[Any]) -> int:
    return -column.nbytes % _ALIGNMENT


def map_index(path: Path) -> ShardIndex | None:
    """The index that a file holds, mapped; nothing where it is missing or damaged."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, crc, length = _PREAMBLE.unpack_from(data)
        body = memoryview(data)[_PREAMBLE.size :]
        if magic != _MAGIC or zlib.crc32(body) != crc:
            return None
        header: dict[str, Any] = json.loads(bytes(body[:length]))
        place = _PREAMBLE.size + length
        columns: dict[str, Any] = {}
        for name, (dtype, count) in header.pop("columns").items():
            columns[name] = np.frombuffer(data, np.dtype(dtype), count, place)
            place += columns[name].nbytes + _padding(columns[name])
        header["extensions"] = tuple(header["extensions"])
        for name in ("left_out", "without_caption"):
            header[name] = LeftOut.from_json(header[name])
        return ShardIndex(**header, **columns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None


def make_index(
    samples: Sequence[ShardSample], *, size: int, stamp: str, left_out: LeftOut
) -> ShardIndex:
    """The columns of a tar's samples.

    Example:
        >>> samples = [ShardSample("memory://0.tar", "ant", {"png": (512, 70)})]
        >>> index = make_index(samples, size=2048, stamp="", left_out=LeftOut())
        >>> index.sample_at(0, "memory://0.tar") == samples[0]
        True
    """
    extensions = tuple(dict.fromkeys(ext for sample in samples for ext in sample.members))
    number = {ext: place for place, ext in enumerate(extensions)}
    keys = [sample.key.encode(*_NAME_ENCODING) for sample in samples]
    spans = [span for sample in samples for span in sample.members.values()]
    columns = {
        "keys": np.frombuffer(b"".join(keys), np.uint8),
        "key_ends": _end_offsets([len(key) for key in keys]),
        "member_ends": _end_offsets([len(sample.members) for sample in samples]),
        "exts": _to_narrowest_dtype([number[ext] for sample in samples for ext in sample.members]),
        "offsets": _to_narrowest_dtype([offset for offset, _ in spans]),
        "sizes": _to_narrowest_dtype([length for _, length in spans]),
    }
    digest = hashlib.blake2b(json.dumps([size, extensions]).encode(), digest_size=16)
    for column in columns.values():
        digest.update(column.tobytes())
    return ShardIndex(
        size=size,
        stamp=stamp,
        left_out=left_out,
        without_caption=_samples_without_caption(samples),
        digest=digest.hexdigest(),
        extensions=extensions,
        hashes=np.sort(np.array([hash_key(key) for key in keys], np.uint64)),
        **columns,
    )


def _samples_without_caption(samples: Sequence[ShardSample]) -> LeftOut:
    found = LeftOut()
    for sample in samples:
        if not any(sample.find_extension(ending) for ending in TEXTS):
            found.add(NO_CAPTION, f"{sample.shard}: sample {sample.key}")
    return found


def hash_key(key: bytes) -> int:
    """64 bits of a key, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def keys_with_hash(index: ShardIndex, key_hash: int) -> Iterator[str]:
    """The keys that have the hash."""
    wanted = np.uint64(key_hash)
    place = int(np.searchsorted(index.hashes, wanted))
    if place < len(index) and index.hashes[place] == wanted:
        for row in range(len(index)):
            key = index.key_at(row)
            if hash_key(key.encode(*_NAME_ENCODING)) == key_hash:
                yield key


def _end_offsets(lengths: Sequence[int]) -> NDArray[np.unsignedinteger[Any]]:
    return _to_narrowest_dtype(np.cumsum(lengths, dtype=np.int64))


def _to_narrowest_dtype(
    numbers: Sequence[int] | NDArray[np.int64],
) -> NDArray[np.unsignedinteger[Any]]:
    """In the narrowest little-endian type that holds them."""
    wide = np.asarray(numbers, np.int64)
    return wide.astype(np.min_scalar_type(int(wide.max(initial=0))).newbyteorder("<"))
