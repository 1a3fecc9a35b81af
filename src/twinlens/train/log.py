"""The log of a run: `log.jsonl`, one line every few steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from twinlens.config_io import to_dict
from twinlens.errors import CheckpointError
from twinlens.files import write_whole
from twinlens.model.device import peak_memory
from twinlens.train.futile import Doubts
from twinlens.train.optim import learning_rate
from twinlens.train.planning.devices import GB
from twinlens.train.planning.flops import CAPTION_TOKENS, pair_cost
from twinlens.train.recipes.recipe import Recipe

Reporter = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of a run's log, as it is written and as the command line shows it.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        began: The step that this process began at: 0, or where it went on from.
        samples_seen: Pairs seen.
        loss: Mean of the steps since the last line that were not skipped.
        lr: Learning rate of the last step.
        scale: Exponentiated.
        grad_norm: Mean norm of the gradient since the last line, before it is clipped.
        pairs_per_second: Since the last line, with everything that came between.
        mfu: Model FLOPs utilisation: the share of the devices' peak that the model's own matrix
            products take; None where no peak is known.
        data_wait: Share of the time since the last line in which a step waited for its batch.
        memory_gb: Most that this process held so far, in 10^9 bytes: the device's where it has
            memory of its own, else the process's.
        seconds_left: At the pace of this process so far.
        truncated_captions: Captions cut since this process began.
        bad_samples: Samples replaced since this process began.
        skipped_steps: Steps without an update since this process began.
        metrics: What was measured at this step.
        left_out: Samples replaced and metadata passed over since the run began, by reason, as
            `LeftOut.as_json` gives them; where a checkpoint follows.
        warnings: What was noticed since the last line that keeps the run from learning.
    """

    step: int
    steps: int
    began: int = 0
    samples_seen: int
    loss: float
    lr: float
    scale: float
    grad_norm: float | None = None
    pairs_per_second: float
    mfu: float | None = None
    data_wait: float = 0.0
    memory_gb: float = 0.0
    seconds_left: float
    truncated_captions: int
    bad_samples: int = 0
    skipped_steps: int = 0
    metrics: dict[str, float] | None = None
    left_out: dict[str, Any] | None = None
    warnings: list[str] | None = None


@dataclass(slots=True)
class _Stretch:
    """What is summed up from one line to the next."""

    losses: list[float] = field(default_factory=list[float])
    grad_norms: list[float] = field(default_factory=list[float])
    tokens: list[float] = field(default_factory=list)
    waited: float = 0.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


class Log:
    """`log.jsonl`, one line at a time, and the averages that go into it."""

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        first: int,
        report: Reporter | None,
        *,
        device: torch.device | None = None,
        peak: float = 0.0,
        processes: int = 1,
    ) -> None:
        """Keep the lines up to step `first`, and go on after them.

        Args:
            path: The file.
            recipe: The run's.
            first: The step that this process begins at.
            report: Called with each line.
            device: Whose memory is told; the processor's if None.
            peak: Operations a second that all devices of the run reach at most together, for the
                utilisation; 0 where it is not known.
            processes: How many train together.
        """
        self.path = path
        self.recipe = recipe
        self.report = report
        self.device = device or torch.device("cpu")
        self.peak = peak
        self.metrics: dict[str, float] | None = None
        self.left_out: dict[str, Any] | None = None
        self.doubts = Doubts(recipe, first, processes)
        self._told = 0
        self.truncated = self.bad = self.skipped = 0
        self._since = _Stretch()
        self._start = (first, time.perf_counter())
        self._last = self._start
        keep_lines(path, lambda line: line["step"] <= first)

    def count(
        self,
        loss: float,
        truncated: int,
        *,
        grad_norm: float | None = None,
        waited: float = 0.0,
        tokens: float = CAPTION_TOKENS,
        bad: int = 0,
        skipped: bool = False,
    ) -> None:
        """Take in one step.

        Args:
            loss: Of the step, over all devices.
            truncated: Captions cut.
            grad_norm: Norm of the gradient, over all devices, before it was clipped.
            waited: Seconds that the step waited for its batch.
            tokens: Mean length of its captions, start and end counted.
            bad: Samples replaced.
            skipped: Whether it was left without an update; then its loss and norm do not count.
        """
        self.truncated += truncated
        self.bad += bad
        self.skipped += skipped
        self._since.waited += waited
        self._since.tokens.append(tokens)
        if not skipped:
            self._since.losses.append(loss)
            self._since.grad_norms += [] if grad_norm is None else [grad_norm]

    def write(self, done: int, scale: float) -> None:
        """Append a line for the steps since the last; none where all of them were skipped.

        Raises:
            CheckpointError: The line cannot be written.
        """
        if not self._since.losses:
            return
        now = time.perf_counter()
        progress = self._progress(done, scale, now)
        self._append(progress)
        if self.report is not None:
            self.report(progress)
        self._since, self.metrics, self._last = _Stretch(), None, (done, now)
        self._told = len(self.doubts.lines)

    def _progress(self, done: int, scale: float, now: float) -> Progress:
        recipe, since = self.recipe, self._since
        took = now - self._last[1]
        pace = (now - self._start[1]) / max(1, done - self._start[0])
        pairs_per_second = (done - self._last[0]) * recipe.batch_size / took
        return Progress(
            step=done,
            steps=recipe.steps,
            began=self._start[0],
            samples_seen=done * recipe.batch_size,
            loss=_mean(since.losses),
            lr=learning_rate(done - 1, recipe.steps, recipe.optim),
            scale=scale,
            grad_norm=_mean(since.grad_norms) if since.grad_norms else None,
            pairs_per_second=pairs_per_second,
            mfu=self._utilisation(pairs_per_second),
            data_wait=min(1.0, since.waited / took),
            memory_gb=peak_memory(self.device) / GB,
            seconds_left=pace * (recipe.steps - done),
            truncated_captions=self.truncated,
            bad_samples=self.bad,
            skipped_steps=self.skipped,
            metrics=self.metrics,
            left_out=self.left_out,
            warnings=self.doubts.lines[self._told :] or None,
        )

    def _utilisation(self, pairs_per_second: float) -> float | None:
        if not self.peak:
            return None
        tokens = _mean(self._since.tokens)
        return pair_cost(self.recipe, tokens).training * pairs_per_second / self.peak

    def _append(self, progress: Progress) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(to_dict(progress)) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written: {error.strerror}") from error


def keep_lines(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> int:
    """Drop what a killed run wrote after its last checkpoint: it will be written again.

    Returns:
        How many lines are left.

    Raises:
        CheckpointError: The file cannot be written.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept: list[str] = []
    for line in lines:
        try:
            if wanted(json.loads(line)):
                kept.append(line)
        except ValueError:
            continue  # the line that was being written when the run was killed
    try:
        write_whole("".join(f"{line}\n" for line in kept), path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error
    return len(kept)
