"""Samples that could not be used: each is written down, and too many of them end a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from twinlens.data.left_out import NO_CAPTION, LeftOut, joined
from twinlens.data.loader import Batch
from twinlens.distributed.world import World
from twinlens.errors import CheckpointError, DataError
from twinlens.train.log import keep_lines

FEW = 1000
"""Samples that a share is taken of at least: the very first bad one is not all there is."""

SHOWN = 20


class BadSamples:
    """`bad-samples-00000.jsonl`, the list of one process, and the count of all.

    Samples without a caption are no fault of the data, and many where it is as the web is: they
    are counted in `left_out` and not listed.
    """

    def __init__(
        self,
        out: Path,
        first_position: int,
        max_share: float,
        world: World,
        *,
        strict: bool = False,
    ) -> None:
        """Go on after what was listed of the positions before `first_position`."""
        self.path = out / f"bad-samples-{world.rank:05d}.jsonl"
        self.max_share = 0.0 if strict else max_share
        self.strict = strict
        self.world = world
        self.recent: list[str] = []
        self.left_out = LeftOut()
        listed = 0
        if self.path.exists():
            listed = keep_lines(self.path, lambda line: line["position"] < first_position)
        self.total = int(world.sums([listed])[0])

    def list(self, batch: Batch) -> int:
        """Write down what this process met; how many samples count as bad.

        Raises:
            CheckpointError: The list cannot be written.
        """
        for one in batch.bad:
            self.left_out.add(one.kind, one.reason)
        for reason, where in batch.passed_over:
            self.left_out.add(reason, where)
        bad = [one for one in batch.bad if self.strict or one.kind != NO_CAPTION]
        if not bad:
            return 0
        self.recent = [*self.recent, *(one.reason for one in bad)][-SHOWN:]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(one)) + "\n" for one in bad)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written: {error.strerror}") from error
        return len(bad)

    def count(self, bad: int, seen: int) -> None:
        """Take in what all processes met together, of `seen` samples since the run began.

        Raises:
            DataError: They are more than `max_share` of those, or of `FEW` where it saw fewer.
        """
        self.total += bad
        if self.total > self.max_share * max(seen, FEW):
            expected = (
                "none with --strict"
                if self.strict
                else (f"at most max_bad_share={self.max_share:g}")
            )
            raise DataError(
                f"training data: {self.total:,} of {seen:,} samples cannot be used, expected "
                f"{expected}; all are in {self.path.parent}/bad-samples-*.jsonl, "
                f"the last here: {'; '.join(self.recent) or 'none'}"
            )

    def of_all(self) -> LeftOut:
        """What all processes replaced or passed over: each has to ask."""
        return joined(self.world.gathered(self.left_out))
