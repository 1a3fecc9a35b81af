"""Calls timed in turn: a busy moment of the machine falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from twinlens.types import Count

ROUNDS = 5
FEWEST = 3
"""Calls of which there is a median, however long one takes."""

WARM_UP = 0.1
"""Share of the time that is spent before any is counted."""


@dataclass(slots=True, eq=False)
class Timed:
    """A call, and what it took each time.

    Attributes:
        name: What is shown while it runs.
        call: Ends when its answer is there.
        seconds: Of each call that was counted.
        failed: Why there are none, where memory did not suffice.
    """

    name: str
    call: Callable[[], object]
    seconds: list[float] = field(default_factory=list[float])
    failed: str = ""

    def quantile(self, share: float) -> float:
        """Seconds that this share of the calls did not exceed."""
        return float(np.quantile(self.seconds, share))

    def spend(self, seconds: float) -> None:
        """Call at least once, and again until the time is spent."""
        until = time.perf_counter() + seconds
        while not self.failed:
            start = time.perf_counter()
            try:
                self.call()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self.seconds, self.failed = [], "out of memory"
                break
            end = time.perf_counter()
            self.seconds.append(end - start)
            if end >= until:
                break


def time_in_turn(calls: Sequence[Timed], seconds: float, progress: Count) -> None:
    """Time every call for about so long: a little in each round, after some that do not count.

    A call that fails for want of memory is left out from there on and says so; calls that take
    long are made three times.
    """
    steps = (ROUNDS + 1) * len(calls)
    for number, one in enumerate(calls):
        progress(number, steps, f"{one.name}, warming up")
        one.spend(WARM_UP * seconds)
        one.seconds.clear()
    for step in range(len(calls), steps):
        one = calls[step % len(calls)]
        progress(step, steps, one.name)
        if len(one.seconds) < FEWEST or sum(one.seconds) < seconds:
            one.spend(seconds / ROUNDS)
    progress(steps, steps)


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that the device or the machine has no more; allocators differ in how."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in said for words in ("allocate memory", "out of memory")
    )
