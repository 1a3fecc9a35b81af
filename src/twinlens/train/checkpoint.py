"""Checkpoints of a run: a directory each, whole or not there at all.

    checkpoints/
      latest                                   the name of the newest, for people and scripts
      step-00000500/
        rank-00000-of-00002.safetensors        what process 0 held
        rank-00001-of-00002.safetensors        of sharded tensors the rows of process 1
        state.json                             step, samples, data, and the SHA-256 of each file

Every tensor that a run needs to go on is in the files of one checkpoint, split by rows where the
run was sharded: any number of processes can read it. The order of the data needs no state: it is a
function of seed and step.
"""

from __future__ import annotations

import hashlib
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

from twinlens.checkpoints.native import write_tensors
from twinlens.config_io import from_dict, read_plain_json
from twinlens.distributed.world import PATIENCE, World
from twinlens.errors import CheckpointError, ConfigError
from twinlens.files import write_whole

STATE_FILE = "state.json"
LATEST_FILE = "latest"
_POLL = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a checkpoint says of itself.

    Attributes:
        step: Steps done.
        samples_seen: Pairs seen: the place in the stream of the data.
        data: The data set, so that a resumed run notices another.
        loss_mean: The guard's running mean of the loss; none before the first step.
        skipped_steps: Steps that were not taken because they would have ruined the model.
        left_out: Samples replaced and metadata passed over, as `LeftOut.as_json` gives them.
    """

    step: int
    samples_seen: int
    data: str
    loss_mean: float | None = None
    skipped_steps: int = 0
    left_out: dict[str, Any] = field(default_factory=dict[str, Any])


class CheckpointWriter:
    """Writes checkpoints beside the training: `save` copies, a thread does the rest."""

    def __init__(self, directory: Path, world: World, keep: int) -> None:
        self.directory = directory
        self.world = world
        self.keep = keep
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def save(self, tensors: Mapping[str, Tensor], facts: Facts) -> None:
        """Begin to write a checkpoint, once the one before is written.

        Raises:
            CheckpointError: The one before could not be written (a full disk, say); the earlier
                ones stay.
        """
        self.finish()
        copies = {name: _held(tensor, self.world) for name, tensor in tensors.items()}
        mine = {name: copy for name, copy in copies.items() if copy is not None}
        self._thread = Thread(target=self._write, args=(mine, facts), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Return when what was begun is on the disk.

        Raises:
            CheckpointError: It could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, pieces: Mapping[str, Piece], facts: Facts) -> None:
        place = self.directory / f"step-{facts.step:08d}"
        partial = place.with_suffix(".partial")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            _write_pieces(pieces, partial, self.world)
            if self.world.leads:
                sums = _wait_for_all(partial, self.world)
                write_whole(json.dumps({**asdict(facts), "files": sums}), partial / STATE_FILE)
                shutil.rmtree(place, ignore_errors=True)  # a damaged one that the run came past
                partial.rename(place)
                write_whole(f"{place.name}\n", self.directory / LATEST_FILE)
                for old in list_checkpoints(self.directory)[: -self.keep]:
                    shutil.rmtree(old)
        except CheckpointError as error:
            self._fail(partial, error)
        except OSError as error:
            reason = error.strerror or error
            self._fail(partial, CheckpointError(f"{place}: could not be written: {reason}"))

    def _fail(self, partial: Path, error: CheckpointError) -> None:
        self._error = error
        if self.world.leads:
            shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a tensor, on the processor, and where they belong."""

    rows: Tensor
    first: int
    whole_shape: tuple[int, ...]


def _held(tensor: Tensor, world: World) -> Piece | None:
    """A copy of what this process writes of a tensor; what all have, the leader writes."""
    local, first = tensor.detach(), 0
    if isinstance(local, DTensor):
        first, last = shard_rows(local)
        local = local.to_local()[: last - first]
    elif not world.leads:
        return None
    return Piece(local.to("cpu", copy=True), first, tuple(tensor.shape))


def shard_rows(tensor: DTensor) -> tuple[int, int]:
    """The rows that this process holds of a sharded tensor: equal chunks, the last ones shorter."""
    mesh = tensor.device_mesh
    rows = tensor.shape[0]
    chunk = -(-rows // mesh.size())
    first = min(rows, chunk * mesh.get_local_rank())
    return first, min(rows, first + chunk)


def _write_pieces(pieces: Mapping[str, Piece], directory: Path, world: World) -> None:
    name = f"rank-{world.rank:05d}-of-{world.world_size:05d}"
    path = directory / f"{name}.safetensors"
    parts = {k: [p.first, *p.whole_shape] for k, p in pieces.items() if _is_part(p)}
    write_tensors({k: p.rows for k, p in pieces.items()}, path, {"parts": json.dumps(parts)})
    beside = directory / f"{name}.checksum"
    beside.write_text(checksum(path), encoding="ascii")
    # The last that is done here: once all are there, the leader gives the directory its name.
    beside.rename(directory / f"{name}.sha256")


def _is_part(piece: Piece) -> bool:
    return tuple(piece.rows.shape) != piece.whole_shape


def _wait_for_all(directory: Path, world: World) -> dict[str, str]:
    """The checksums of all processes' files, once they are there."""
    end = time.monotonic() + PATIENCE
    while len(found := sorted(directory.glob("*.sha256"))) < world.world_size:
        if time.monotonic() > end:
            raise CheckpointError(
                f"{directory}: got the files of {len(found)} processes in {PATIENCE:g} s, "
                f"expected {world.world_size}: is the directory shared by all machines?"
            )
        time.sleep(_POLL)
    sums = {f"{path.stem}.safetensors": path.read_text() for path in found}
    for path in found:
        path.unlink()
    return sums


def checksum(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_checkpoints(directory: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path.parent for path in directory.glob(f"step-*[0-9]/{STATE_FILE}"))


def remove_half_written(directory: Path) -> None:
    """Remove what a killed run left of a checkpoint.

    Raises:
        CheckpointError: It cannot be removed.
    """
    try:
        for partial in directory.glob("step-*.partial"):
            shutil.rmtree(partial)
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be tidied: {error.strerror}") from error


def read_facts(path: Path) -> Facts:
    """What a checkpoint says of itself.

    Raises:
        CheckpointError: It is damaged, or no checkpoint of a run.
    """
    state = _read_state(path)
    state.pop("files", None)
    try:
        return from_dict(Facts, state, where=str(path / STATE_FILE))
    except ConfigError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error


def check_files(path: Path) -> None:
    """Compare the files of a checkpoint with their checksums.

    Raises:
        CheckpointError: One is damaged, or missing.
    """
    try:
        for name, expected in _read_state(path)["files"].items():
            if checksum(path / name) != expected:
                raise CheckpointError(f"{path / name}: is damaged: its SHA-256 is another")
    except (OSError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error!r}") from error


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return read_plain_json(path / STATE_FILE)
    except ConfigError as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error


@torch.no_grad()
def read_tensors_into(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill tensors, whole or sharded, with what a checkpoint holds under their names.

    Raises:
        CheckpointError: Names or shapes differ, all differences listed; or a file is damaged.
    """
    try:
        with ExitStack() as stack:
            files = [
                stack.enter_context(safe_open(file, framework="pt"))
                for file in sorted(path.glob("*.safetensors"))
            ]
            stored = _stored(files)
            _check_names(tensors, stored, path)
            for name, tensor in tensors.items():
                _fill(tensor, stored[name], name)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error!r}") from error


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where the rows of one tensor lie: (file, first row, rows), in order."""

    shape: tuple[int, ...]
    spans: list[tuple[Any, int, int]]


def _stored(files: list[Any]) -> dict[str, _Stored]:
    found: dict[str, _Stored] = {}
    for file in files:
        parts: dict[str, list[int]] = json.loads((file.metadata() or {}).get("parts", "{}"))
        for name in file.keys():  # noqa: SIM118  not a dictionary
            here = tuple(file.get_slice(name).get_shape())
            first, *shape = parts.get(name, [0, *here])
            one = found.setdefault(name, _Stored(tuple(shape), []))
            one.spans.append((file, first, here[0] if here else 1))
    return found


def _check_names(tensors: Mapping[str, Tensor], stored: dict[str, _Stored], path: Path) -> None:
    problems = [f"missing {name}" for name in tensors if name not in stored]
    problems += [f"unexpected {name}" for name in stored if name not in tensors]
    problems += [
        f"{name} is {list(stored[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in tensors.items()
        if name in stored and stored[name].shape != tuple(tensor.shape)
    ]
    if problems:
        raise CheckpointError(f"{path}: does not fit this run: {'; '.join(problems)}")


def _fill(tensor: Tensor, stored: _Stored, name: str) -> None:
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
