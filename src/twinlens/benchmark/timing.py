"""Interleaved timing: a busy moment of the machine slows all calls alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from twinlens.types import ProgressCallback

NUM_ROUNDS = 5
MIN_CALLS = 3
"""Fewest calls to time, however long one takes."""

WARM_UP_FRACTION = 0.1
"""Fraction of the time that warm-up calls take; they are not counted."""

_OUT_OF_MEMORY = ("allocate memory", "out of memory", "Failed to allocate")
"""Phrases of the errors of torch on processors, of torch on GPUs, and of OpenVINO."""


@dataclass(slots=True, eq=False)
class TimedCall:
    """A function and the durations of its calls.

    Attributes:
        name: Name for the progress display.
        call: Returns when its result is complete.
        seconds: Duration of each counted call.
        failure: Reason why there are no durations; empty if there are.
    """

    name: str
    call: Callable[[], object]
    seconds: list[float] = field(default_factory=list[float])
    failure: str = ""

    def quantile(self, q: float) -> float:
        """Quantile `q` in [0, 1] of the durations, in seconds."""
        return float(np.quantile(self.seconds, q))

    def run_for(self, seconds: float) -> None:
        """Call at least once, and again until the time is up; stop when memory runs out."""
        until = time.perf_counter() + seconds
        while not self.failure:
            start = time.perf_counter()
            try:
                self.call()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.seconds, self.failure = [], "out of memory"
                break
            end = time.perf_counter()
            self.seconds.append(end - start)
            if end >= until:
                break


def time_interleaved(
    calls: Sequence[TimedCall], seconds_per_call: float, progress: ProgressCallback
) -> None:
    """Time every call for about `seconds_per_call`, spread over rounds, after a warm-up.

    A call that runs out of memory gets a `failure` and is not repeated. Slow calls are timed at
    least `MIN_CALLS` times.
    """
    steps = (NUM_ROUNDS + 1) * len(calls)
    for number, one in enumerate(calls):
        progress(number, steps, f"{one.name}, warming up")
        one.run_for(WARM_UP_FRACTION * seconds_per_call)
        one.seconds.clear()
    for step in range(len(calls), steps):
        one = calls[step % len(calls)]
        progress(step, steps, one.name)
        if len(one.seconds) < MIN_CALLS or sum(one.seconds) < seconds_per_call:
            one.run_for(seconds_per_call / NUM_ROUNDS)
    progress(steps, steps)


def is_out_of_memory(error: BaseException) -> bool:
    """True if the device or the machine ran out of memory; allocators word that differently."""
    message = str(error)
    return isinstance(error, MemoryError) or any(phrase in message for phrase in _OUT_OF_MEMORY)
