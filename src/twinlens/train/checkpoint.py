"""Checkpoints of a run: one directory each, written atomically.

    checkpoints/
      latest                                   the name of the newest, for people and scripts
      step-00000500/
        rank-00000-of-00002.safetensors        tensors of process 0
        rank-00001-of-00002.safetensors        rows of sharded tensors on process 1
        state.json                             step, samples, data, and the SHA-256 of each file

A checkpoint has every tensor that a resumed run needs, split by rows if the run was sharded: any
number of processes can read it. The order of the data needs no state: it is a function of seed and
step.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

from twinlens.checkpoints.mismatch import describe_mismatch
from twinlens.checkpoints.native import write_tensors
from twinlens.config_io import from_dict, read_json_object
from twinlens.distributed.world import COLLECTIVE_TIMEOUT, World
from twinlens.errors import CheckpointError, ConfigError, os_errors_as
from twinlens.files import atomic_write_text, file_sha256

STATE_FILE = "state.json"
LATEST_FILE = "latest"
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointMetadata:
    """The content of a checkpoint's `state.json`, without the checksums.

    Attributes:
        step: Steps done.
        samples_seen: Pairs seen: the position in the data.
        data: Description of the data set, so that a resumed run notices another.
        loss_mean: The loss guard's running mean; None before the first step.
        skipped_steps: Steps that were skipped because they would have ruined the model.
        left_out: Samples replaced and metadata passed over, as `LeftOut.as_json` returns them.
    """

    step: int
    samples_seen: int
    data: str
    loss_mean: float | None = None
    skipped_steps: int = 0
    left_out: dict[str, Any] = field(default_factory=dict[str, Any])


class CheckpointWriter:
    """Writes checkpoints while training goes on: `save` copies, a thread writes."""

    def __init__(self, directory: Path, world: World, keep_checkpoints: int) -> None:
        self.directory = directory
        self.world = world
        self.keep_checkpoints = keep_checkpoints
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def save(self, tensors: Mapping[str, Tensor], metadata: CheckpointMetadata) -> None:
        """Start to write a checkpoint, after the previous one is written.

        Raises:
            CheckpointError: The previous one could not be written, such as on a full disk; earlier
                ones stay.
        """
        self.wait()
        copies = {name: _local_slice(tensor, self.world) for name, tensor in tensors.items()}
        mine = {name: copy for name, copy in copies.items() if copy is not None}
        self._thread = Thread(target=self._write, args=(mine, metadata), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            CheckpointError: It could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, slices: Mapping[str, TensorSlice], metadata: CheckpointMetadata) -> None:
        path = self.directory / f"step-{metadata.step:08d}"
        partial = path.with_suffix(".partial")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            _write_slices(slices, partial, self.world)
            if self.world.is_main:
                sums = _wait_for_ranks(partial, self.world)
                atomic_write_text(
                    json.dumps({**asdict(metadata), "files": sums}), partial / STATE_FILE
                )
                shutil.rmtree(path, ignore_errors=True)  # a damaged one of an earlier process
                partial.rename(path)
                atomic_write_text(f"{path.name}\n", self.directory / LATEST_FILE)
                for old in list_checkpoints(self.directory)[: -self.keep_checkpoints]:
                    shutil.rmtree(old)
        except CheckpointError as error:
            self._record_error(partial, error)
        except OSError as error:
            reason = error.strerror or error
            self._record_error(partial, CheckpointError(f"{path}: could not be written: {reason}"))

    def _record_error(self, partial: Path, error: CheckpointError) -> None:
        self._error = error
        if self.world.is_main:
            shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class TensorSlice:
    """Some rows of a tensor on the CPU, and their position."""

    rows: Tensor
    first_row: int
    full_shape: tuple[int, ...]


def _local_slice(tensor: Tensor, world: World) -> TensorSlice | None:
    """Copy this process's rows; a tensor that is not sharded is written by the main process."""
    local, first = tensor.detach(), 0
    if isinstance(local, DTensor):
        first, last = shard_rows(local)
        local = local.to_local()[: last - first]
    elif not world.is_main:
        return None
    return TensorSlice(local.to("cpu", copy=True), first, tuple(tensor.shape))


def shard_rows(tensor: DTensor) -> tuple[int, int]:
    """First and last row of this process in a sharded tensor: equal chunks, the last shorter."""
    mesh = tensor.device_mesh
    rows = tensor.shape[0]
    chunk = -(-rows // mesh.size())
    first = min(rows, chunk * mesh.get_local_rank())
    return first, min(rows, first + chunk)


def _write_slices(slices: Mapping[str, TensorSlice], directory: Path, world: World) -> None:
    name = f"rank-{world.rank:05d}-of-{world.world_size:05d}"
    path = directory / f"{name}.safetensors"
    parts = {
        name: [part.first_row, *part.full_shape]
        for name, part in slices.items()
        if tuple(part.rows.shape) != part.full_shape
    }
    write_tensors({k: p.rows for k, p in slices.items()}, path, {"parts": json.dumps(parts)})
    checksum = directory / f"{name}.checksum"
    checksum.write_text(file_sha256(path), encoding="ascii")
    # Done last: once all ranks have renamed theirs, the main process renames the directory.
    checksum.rename(directory / f"{name}.sha256")


def _wait_for_ranks(directory: Path, world: World) -> dict[str, str]:
    """Wait for the files of all processes; returns their checksums."""
    end = time.monotonic() + COLLECTIVE_TIMEOUT
    while len(found := sorted(directory.glob("*.sha256"))) < world.world_size:
        if time.monotonic() > end:
            raise CheckpointError(
                f"{directory}: got the files of {len(found)} processes in "
                f"{COLLECTIVE_TIMEOUT:g} s, expected {world.world_size}: "
                "is the directory shared by all machines?"
            )
        time.sleep(_POLL_SECONDS)
    sums = {f"{path.stem}.safetensors": path.read_text() for path in found}
    for path in found:
        path.unlink()
    return sums


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in directory.glob(f"step-*[0-9]/{STATE_FILE}"))


def remove_partial_checkpoints(directory: Path) -> None:
    """Remove the partial checkpoints of a killed run.

    Raises:
        CheckpointError: It cannot be removed.
    """
    with os_errors_as(CheckpointError, directory, "cannot be tidied"):
        for partial in directory.glob("step-*.partial"):
            shutil.rmtree(partial)


def read_metadata(path: Path) -> CheckpointMetadata:
    """Read the metadata of a checkpoint.

    Raises:
        CheckpointError: It is damaged, or no checkpoint of a run.
    """
    state = _read_state(path)
    state.pop("files", None)
    try:
        return from_dict(CheckpointMetadata, state, context=str(path / STATE_FILE))
    except ConfigError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error


def verify_files(path: Path) -> None:
    """Compare the files of a checkpoint with their checksums.

    Raises:
        CheckpointError: A file is damaged or missing.
    """
    try:
        for name, expected in _read_state(path)["files"].items():
            if file_sha256(path / name) != expected:
                raise CheckpointError(f"{path / name}: is damaged: its SHA-256 is another")
    except (OSError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error!r}") from error


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path / STATE_FILE)
    except ConfigError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error


@torch.no_grad()
def load_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load a checkpoint into tensors by name, whole or sharded.

    Raises:
        CheckpointError: Names or shapes differ, all differences listed; or a file is damaged.
    """
    try:
        with ExitStack() as stack:
            files = [
                stack.enter_context(safe_open(file, framework="pt"))
                for file in sorted(path.glob("*.safetensors"))
            ]
            stored = _index_stored_tensors(files)
            _check_names(tensors, stored, path)
            for name, tensor in tensors.items():
                _copy_stored_rows(tensor, stored[name], name)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error!r}") from error


@dataclass(frozen=True, slots=True)
class _StoredTensor:
    """The full shape of a tensor and its spans in order: (file, first row, number of rows)."""

    shape: tuple[int, ...]
    spans: list[tuple[Any, int, int]]


def _index_stored_tensors(files: list[Any]) -> dict[str, _StoredTensor]:
    index: dict[str, _StoredTensor] = {}
    for file in files:
        parts: dict[str, list[int]] = json.loads((file.metadata() or {}).get("parts", "{}"))
        for name in file.keys():  # noqa: SIM118  not a dictionary
            own_shape = tuple(file.get_slice(name).get_shape())
            first_row, *full_shape = parts.get(name, [0, *own_shape])
            stored = index.setdefault(name, _StoredTensor(tuple(full_shape), []))
            stored.spans.append((file, first_row, own_shape[0] if own_shape else 1))
    return index


def _check_names(
    tensors: Mapping[str, Tensor], stored: dict[str, _StoredTensor], path: Path
) -> None:
    mismatch = describe_mismatch(
        missing=[name for name in tensors if name not in stored],
        unexpected=[name for name in stored if name not in tensors],
        shapes={
            name: (stored[name].shape, tensor.shape)
            for name, tensor in tensors.items()
            if name in stored and stored[name].shape != tuple(tensor.shape)
        },
    )
    if mismatch:
        raise CheckpointError(f"{path}: does not fit this run: {mismatch}")


def _copy_stored_rows(tensor: Tensor, stored: _StoredTensor, name: str) -> None:
    if not tensor.ndim:
        tensor.copy_(stored.spans[0][0].get_tensor(name))
        return
    local, first, last = tensor, 0, tensor.shape[0]
    if isinstance(tensor, DTensor):
        first, last = shard_rows(tensor)
        local = tensor.to_local()
    for file, start, rows in stored.spans:
        low, high = max(first, start), min(last, start + rows)
        if low < high:
            local[low - first : high - first] = file.get_slice(name)[low - start : high - start]
