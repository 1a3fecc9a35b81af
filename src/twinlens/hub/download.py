# ruff: noqa: PLC0415  huggingface_hub takes a while to import and what is cached needs little of it
"""A repository of the Hugging Face hub to its files in the cache that all libraries share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from twinlens.errors import CheckpointError
from twinlens.hub.layouts import WEIGHTS_END, choose_files, model_in
from twinlens.hub.published import by_repository

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asked for.

    Attributes:
        name: As it was typed; messages begin with it.
        repository: `org/name`.
        revision: A branch, tag or commit; the main branch if none is given.
    """

    name: str
    repository: str
    revision: str | None


def fetch(wanted: Wanted, report: Report) -> Path:
    """The local directory of a model, or its file; without the hub, what the cache has of it.

    Raises:
        CheckpointError: The repository has no model, or it cannot be had.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi().model_info(wanted.repository, revision=wanted.revision, files_metadata=True)
    except HFValidationError as error:
        raise CheckpointError(f"{wanted.name}: expected hf://org/name[@revision]") from error
    except Exception as error:  # offline is told in as many ways as there are HTTP libraries
        return _without_the_hub(wanted, error, report)
    sums = {one.rfilename: one.lfs.sha256 if one.lfs else None for one in info.siblings or ()}
    files = choose_files(sums)
    if not files:
        raise CheckpointError(
            f"{wanted.name}: got {len(sums)} files, expected config.json and model.safetensors, "
            "or open_clip_config.json and open_clip_model.safetensors, among them"
        )
    snapshot = _snapshot(wanted)
    if snapshot is None or snapshot.name != info.sha or not _has(snapshot, files):
        new = [name for name in files if name.endswith(WEIGHTS_END)]
        new = [name for name in new if not _is_cached(wanted, str(info.sha), name)]
        snapshot = _download(wanted, files)
        if snapshot.name != info.sha:
            raise CheckpointError(f"{wanted.name}: changed on the hub meanwhile; run it again")
        _verify(wanted, snapshot, {name: sums[name] for name in new}, report)
        if new and (listed := by_repository().get(wanted.repository)):
            terms = f": {listed.restrictions}" if listed.restrictions else ""
            report(f"{wanted.name}: licence {listed.licence}{terms}")
    model = model_in(snapshot)
    assert model is not None, "what was chosen is a model"
    return model


def _without_the_hub(wanted: Wanted, error: Exception, report: Report) -> Path:
    snapshot = _snapshot(wanted)
    model = None if snapshot is None else model_in(snapshot)
    if snapshot is None or model is None:
        raise CheckpointError(f"{wanted.name}: {_why(error, wanted)}") from error
    report(f"{wanted.name}: the hub cannot be asked, so commit {snapshot.name} of the cache")
    return model


def _snapshot(wanted: Wanted) -> Path | None:
    """The cache's directory of a revision, whole or not."""
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            wanted.repository, revision=wanted.revision, local_files_only=True, allow_patterns=[]
        )
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def _has(directory: Path, files: Collection[str]) -> bool:
    return all((directory / file).is_file() for file in files)


def _is_cached(wanted: Wanted, commit: str, file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(wanted.repository, file, revision=commit), str)


def _download(wanted: Wanted, files: Collection[str]) -> Path:
    """Fetch files with their progress on stderr; what an earlier run left is gone on with.

    Raises:
        CheckpointError: The download stopped.
    """
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        # By the revision's name and not its commit: the cache remembers which one it was.
        return Path(
            snapshot_download(
                wanted.repository, revision=wanted.revision, allow_patterns=list(files)
            )
        )
    except Exception as error:  # connections break in as many ways as they fail
        raise CheckpointError(
            f"{wanted.name}: the download stopped: {_one_line(error)}; run it again to go on"
        ) from error


def _verify(wanted: Wanted, snapshot: Path, sums: Mapping[str, str | None], report: Report) -> None:
    """Tell the SHA-256 of new files; one that is not as the hub knows it is removed.

    Raises:
        CheckpointError: A file is another than the hub's.
    """
    for name, expected in sums.items():
        path = snapshot / name
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if expected is not None and digest != expected:
            path.resolve().unlink()  # the cache's copy, which the snapshot links to
            path.unlink(missing_ok=True)
            raise CheckpointError(
                f"{wanted.name}: {name}: got SHA-256 {digest}, expected {expected}, "
                "which is the hub's; the file was removed, run it again"
            )
        report(
            f"{wanted.name}: {wanted.repository} at {snapshot.name}: "
            f"{name} has SHA-256 {digest}{'' if expected else ', which the hub does not tell'}"
        )


def _why(error: Exception, wanted: Wanted) -> str:
    """What keeps a model from being fetched, and the way around it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{wanted.repository}"
    if isinstance(error, GatedRepoError):
        return f"the hub wants terms accepted: do so at {page}, then log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return "the hub has no such public model or revision"
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered {_one_line(error)}"
    offline = isinstance(error, OfflineModeIsEnabled)
    return (
        f"{'HF_HUB_OFFLINE is set' if offline else 'the hub cannot be reached'} and the cache has "
        f"no such model; where it can be, fetch {_needed(wanted)} from "
        f"{page}{f'/tree/{wanted.revision}' if wanted.revision else ''} into a directory, "
        "and give its path instead of the name"
    )


def _needed(wanted: Wanted) -> str:
    """The files to fetch by hand, as far as is known without asking."""
    files = {
        "hf": "config.json, preprocessor_config.json, model.safetensors or pytorch_model.bin",
        "open_clip": (
            "open_clip_config.json, open_clip_model.safetensors or open_clip_pytorch_model.bin"
        ),
    }
    listed = by_repository().get(wanted.repository)
    needed = files[listed.layout] if listed else f"{files['hf']} (or {files['open_clip']})"
    return f"{needed}, and tokenizer.json"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
