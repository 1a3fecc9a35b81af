# ruff: noqa: PLC0415  one process needs no torch
"""The processes of one run: this one's rank, and collectives of Python values.

The only module that reads torchrun's environment variables. Without them the world has one process,
and nothing here costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twinlens.errors import ConfigError, DistributedError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_T = TypeVar("_T")

COLLECTIVE_TIMEOUT = 600.0
"""Seconds that a process waits for the others before it assumes that one of them died."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train one model together.

    Attributes:
        rank: This process's number, from 0.
        world_size: The number of processes.
        local_rank: This process's number on its machine, and the index of its device.
        group: The process group of collectives; None where there is one process.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    group: ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """True if this is the process that writes and reports."""
        return self.rank == 0

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """Sum each value over the processes in float64; returns the same list in all."""
        if self.group is None:
            return list(values)
        import torch
        import torch.distributed as dist

        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed, group=self.group)
        return summed.tolist()

    def broadcast(self, value: int) -> int:
        """The main process's value, in every process."""
        return int(self.all_reduce_sum([value if self.is_main else 0])[0])

    def shard(self, items: Sequence[_T]) -> Sequence[_T]:
        """This process's share of the items: every `world_size`-th, from its rank on."""
        return items[self.rank :: self.world_size]

    def all_gather(self, value: _T) -> list[_T]:
        """Each process's value, rank by rank: the same list in all.

        Raises:
            DistributedError: A process failed before this call; see `propagate_errors`.
        """
        values: list[_T] = []
        for rank, (failure, theirs) in enumerate(self._all_gather_outcomes("", value)):
            if failure:
                raise DistributedError(f"process {rank} failed: {failure}")
            values.append(cast(_T, theirs))
        return values

    @contextmanager
    def propagate_errors(self) -> Generator[None]:
        """Run a block that succeeds in all processes, or ends with an error in all.

        A process that fails raises its own error. The others learn of it at their next
        `all_gather` or at the end of the block; it may hold no other collective. Not to be nested.

        Raises:
            DistributedError: Another process failed; says which, and why.
        """
        try:
            yield
        except DistributedError:
            raise  # the error of another process, which all know of
        except Exception as error:
            self._all_gather_outcomes(
                f"{type(error).__name__}: {' '.join(str(error).split())}", None
            )
            raise
        self.all_gather(None)

    def _all_gather_outcomes(self, failure: str, value: object) -> list[tuple[str, object]]:
        """Gather from each process an error message, empty if there was none, and a value."""
        outcomes: list[Any] = [(failure, value)] * self.world_size
        if self.group is not None:
            import torch.distributed as dist

            dist.all_gather_object(outcomes, (failure, value), group=self.group)
        return outcomes

    def barrier(self) -> None:
        """Return when all processes have called it."""
        if self.group is not None:
            import torch.distributed as dist

            dist.barrier(group=self.group)


@contextmanager
def distributed_world(timeout: float = COLLECTIVE_TIMEOUT) -> Generator[World]:
    """Set up the world that torchrun describes; one process without torchrun.

    Args:
        timeout: Seconds that a collective may take at most.

    Raises:
        ConfigError: The environment describes no world.
        DistributedError: Another process died, or did not reach a collective in time.
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
    import torch.distributed as dist

    with translate_collective_errors(rank, timeout):
        try:
            _init_process_group(local, timeout)
            yield World(rank, size, local, dist.group.WORLD)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _init_process_group(local_rank: int, timeout: float) -> None:
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"  # Python values are sent between CPUs, tensors between GPUs
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))


_LOST_PROCESS_MESSAGES = (
    "closed by peer",
    "timed out",
    "timeout",
    "reset by peer",
    "connect",
    "nccl",
    "gloo",
)


@contextmanager
def translate_collective_errors(rank: int, timeout: float) -> Generator[None]:
    """Turn torch's long errors about a lost process into one line."""
    try:
        yield
    except RuntimeError as error:
        import torch.distributed as dist

        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        lost = isinstance(error, dist.DistError) or any(
            s in reason.lower() for s in _LOST_PROCESS_MESSAGES
        )
        if not lost:
            raise
        raise DistributedError(
            f"process {rank}: another process died or was silent for {timeout:g} s ({reason}): "
            "run again with --resume"
        ) from error
