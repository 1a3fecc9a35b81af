"""Shards: plain WebDataset tars, written whole or not at all and read in place.

A shard is an uncompressed tar. Members that share the name before the first dot form one
sample: `000000001.webp`, `000000001.json`, `000000001.txt`. The same samples always give the
same bytes, so that two builds can be compared with a checksum.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinlens.data.left_out import TWICE, LeftOut
from twinlens.data.sources.remote import Place, name_of, read_range
from twinlens.data.sources.sample_files import find_member, image_members, split_dotted, split_name
from twinlens.data.webdataset.tar_headers import (
    list_remote_tar_members,
    list_tar_members,
    require_end_mark,
)
from twinlens.errors import DataError, os_errors_as
from twinlens.files import atomic_file, atomic_write_text
from twinlens.images.file_names import is_hidden

Members = Mapping[str, bytes]
"""One sample's files by extension: `{"webp": ..., "json": ..., "txt": ...}`."""


@dataclass(frozen=True, slots=True)
class ShardSample:
    """The place of one sample: nothing is read before `read_member`.

    Attributes:
        shard: The tar: a path, or a URL.
        key: The name that the sample's members share.
        members: Extension (lower case, all after the first dot) to (offset, size) in the tar, in
            bytes.
    """

    shard: Place
    key: str
    members: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    @property
    def mark(self) -> tuple[str, str, dict[str, tuple[int, int]]]:
        """The sample's identity, wherever the tar lies."""
        return name_of(self.shard), self.key, self.members

    def find_extension(self, ending: str) -> str | None:
        """The extension of the member that ends so: `txt`, else `output.txt`."""
        return find_member(self.members, ending)

    def read_image(self) -> bytes:
        """The bytes of the image among the members; raises DataError as `read` does."""
        return self.read_member(next(iter(image_members(self.members)), "jpg"))

    def read_member(self, ext: str) -> bytes:
        """The bytes of one member.

        Raises:
            DataError: The sample has no such member, or the tar was shortened or removed.
        """
        if ext not in self.members:
            have = ", ".join(self.members)
            raise DataError(f"{self}: got {have}, expected a .{ext}")
        offset, size = self.members[ext]
        data = _read_span(self.shard, offset, size)
        if len(data) != size:
            raise DataError(f"{self}: got {len(data)} bytes of .{ext}, expected {size}")
        return data

    def __str__(self) -> str:
        return f"{self.shard}: sample {self.key}"


def _read_span(shard: Place, offset: int, size: int) -> bytes:
    if isinstance(shard, str):
        return read_range(shard, offset, offset + size)
    with os_errors_as(DataError, shard, "cannot be read"), shard.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def list_samples(path: Place, left_out: LeftOut) -> list[ShardSample]:
    """List the samples of a tar, in the order of their members.

    Members that share the name before the first dot are one sample, unless several are images and
    each has a name of its own before the last dot (`img_0.5.jpg`, `img_0.7.jpg`). Hidden files, as
    macOS adds them, are passed over.

    Args:
        path: The tar.
        left_out: Gets what is in it and is not read.

    Raises:
        DataError: It is missing, cut short or not a tar; the message names it.
    """
    try:
        if isinstance(path, str):
            members = list_remote_tar_members(path, left_out)
        else:
            members = list_tar_members(path, left_out)
            with path.open("rb") as file:
                require_end_mark(file, members)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such shard") from error
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path}: not a whole tar: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    groups: dict[str, dict[str, tuple[int, int]]] = {}
    for name, offset, size in members:
        if is_hidden(name):
            continue
        key, ext = split_name(name)
        group = groups.get(key)
        if group is None:
            groups[key] = {ext: (offset, size)}
            continue
        if ext in group:
            left_out.add(TWICE, f"{path}: {name}")
        group[ext] = (offset, size)
    samples: list[ShardSample] = []
    for key, group in groups.items():
        samples += [ShardSample(path, *one) for one in split_dotted(key, group)]
    return samples


def write_shard(path: Path, samples: Iterable[tuple[str, Members]]) -> int:
    """Write a whole shard and give it its name last, so that no half shard is ever seen.

    Returns:
        How many samples were written.

    Raises:
        DataError: The folder cannot be written, or the disk is full.
    """
    count = 0
    with (
        os_errors_as(DataError, path, "cannot be written"),
        atomic_file(path) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        for count, (key, members) in enumerate(samples, start=1):  # noqa: B007
            _add_sample(tar, key, members)
    return count


def _add_sample(tar: tarfile.TarFile, key: str, members: Members) -> None:
    for ext, data in members.items():
        info = tarfile.TarInfo(f"{key}.{ext}")  # owner 0, time 0, mode 0644
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def write_text_file(path: Path, text: str) -> None:
    """Write a small file whole: under its name there is the old text or the new.

    Raises:
        DataError: It cannot be written.
    """
    with os_errors_as(DataError, path, "cannot be written"):
        atomic_write_text(text, path)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents.

    Raises:
        DataError: It cannot be made or written to.
    """
    with os_errors_as(DataError, directory, "cannot be made"):
        directory.mkdir(parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK):
        raise DataError(f"{directory}: got a folder that is not writable, expected a writable one")
