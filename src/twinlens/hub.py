# ruff: noqa: PLC0415  huggingface_hub takes a while to import and local models do not need it
"""Names of models to local directories: embedded, on disk, or on the Hugging Face hub.

Nothing is fetched that was not asked for by an `hf://` name, and only weights and text files are:
no pickle, no code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinlens.config import CLIPConfig, read_json
from twinlens.errors import CheckpointError, TwinlensError, UnknownNameError

HUB_PREFIX = "hf://"
NEEDED_FILES = ("config.json", "model.safetensors")
MODEL_FILES = (*NEEDED_FILES, "tokenizer.json", "README.md", "metrics.json")

_EMBEDDED = {"icons": Path(__file__).parent / "assets" / "icons"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that `resolve` finds without a download: the name to give, and its directory."""

    name: str
    where: Literal["embedded", "cached", "path"]
    path: Path


def known_models() -> list[KnownModel]:
    """The models in the package, then those of the Hugging Face cache in our layout."""
    embedded = [
        KnownModel(name=name, where="embedded", path=path)
        for name, path in _EMBEDDED.items()
        if not _missing_files(path)
    ]
    return [*embedded, *sorted(_cached_models(), key=lambda model: model.name)]


def resolve(name: str | Path) -> Path:
    """The local directory of a model, with `config.json` and `model.safetensors` in it.

    Args:
        name: A known name ("icons"), a directory, or `hf://org/name[@revision]`, which is
            downloaded once into the Hugging Face cache.

    Raises:
        UnknownNameError: There is no such name; close names are suggested.
        CheckpointError: A directory lacks its files, or a download failed.
    """
    text = str(name)
    if text in _EMBEDDED:
        return _checked(_EMBEDDED[text])
    if text.startswith(HUB_PREFIX):
        return _checked(_download(text.removeprefix(HUB_PREFIX)))
    path = Path(text).expanduser()
    if text and path.is_dir():
        return _checked(path)
    if text and path.exists():
        raise CheckpointError(f"{text}: is a file, expected a model's directory")
    if _looks_like_a_path(name):
        raise CheckpointError(f"{text}: no such directory, expected one with a model in it")
    raise UnknownNameError("model", text, _EMBEDDED)


def _looks_like_a_path(name: str | Path) -> bool:
    text = str(name)
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or text.endswith("/"):
        return True
    return "/" in text and Path(text).parent.is_dir()


def _missing_files(directory: Path) -> list[str]:
    return [name for name in NEEDED_FILES if not (directory / name).is_file()]


def _checked(directory: Path) -> Path:
    missing = _missing_files(directory)
    if missing:
        raise CheckpointError(
            f"{directory}: no {' and no '.join(missing)} in it, "
            f"expected a directory with {' and '.join(NEEDED_FILES)}"
        )
    return directory


def _download(repository: str) -> Path:
    """Fetch `org/name[@revision]`; what is in the cache already is not fetched again."""
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{HUB_PREFIX}{repository}"
    repo_id, _, revision = repository.partition("@")
    try:
        return Path(
            snapshot_download(repo_id, revision=revision or None, allow_patterns=list(MODEL_FILES))
        )
    except HFValidationError as error:
        raise CheckpointError(f"{name}: expected hf://org/name[@revision]") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointError(f"{name}: the hub has no such public model or revision") from error
    except HfHubHTTPError as error:
        raise CheckpointError(f"{name}: the hub answered {error}") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name}: the hub cannot be reached; from a machine that can, fetch "
            f"{', '.join(NEEDED_FILES)} and, if it has one, tokenizer.json of "
            f"https://huggingface.co/{repo_id} into a directory, and give its path instead"
        ) from error


def _cached_models() -> Iterator[KnownModel]:
    """Models of the Hugging Face cache that are in our layout; others are not ours to list."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, OSError):
        return
    for repository in repositories:
        snapshots = sorted(repository.revisions, key=lambda one: one.last_modified, reverse=True)
        usable = [one.snapshot_path for one in snapshots if _is_native(one.snapshot_path)]
        if repository.repo_type == "model" and usable:
            name = f"{HUB_PREFIX}{repository.repo_id}"
            yield KnownModel(name=name, where="cached", path=usable[0])


def _is_native(directory: Path) -> bool:
    if _missing_files(directory):
        return False
    try:
        read_json(CLIPConfig, directory / "config.json")
    except TwinlensError:
        return False
    return True
