# ruff: noqa: PLC0415  huggingface_hub takes a while to import and local models do not need it
"""Resolve the name of a model to a local path: in the package, on disk, or downloaded.

Only names of the table of published models and `hf://` names are downloaded: one copy of the
weights and the small text files that are needed to use it, never code.

- `layouts`: the files of a model
- `unsupported`: why a directory without a known layout cannot be read
- `published`: the table
- `download`: a repository of the hub into the Hugging Face cache
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinlens.config import CLIPConfig
from twinlens.config_io import from_dict, read_json_object
from twinlens.errors import CheckpointError, TwinlensError, UnknownNameError
from twinlens.hub.layouts import (
    CONFIG_FILES,
    TEXT_FILES,
    VOCABULARY_FILES,
    WEIGHT_SUFFIXES,
    describe_missing,
    find_layout,
    find_model,
)
from twinlens.hub.published import PublishedModel, published_by_repository, published_models
from twinlens.hub.unsupported import HF_MODEL_TYPES, find_model_root

HUB_PREFIX = "hf://"

CachedLayout = Literal["native", "open_clip", "hf", "big_vision"]

_MAIN = "main"
_SIGLIP_MEMBER = "img/MAPHead_0/probe.npy"
"""Member of every archive of SigLIP weights that big_vision released."""

_EMBEDDED = {"icons": Path(__file__).parents[1] / "assets" / "icons"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that `resolve` finds without a download.

    Attributes:
        name: The name to pass to `resolve`; with `@revision` if the cache holds another revision
            than the main branch.
        where: In the package ("embedded") or in the Hugging Face cache ("cached").
        path: Its directory, or its file if the model is a single file.
        layout: "native" is twinlens's own.
        published: Its row of the table of published models, if it has one.
    """

    name: str
    where: Literal["embedded", "cached"]
    path: Path
    layout: CachedLayout = "native"
    published: PublishedModel | None = None


def known_models() -> list[KnownModel]:
    """List the models in the package, then those of the Hugging Face cache that can be read."""
    embedded = [
        KnownModel(name=name, where="embedded", path=path)
        for name, path in _EMBEDDED.items()
        if find_layout(path) is not None
    ]
    return [*embedded, *sorted(_cached_models(), key=lambda model: model.name)]


def print_to_stderr(message: str) -> None:
    """Print a line to stderr, as the progress bars of a download are."""
    sys.stderr.write(f"{message}\n")


def resolve(name: str | Path, *, report: Callable[[str], None] = print_to_stderr) -> Path:
    """Return the local directory of a model, or its file if the model is a single file.

    Existing paths are preferred to names of the hub.

    Args:
        name: "icons"; a directory in our layout, Hugging Face's or open_clip's; a file of weights;
            a name of `published_models`; or `hf://org/name`. The last two may end in `@revision`,
            and are downloaded once into the Hugging Face cache.
        report: Called with a line for each download: source, commit and SHA-256 of the weights.

    Raises:
        UnknownNameError: There is no such name; close names are suggested.
        CheckpointError: A directory lacks its files, or a download failed.
    """
    from twinlens.hub.download import ModelRequest, fetch

    text = str(name)
    if text in _EMBEDDED:
        return _validate_path(_EMBEDDED[text])
    short, _, revision = text.partition("@")
    if text.startswith(HUB_PREFIX):
        return fetch(ModelRequest(text, short.removeprefix(HUB_PREFIX), revision or None), report)
    path = Path(text).expanduser()
    if text and _exists(path):
        return _validate_path(path)
    if isinstance(name, str) and short in published_models():
        repository = published_models()[short].repository
        return fetch(ModelRequest(text, repository, revision or None), report)
    if text.endswith(WEIGHT_SUFFIXES):
        raise CheckpointError(f"{text}: no such file, expected one with weights in it")
    if _looks_like_a_path(name):
        raise CheckpointError(f"{text}: no such directory, expected one with a model in it")
    raise UnknownNameError(
        "model",
        text,
        [*_EMBEDDED, *published_models()],
        fallback_hint=f"known: {', '.join(_EMBEDDED)}, the {len(published_models())} names that "
        "`twinlens models --known` lists, hf://org/name, and directories",
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no system has a name as long
        return False


def _looks_like_a_path(name: str | Path) -> bool:
    text = str(name)
    has_form = isinstance(name, Path) or text.startswith((".", "/", "~")) or text.endswith("/")
    return has_form or ("/" in text and Path(text).parent.is_dir())


def _validate_path(path: Path) -> Path:
    if path.is_file():
        if path.name in (*CONFIG_FILES, *TEXT_FILES, *VOCABULARY_FILES):
            raise CheckpointError(f"{path}: is one file of a model, expected its directory")
        return path
    root = find_model_root(path)
    if find_layout(root) is None:
        raise CheckpointError(f"{root}: {describe_missing(root)}")
    return root


def _cached_models() -> Iterator[KnownModel]:
    """Yield the models of the Hugging Face cache whose layout twinlens reads."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError):
        return
    for repository in repositories:
        if repository.repo_type != "model":
            continue
        # The main branch first, which a plain name means, then the newest revision.
        revisions = sorted(
            repository.revisions,
            key=lambda revision: (_MAIN in revision.refs, revision.last_modified),
            reverse=True,
        )
        for revision in revisions:
            path = revision.snapshot_path
            with suppress(CheckpointError):  # one that cannot be read is not listed
                path = find_model(path) or path
            layout = _detect_layout(path)
            if layout is not None:
                published = published_by_repository().get(repository.repo_id)
                name = published.name if published else f"{HUB_PREFIX}{repository.repo_id}"
                other = min(revision.refs, default=revision.commit_hash)
                yield KnownModel(
                    name=name if _MAIN in revision.refs else f"{name}@{other}",
                    where="cached",
                    path=path,
                    layout=layout,
                    published=published,
                )
                break


def _detect_layout(path: Path) -> CachedLayout | None:
    """Detect the layout of a directory by its configuration, or of a file by its members."""
    if path.is_file():
        return "big_vision" if _is_big_vision_siglip(path) else None
    layout = find_layout(path)
    if layout is None:
        return None
    try:
        data = read_json_object(path / layout.config)
        if layout.kind == "open_clip":
            return "open_clip" if "model_cfg" in data else None
        if "model_type" in data:
            return "hf" if data["model_type"] in HF_MODEL_TYPES else None
        from_dict(CLIPConfig, data)
    except TwinlensError:
        return None
    return "native"


def _is_big_vision_siglip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(_SIGLIP_MEMBER) for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
