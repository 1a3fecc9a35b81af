"""The log of a run: `log.jsonl`, one line every few steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from twinlens.config import to_dict
from twinlens.errors import CheckpointError, DivergedError
from twinlens.files import write_whole
from twinlens.train.optim import learning_rate
from twinlens.train.recipes import Recipe

Reporter = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of a run's log, as it is written and as the command line shows it."""

    step: int
    steps: int
    samples_seen: int
    loss: float | None
    lr: float
    scale: float
    pairs_per_second: float
    seconds_left: float
    truncated_captions: int
    metrics: dict[str, float] | None = None


class Log:
    """`log.jsonl`, one line at a time, and the averages that go into it."""

    def __init__(self, path: Path, recipe: Recipe, first: int, report: Reporter | None) -> None:
        self.path = path
        self.recipe = recipe
        self.report = report
        self.metrics: dict[str, float] | None = None
        self.truncated = 0
        self._losses: list[Tensor] = []
        self._start = (first, time.perf_counter())
        self._last = self._start
        _keep_lines_until(path, first)

    def count(self, loss: Tensor, truncated: int) -> None:
        """Take in one step; the loss is only read when a line is written."""
        self._losses.append(loss)
        self.truncated += truncated

    def write(self, done: int, scale: float) -> None:
        """Append a line for the steps since the last."""
        loss = float(torch.stack(self._losses).mean()) if self._losses else None
        now, recipe = time.perf_counter(), self.recipe
        pace = (now - self._start[1]) / max(1, done - self._start[0])
        progress = Progress(
            step=done,
            steps=recipe.steps,
            samples_seen=done * recipe.batch_size,
            loss=loss,
            lr=learning_rate(done - 1, recipe.steps, recipe.optim),
            scale=scale,
            pairs_per_second=(done - self._last[0]) * recipe.batch_size / (now - self._last[1]),
            seconds_left=pace * (recipe.steps - done),
            truncated_captions=self.truncated,
            metrics=self.metrics,
        )
        self._append(progress)
        if self.report is not None:
            self.report(progress)
        self._losses, self.metrics, self._last = [], None, (done, now)

    def _append(self, progress: Progress) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(to_dict(progress)) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written: {error.strerror}") from error


def _keep_lines_until(path: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint: it will be logged again."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept: list[str] = []
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue  # the line that was being written when the run was killed
    try:
        write_whole("".join(f"{line}\n" for line in kept), path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error
