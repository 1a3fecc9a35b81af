"""The processes of one run: who this one is, and what they tell each other.

The only module that reads the environment: torchrun describes the world there. Without it there is
a world of one process, in which nothing here costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist

from twinlens.errors import ConfigError, DistributedError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_T = TypeVar("_T")

PATIENCE = 600.0
"""Seconds that a process waits for the others before it takes one of them for dead."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train one model together.

    Attributes:
        rank: This process's number, from 0.
        world_size: How many there are.
        local_rank: This process's number on its machine: which of its devices is its own.
        group: What collectives run in; None where there is one process.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    group: ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes, in double precision: the same list in all."""
        if self.group is None:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed, group=self.group)
        return summed.tolist()

    def told_by_leader(self, value: int) -> int:
        """The leader's value, in every process."""
        return int(self.sums([value if self.leads else 0])[0])

    def share(self, items: Sequence[_T]) -> Sequence[_T]:
        """Every n-th item from this process's number on, n being the processes: all have all."""
        return items[self.rank :: self.world_size]

    def gathered(self, value: _T) -> list[_T]:
        """Each process's value, rank by rank: the same list in all.

        Raises:
            DistributedError: A process failed before it came here; see `together`.
        """
        values: list[_T] = []
        for rank, (failure, theirs) in enumerate(self._exchange("", value)):
            if failure:
                raise DistributedError(f"process {rank} failed: {failure}")
            values.append(cast(_T, theirs))
        return values

    @contextmanager
    def together(self) -> Generator[None]:
        """Work that succeeds in all processes, or ends with an error in all.

        One that fails raises its own error. The others learn of it where they next meet, in
        `gathered` or at the end of the work; no other collective may be in it. Not to be nested.

        Raises:
            DistributedError: Another process failed; says which, and why.
        """
        try:
            yield
        except DistributedError:
            raise  # that of another one, which all know
        except Exception as error:
            self._exchange(f"{type(error).__name__}: {' '.join(str(error).split())}", None)
            raise
        self.gathered(None)

    def _exchange(self, failure: str, value: object) -> list[tuple[str, object]]:
        """What each process has to say: what went wrong there, if anything, and a value."""
        said: list[Any] = [(failure, value)] * self.world_size
        if self.group is not None:
            dist.all_gather_object(said, (failure, value), group=self.group)
        return said

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.group is not None:
            dist.barrier(group=self.group)


@contextmanager
def joined_world(patience: float = PATIENCE) -> Generator[World]:
    """The world that torchrun describes, left again in the end; one process without torchrun.

    Args:
        patience: Seconds that a collective may take.

    Raises:
        ConfigError: The environment describes no world.
        DistributedError: Another process died, or did not come to a collective in time.
    """
    if "RANK" not in os.environ:
        yield World()
        return
    try:
        rank, size, local = (int(os.environ[k]) for k in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"environment: got RANK without {error}, expected all that torchrun sets"
        ) from error
    with collective_errors(rank, patience):
        try:
            _join(local, patience)
            yield World(rank, size, local, dist.group.WORLD)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _join(local_rank: int, patience: float) -> None:
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        backend = (
            "cpu:gloo,cuda:nccl"  # small decisions go between processors, tensors between GPUs
        )
    dist.init_process_group(backend, timeout=timedelta(seconds=patience))


_SIGNS = ("closed by peer", "timed out", "timeout", "reset by peer", "connect", "nccl", "gloo")


@contextmanager
def collective_errors(rank: int, patience: float) -> Generator[None]:
    """What torch says in pages when a process is lost becomes one line."""
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        lost = isinstance(error, dist.DistError) or any(s in reason.lower() for s in _SIGNS)
        if not lost:
            raise
        raise DistributedError(
            f"process {rank}: another process died or was silent for {patience:g} s ({reason}): "
            "run again with --resume"
        ) from error
