"""Log of samples that could not be used; too many of them end a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from twinlens.data.left_out import NO_CAPTION, LeftOut, joined
from twinlens.data.loader import Batch
from twinlens.distributed.world import World
from twinlens.errors import CheckpointError, DataError, os_errors_as
from twinlens.train.log import filter_lines

MIN_SAMPLES_FOR_FRACTION = 1000
"""Minimum sample count for the fraction: one bad sample at the start does not end a run."""

MAX_SHOWN_REASONS = 20


class BadSampleLog:
    """Writes the bad samples of one process to `bad-samples-00000.jsonl` and counts those of all.

    Samples without a caption are common in web data: they are counted in `left_out` and not listed.
    """

    def __init__(
        self,
        out: Path,
        start_position: int,
        max_fraction: float,
        world: World,
        *,
        strict: bool = False,
    ) -> None:
        """Continue the list of the positions before `start_position`; later ones are dropped."""
        self.path = out / f"bad-samples-{world.rank:05d}.jsonl"
        self.max_fraction = 0.0 if strict else max_fraction
        self.strict = strict
        self.world = world
        self.recent_reasons: list[str] = []
        self.left_out = LeftOut()
        listed = 0
        if self.path.exists():
            listed = filter_lines(self.path, lambda line: line["position"] < start_position)
        self.total = int(world.all_reduce_sum([listed])[0])

    def record(self, batch: Batch) -> int:
        """Write the bad samples of a batch; returns their number.

        Raises:
            CheckpointError: The list cannot be written.
        """
        for sample in batch.bad_samples:
            self.left_out.add(sample.kind, sample.reason)
        for reason, where in batch.passed_over:
            self.left_out.add(reason, where)
        bad = [s for s in batch.bad_samples if self.strict or s.kind != NO_CAPTION]
        if not bad:
            return 0
        self.recent_reasons = [*self.recent_reasons, *(sample.reason for sample in bad)][
            -MAX_SHOWN_REASONS:
        ]
        with (
            os_errors_as(CheckpointError, self.path, "cannot be written"),
            self.path.open("a", encoding="utf-8") as file,
        ):
            file.writelines(json.dumps(asdict(sample)) + "\n" for sample in bad)
        return len(bad)

    def add_total(self, num_bad: int, samples_seen: int) -> None:
        """Add the bad samples of all processes in a step.

        Args:
            num_bad: Their number.
            samples_seen: Samples since the run began, good and bad.

        Raises:
            DataError: More than `max_fraction` of `samples_seen`, or of `MIN_SAMPLES_FOR_FRACTION`
                if that is larger, are bad.
        """
        self.total += num_bad
        if self.total > self.max_fraction * max(samples_seen, MIN_SAMPLES_FOR_FRACTION):
            expected = (
                "none with --strict"
                if self.strict
                else f"at most max_bad_fraction={self.max_fraction:g}"
            )
            raise DataError(
                f"training data: {self.total:,} of {samples_seen:,} samples cannot be used, "
                f"expected {expected}; all are in {self.path.parent}/bad-samples-*.jsonl, "
                f"the last here: {'; '.join(self.recent_reasons) or 'none'}"
            )

    def gather_left_out(self) -> LeftOut:
        """Samples replaced or passed over by all processes; all must call it."""
        return joined(self.world.all_gather(self.left_out))
