"""Data sets of the Hugging Face hub: `hf://datasets/org/name` to local Parquet files or tars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from huggingface_hub import HfApi, snapshot_download  # pyright: ignore[reportUnknownVariableType]
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from twinlens.data.sources.metadata_files import CLASSNAMES_FILE, TEMPLATES_FILE, TYPE_FILE
from twinlens.data.sources.natural_order import natural_key
from twinlens.errors import DataError, one_line

_SPEC = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+?))?/?")
_KINDS = (".parquet", ".tar")
_BESIDE = (CLASSNAMES_FILE, TEMPLATES_FILE, TYPE_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A data set's name, and its files in the Hugging Face cache."""

    name: str
    files: list[Path]


def fetch(spec: str) -> Fetched:
    """Download what `hf://datasets/org/name[@revision][/split, folder or file]` names, once.

    Without a network, what an earlier download left in the cache is used.

    Raises:
        DataError: There is no such data set, it has no Parquet files or tars, it has several
            splits and none is named, or it is not in the cache and the hub cannot be reached.
    """
    repository, revision, part = _parse(spec)
    chosen = choose_files(_list(spec, repository, revision), part, spec)
    beside = [f"{prefix}{name}" for name in _BESIDE for prefix in ("", "*/")]
    root = _snapshot(spec, repository, revision, [*chosen, *beside])
    name = f"{repository}/{part}" if part else repository
    files = [root / file for file in chosen]
    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise DataError(f"{spec}: {missing[0]} is not in the cache, and the hub cannot be reached")
    return Fetched(name=name, files=files)


def splits_of(spec: str) -> tuple[str, list[str]]:
    """The repository and its splits, if there are any; none where the SPEC names one, or files.

    Raises:
        DataError: There is no such data set, or the hub cannot be reached and the cache has none.
    """
    repository, revision, part = _parse(spec)
    files = [] if part else _list(spec, repository, revision)
    return repository, sorted(set(map(_split_of, _data_files(files))))


def _parse(spec: str) -> tuple[str, str | None, str]:
    """The repository, its revision if it is named, and the part or nothing."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise DataError(f"{spec}: expected hf://datasets/org/name[@revision][/split]")
    return match[1], unquote(match[2]) if match[2] else None, match[3] or ""


def choose_files(files: Sequence[str], part: str, spec: str) -> list[str]:
    """The Parquet files, or else the tars, of one part of a repository, sorted: 0.tar to 10.tar.

    Args:
        files: Paths in the repository.
        part: A split ("test"), a folder or a file; empty for the only split there is.
        spec: For messages.

    Raises:
        DataError: There is none, or there are several splits and `part` is empty.
    """
    found = _data_files(files)
    if not found:
        raise DataError(f"{spec}: got {len(files)} files, expected Parquet files or tars in them")
    splits = sorted(set(map(_split_of, found)))
    names = ", ".join(map(repr, splits))
    if not part and len(splits) > 1:
        raise DataError(f"{spec}: got the splits {names}, expected one: {spec}/{splits[0]}")
    chosen = [f for f in found if not part or part in (f, _split_of(f)) or f.startswith(f"{part}/")]
    if not chosen:
        raise DataError(f"{spec}: got no split, folder or file {part!r}, expected one of {names}")
    return chosen


def _data_files(files: Sequence[str]) -> list[str]:
    """The Parquet files or, if there are none, the tars: 0.tar to 10.tar."""
    by_kind = ([file for file in files if file.endswith(kind)] for kind in _KINDS)
    return sorted(next(filter(None, by_kind), []), key=natural_key)


def _split_of(file: str) -> str:
    """`test` of `data/test-00000-of-00001.parquet`, else the folder: `test` of `test/0.tar`."""
    path = PurePosixPath(file)
    numbered = re.fullmatch(r"(.+?)-\d+(-of-\d+)?(-[0-9a-f]+)?", path.stem)
    folder = "" if path.parent.name in ("", "data") else str(path.parent)
    name = numbered[1] if numbered else ("" if path.stem.isdecimal() else path.stem)
    if folder and (not name or path.suffix == ".tar"):
        return folder
    return f"{folder}/{name}" if folder else name


def _list(spec: str, repository: str, revision: str | None) -> list[str]:
    """Every file of the repository; of its cached copy where the hub cannot be reached."""
    try:
        return HfApi().list_repo_files(repository, repo_type="dataset", revision=revision)
    except HFValidationError as error:
        raise DataError(f"{spec}: expected hf://datasets/org/name[@revision][/split]") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(f"{spec}: the hub has no such public data set or revision") from error
    except HfHubHTTPError as error:
        raise DataError(f"{spec}: the hub answered {one_line(error)}") from error
    except Exception:  # offline is told in as many ways as there are HTTP libraries
        root = _snapshot(spec, repository, revision, None)
        return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


def _snapshot(spec: str, repository: str, revision: str | None, patterns: list[str] | None) -> Path:
    """The local copy; without patterns, what the cache has."""
    try:
        return Path(
            snapshot_download(
                repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=patterns,
                local_files_only=patterns is None,
            )
        )
    except LocalEntryNotFoundError as error:
        raise DataError(
            f"{spec}: the hub cannot be reached and the data set is not in the cache; download it "
            "on a machine that can, and give its directory instead"
        ) from error
    except HfHubHTTPError as error:
        raise DataError(f"{spec}: the hub answered {one_line(error)}") from error
