# ruff: noqa: PLC0415  huggingface_hub takes a while to import; cached models need little of it
"""Download a model of the Hugging Face hub into the cache that all libraries share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from twinlens.errors import CheckpointError, one_line
from twinlens.files import file_sha256
from twinlens.hub.layouts import WEIGHT_SUFFIXES, choose_files, find_model
from twinlens.hub.published import published_by_repository

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model of the hub that a user named.

    Attributes:
        name: The name as typed; messages begin with it.
        repository: `org/name`.
        revision: A branch, tag or commit; the main branch if none is given.
    """

    name: str
    repository: str
    revision: str | None


def fetch(request: ModelRequest, report: Report) -> Path:
    """Return the local path of a model, downloaded if needed; from the cache if offline.

    Raises:
        CheckpointError: The repository has no model, or it cannot be downloaded.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi().model_info(
            request.repository, revision=request.revision, files_metadata=True
        )
    except HFValidationError as error:
        raise CheckpointError(f"{request.name}: expected hf://org/name[@revision]") from error
    except Exception as error:  # each HTTP library reports being offline in its own way
        return _find_in_cache(request, error, report)
    sums = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or ()}
    files = choose_files(sums)
    if not files:
        raise CheckpointError(
            f"{request.name}: got {len(sums)} files, expected config.json and model.safetensors, "
            "or open_clip_config.json and open_clip_model.safetensors, among them"
        )
    snapshot = _find_snapshot(request)
    if (
        snapshot is None
        or snapshot.name != info.sha
        or not all((snapshot / name).is_file() for name in files)
    ):
        new = [name for name in files if name.endswith(WEIGHT_SUFFIXES)]
        new = [name for name in new if not _is_cached(request, str(info.sha), name)]
        snapshot = _download(request, files)
        if snapshot.name != info.sha:
            raise CheckpointError(f"{request.name}: changed on the hub meanwhile; run it again")
        _verify(request, snapshot, {name: sums[name] for name in new}, report)
        if new and (published := published_by_repository().get(request.repository)):
            terms = f": {published.restrictions}" if published.restrictions else ""
            report(f"{request.name}: licence {published.licence}{terms}")
    model = find_model(snapshot)
    assert model is not None, "the chosen files are a model"
    return model


def _find_in_cache(request: ModelRequest, error: Exception, report: Report) -> Path:
    snapshot = _find_snapshot(request)
    model = None if snapshot is None else find_model(snapshot)
    if snapshot is None or model is None:
        raise CheckpointError(f"{request.name}: {_describe_failure(error, request)}") from error
    report(f"{request.name}: the hub cannot be asked, so commit {snapshot.name} of the cache")
    return model


def _find_snapshot(request: ModelRequest) -> Path | None:
    """Find the cache's directory of a revision, complete or not."""
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        directory = snapshot_download(
            request.repository, revision=request.revision, local_files_only=True, allow_patterns=[]
        )
    except LocalEntryNotFoundError:
        return None
    return Path(directory)


def _is_cached(request: ModelRequest, commit: str, file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(request.repository, file, revision=commit), str)


def _download(request: ModelRequest, files: Collection[str]) -> Path:
    """Download files with progress bars on stderr; an interrupted download is continued.

    Raises:
        CheckpointError: The download stopped.
    """
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        # By the revision's name and not its commit: the cache then records the name.
        return Path(
            snapshot_download(
                request.repository, revision=request.revision, allow_patterns=list(files)
            )
        )
    except Exception as error:  # broken connections raise many types of errors
        raise CheckpointError(
            f"{request.name}: the download stopped: {one_line(error)}; run it again to go on"
        ) from error


def _verify(
    request: ModelRequest, snapshot: Path, sums: Mapping[str, str | None], report: Report
) -> None:
    """Check and report the SHA-256 of new files; a file that differs from the hub's is removed.

    Raises:
        CheckpointError: A file differs from the hub's.
    """
    for name, expected in sums.items():
        path = snapshot / name
        digest = file_sha256(path)
        if expected is not None and digest != expected:
            path.resolve().unlink()  # the cache's copy, which the snapshot links to
            path.unlink(missing_ok=True)
            raise CheckpointError(
                f"{request.name}: {name}: got SHA-256 {digest}, expected {expected}, "
                "which is the hub's; the file was removed, run it again"
            )
        report(
            f"{request.name}: {request.repository} at {snapshot.name}: "
            f"{name} has SHA-256 {digest}{'' if expected else ', which the hub does not tell'}"
        )


def _describe_failure(error: Exception, request: ModelRequest) -> str:
    """Explain the failure of a download, and what the user can do about it."""
    from huggingface_hub import errors as hub

    page = f"https://huggingface.co/{request.repository}"
    if isinstance(error, hub.GatedRepoError):
        return f"the hub wants terms accepted: do so at {page}, then log in with `hf auth login`"
    if isinstance(error, hub.RepositoryNotFoundError | hub.RevisionNotFoundError):
        return "the hub has no such public model or revision"
    if isinstance(error, hub.HfHubHTTPError):
        return f"the hub answered {one_line(error)}"
    offline = isinstance(error, hub.OfflineModeIsEnabled)
    return (
        f"{'HF_HUB_OFFLINE is set' if offline else 'the hub cannot be reached'} and the cache has "
        f"no such model; where it can be, fetch {_describe_needed_files(request)} from "
        f"{page}{f'/tree/{request.revision}' if request.revision else ''} into a directory, "
        "and give its path instead of the name"
    )


def _describe_needed_files(request: ModelRequest) -> str:
    """List the files to download by hand, as far as the table of models tells."""
    files = {
        "hf": "config.json, preprocessor_config.json, model.safetensors or pytorch_model.bin",
        "open_clip": (
            "open_clip_config.json, open_clip_model.safetensors or open_clip_pytorch_model.bin"
        ),
    }
    published = published_by_repository().get(request.repository)
    needed = files[published.layout] if published else f"{files['hf']} (or {files['open_clip']})"
    return f"{needed}, and tokenizer.json"
