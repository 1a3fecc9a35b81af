"""Whether a machine was quiet while speed was measured: what others took, how far repeats agree."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from twinlens.hardware import bound_cores, cores_busy

OTHERS = 0.25
"""Cores that other work may take beyond those that the measured threads leave free."""

SPREAD = 0.15
"""How far apart the quartiles of a call's times may lie, by their median; of the usual rate."""

_SHORTEST = 0.5
"""Seconds below which the system's count of time, in hundredths, says too little."""


class Quartiles(Protocol):
    """A rate by the median call, and by the quartiles."""

    @property
    def per_second(self) -> float:
        """By the median."""
        ...

    @property
    def low(self) -> float:
        """By the slower quartile."""
        ...

    @property
    def high(self) -> float:
        """By the faster quartile."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What else went on while speed was measured.

    Attributes:
        others: Cores that other processes, and other machines on the same processor, kept busy on
            average; None where the system does not say or too little time went by.
        spread: Distance of the quartiles of a call's times by their median: of the median rate.
        reasons: Why the figures are not this machine's, a sentence each; none where they are.
    """

    others: float | None
    spread: float
    reasons: tuple[str, ...]


class Watch:
    """Sees from its making on what others do on the cores that are ours to use."""

    def __init__(self) -> None:
        self._began, self._busy, self._ours = time.perf_counter(), cores_busy(), _our_seconds()
        self._load = None if self._busy is not None else _load()

    def others(self) -> float | None:
        """Cores that others kept busy so far; where only the load is known, that at the start."""
        elapsed, busy = time.perf_counter() - self._began, cores_busy()
        if busy is None or self._busy is None:
            return self._load
        if elapsed < _SHORTEST:
            return None
        return max(0.0, busy - self._busy - (_our_seconds() - self._ours)) / elapsed


def disturbance(others: float | None, threads: int, rates: Sequence[Quartiles]) -> Disturbance:
    """Hold what was seen against the limits.

    Args:
        others: Cores that others kept busy.
        threads: Of ours that worked at a time.
        rates: What was measured.
    """
    cores = bound_cores()
    free = max(0, cores - threads)
    spread = median([(1 / one.low - 1 / one.high) * one.per_second for one in rates] or [0.0])
    reasons: list[str] = []
    if others is not None and others > free + OTHERS:
        reasons.append(
            f"other work kept {others:.1f} of {cores} cores busy, "
            f"expected at most {free + OTHERS:g} beside {threads} threads"
        )
    if spread > SPREAD:
        reasons.append(
            f"repeats of one call differed by {spread:.0%} (between their quartiles), "
            f"expected at most {SPREAD:.0%}"
        )
    return Disturbance(others=others, spread=spread, reasons=tuple(reasons))


def _our_seconds() -> float:
    """Of a core, that this process and those it started and saw end have used."""
    return sum(os.times()[:4])


def _load() -> float | None:
    """Processes that want a core, on average over the last minute."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
