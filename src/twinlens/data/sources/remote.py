"""Files behind URLs, in whatever storage fsspec knows: `s3://`, `gs://`, `https://`, `memory://`.

Every request is made up to three times: object stores answer some of millions with an error.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twinlens.errors import DataError, MissingExtraError, one_line

Place = Path | str
"""A file on this machine, or the URL of one that is not."""

_WAITS = (0.5, 2.0)
"""Seconds before the second and the third try."""

_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
"""Names that storages give to a version of a file's content."""

_Answer = TypeVar("_Answer")


def is_url(spec: str) -> bool:
    """True if it begins as URLs do."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", spec) is not None


def name_of(place: Place) -> str:
    """The last part of a path or of a URL's path."""
    return place.name if isinstance(place, Path) else PurePosixPath(urlsplit(place).path).name


def folder_of(place: Place) -> Place:
    """The folder of a file, or of a folder; a bucket's is itself."""
    if isinstance(place, Path):
        return place.parent
    protocol, slashes, rest = place.partition("?")[0].partition("://")
    return f"{protocol}{slashes}{rest.rpartition('/')[0] or rest}"


def beside(place: Place, name: str) -> Place:
    """The file of that name in the same folder."""
    folder = folder_of(place)
    return f"{folder}/{name}" if isinstance(folder, str) else folder / name


def describe(url: str) -> tuple[int, str]:
    """The size of a remote file, and a text that is another when the file is.

    Raises:
        DataError: There is none, or it cannot be reached.
        MissingExtraError: fsspec is not installed.
    """
    info = attempt(url, lambda system, path: system.info(path))
    if not isinstance(info.get("size"), int):
        raise DataError(f"{url}: got no size from the server, expected one that tells it")
    return info["size"], next((str(info[key]) for key in _STAMPS if info.get(key)), "")


def read_range(url: str, start: int, end: int) -> bytes:
    """The bytes from `start` to `end` (not included) of a remote file.

    Raises:
        DataError: It is gone, or cannot be reached.
        MissingExtraError: fsspec is not installed.
    """
    if start == end:  # some servers take an empty range for the whole file
        return b""
    return attempt(url, lambda system, path: system.cat_file(path, start=start, end=end))


def read_small(place: Place) -> bytes | None:
    """A whole small file; nothing where there is none.

    Raises:
        DataError: It cannot be read.
        MissingExtraError: It is remote and fsspec is not installed.
    """
    try:
        if isinstance(place, Path):
            return place.read_bytes()
        return attempt(place, lambda system, path: system.cat_file(path), missing=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class UrlImage:
    """An image behind a URL: nothing is read before `read_image`."""

    url: str

    @property
    def mark(self) -> str:
        """The image's identity: its address."""
        return self.url

    def read_image(self) -> bytes:
        """The image's encoded bytes.

        Raises:
            DataError: There is none, or it cannot be reached.
            MissingExtraError: fsspec is not installed.
        """
        data = read_small(self.url)
        if data is None:
            raise DataError(f"{self.url}: no such file")
        return data

    def __str__(self) -> str:
        return self.url


def attempt(url: str, request: Callable[[Any, str], _Answer], *, missing: bool = False) -> _Answer:
    """Return the answer to a request to the file's storage, tried up to three times.

    Args:
        url: The file.
        request: Takes fsspec's file system and the file's path there.
        missing: A file that is not there is a FileNotFoundError.

    Raises:
        DataError: It failed each time; the message names the URL.
        MissingExtraError: fsspec is not installed.
    """
    system, path = _system(url)
    for wait in (*_WAITS, None):
        try:
            return request(system, path)
        except Exception as error:  # failures are told in as many ways as there are libraries
            kind = _kind_of(error)
            if missing and kind in ("missing", "forbidden"):
                # Where lists are not allowed, S3 forbids what is not there.
                raise FileNotFoundError(url) from error
            if kind == "missing":
                raise DataError(f"{url}: no such file") from error
            if kind == "forbidden":
                raise DataError(f"{url}: cannot be read: {one_line(error)}") from error
            if wait is None:
                tries = len(_WAITS) + 1
                raise DataError(
                    f"{url}: cannot be read, tried {tries} times: {one_line(error)}"
                ) from error
            time.sleep(wait)
    raise AssertionError


def _system(url: str) -> tuple[Any, str]:
    try:
        core = import_module("fsspec.core")  # only URLs need it
    except ImportError as error:
        raise MissingExtraError("fsspec", "data") from error
    try:
        return core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # s3fs, gcsfs, ... are the user's choice
        raise DataError(f"{url}: cannot be opened: {one_line(error)}") from error


def _kind_of(error: Exception) -> str:
    """The kind of an error: "missing", "forbidden", or "passing", which another try may mend."""
    status = getattr(error, "status", None)  # as aiohttp's errors have it
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "missing"
    forbidden = isinstance(error, PermissionError | IsADirectoryError) or status in (401, 403)
    return "forbidden" if forbidden else "passing"
