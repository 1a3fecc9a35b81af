"""Samples that could not be used: each is written down, and too many of them end a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from twinlens.data.loader import BadSample
from twinlens.distributed import World
from twinlens.errors import CheckpointError, DataError
from twinlens.train.log import keep_lines

FEW = 1000
"""Samples that a share is taken of at least: the very first bad one is not all there is."""

SHOWN = 20


class BadSamples:
    """`bad-samples-00000.jsonl`, the list of one process, and the count of all."""

    def __init__(self, out: Path, first_position: int, max_share: float, world: World) -> None:
        """Go on after what was listed of the positions before `first_position`."""
        self.path = out / f"bad-samples-{world.rank:05d}.jsonl"
        self.max_share = max_share
        self.recent: list[str] = []
        listed = 0
        if self.path.exists():
            listed = keep_lines(self.path, lambda line: line["position"] < first_position)
        self.total = int(world.sums([listed])[0])

    def list(self, bad: Sequence[BadSample]) -> None:
        """Write down what this process met.

        Raises:
            CheckpointError: The list cannot be written.
        """
        if not bad:
            return
        self.recent = [*self.recent, *(one.reason for one in bad)][-SHOWN:]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(one)) + "\n" for one in bad)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written: {error.strerror}") from error

    def count(self, bad: int, seen: int) -> None:
        """Take in what all processes met together, of `seen` samples since the run began.

        Raises:
            DataError: They are more than `max_share` of those, or of `FEW` where it saw fewer.
        """
        self.total += bad
        if self.total > self.max_share * max(seen, FEW):
            raise DataError(
                f"training data: {self.total:,} of {seen:,} samples cannot be used, expected at "
                f"most max_bad_share={self.max_share:g}; all are in {self.path.parent}/bad-samples-"
                f"*.jsonl, the last here: {'; '.join(self.recent) or 'none'}"
            )
