"""The training log `log.jsonl`: one line every few steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from twinlens.config_io import to_dict
from twinlens.errors import CheckpointError, os_errors_as
from twinlens.files import atomic_write_text
from twinlens.inference.device import peak_memory
from twinlens.train.learnability import LearnabilityCheck
from twinlens.train.optim import learning_rate
from twinlens.train.planning.devices import GB
from twinlens.train.planning.flops import DEFAULT_CAPTION_TOKENS, pair_cost
from twinlens.train.recipes.recipe import Recipe

LogCallback = Callable[["LogEntry"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of the training log, as it is written and as the command line shows it.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        began: The step that this process started at; 0 unless the run was resumed.
        samples_seen: Pairs seen.
        loss: Mean loss since the last line, without skipped steps.
        lr: Learning rate of the last step.
        scale: The exponentiated logit scale.
        grad_norm: Mean norm of the gradient before clipping, since the last line.
        pairs_per_second: Since the last line, including evaluations and checkpoints.
        mfu: Model FLOPs utilisation: the fraction of the devices' peak that the model's own matrix
            products take; None if no peak is known.
        data_wait: Fraction of the time since the last line spent waiting for batches.
        memory_gb: Peak memory of this process so far in 10^9 bytes: on the device if it has
            memory of its own, else of the process.
        seconds_left: Estimate from the speed of this process so far.
        truncated_captions: Captions truncated since this process began.
        bad_samples: Samples replaced since this process began.
        skipped_steps: Steps without an update since this process began.
        metrics: Results of the evaluators at this step.
        left_out: Samples replaced and metadata passed over since the run began, by reason, as
            `LeftOut.as_json` returns them; only before a checkpoint.
        warnings: Reasons found since the last line why the run may not learn.
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
class _Window:
    """Values that are averaged from one line to the next."""

    losses: list[float] = field(default_factory=list[float])
    grad_norms: list[float] = field(default_factory=list[float])
    caption_tokens: list[float] = field(default_factory=list)
    wait_seconds: float = 0.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


class TrainingLog:
    """Averages the steps and appends lines to `log.jsonl`."""

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        start_step: int,
        report: LogCallback | None,
        *,
        device: torch.device | None = None,
        peak_flops: float = 0.0,
        world_size: int = 1,
    ) -> None:
        """Continue the lines up to step `start_step`; later ones are dropped.

        Args:
            path: The log file.
            recipe: The run's recipe.
            start_step: The step that this process starts at.
            report: Called with each entry.
            device: Device whose peak memory is logged; the CPU if None.
            peak_flops: Peak FLOPS of all devices together, for the utilisation; 0 if unknown.
            world_size: Number of processes.
        """
        self.path = path
        self.recipe = recipe
        self.report = report
        self.device = device or torch.device("cpu")
        self.peak_flops = peak_flops
        self.metrics: dict[str, float] | None = None
        self.left_out: dict[str, Any] | None = None
        self.learnability = LearnabilityCheck(recipe, start_step, world_size)
        self._num_reported_warnings = 0
        self.truncated_captions = self.bad_samples = self.skipped_steps = 0
        self._window = _Window()
        self._start = (start_step, time.perf_counter())
        self._last_write = self._start
        filter_lines(path, lambda line: line["step"] <= start_step)

    def add_step(
        self,
        loss: float,
        num_truncated: int,
        *,
        grad_norm: float | None = None,
        wait_seconds: float = 0.0,
        caption_tokens: float = DEFAULT_CAPTION_TOKENS,
        num_bad: int = 0,
        is_skipped: bool = False,
    ) -> None:
        """Add one step.

        Args:
            loss: Loss of the step over all devices.
            num_truncated: Captions truncated.
            grad_norm: Norm of the gradient over all devices, before clipping.
            wait_seconds: Seconds that the step waited for its batch.
            caption_tokens: Mean caption length, including start and end tokens.
            num_bad: Samples replaced.
            is_skipped: True if the step made no update; its loss and norm then do not count.
        """
        self.truncated_captions += num_truncated
        self.bad_samples += num_bad
        self.skipped_steps += is_skipped
        self._window.wait_seconds += wait_seconds
        self._window.caption_tokens.append(caption_tokens)
        if not is_skipped:
            self._window.losses.append(loss)
            self._window.grad_norms += [] if grad_norm is None else [grad_norm]

    def write(self, step: int, scale: float) -> None:
        """Append a line for the steps since the last one; none if all were skipped.

        Raises:
            CheckpointError: The line cannot be written.
        """
        if not self._window.losses:
            return
        now = time.perf_counter()
        entry = self._make_entry(step, scale, now)
        self._append(entry)
        if self.report is not None:
            self.report(entry)
        self._window, self.metrics, self._last_write = _Window(), None, (step, now)
        self._num_reported_warnings = len(self.learnability.warnings)

    def _make_entry(self, step: int, scale: float, now: float) -> LogEntry:
        recipe, window = self.recipe, self._window
        seconds = now - self._last_write[1]
        seconds_per_step = (now - self._start[1]) / max(1, step - self._start[0])
        pairs_per_second = (step - self._last_write[0]) * recipe.batch_size / seconds
        return LogEntry(
            step=step,
            steps=recipe.steps,
            began=self._start[0],
            samples_seen=step * recipe.batch_size,
            loss=_mean(window.losses),
            lr=learning_rate(step - 1, recipe.steps, recipe.optim),
            scale=scale,
            grad_norm=_mean(window.grad_norms) if window.grad_norms else None,
            pairs_per_second=pairs_per_second,
            mfu=self._model_flops_utilisation(pairs_per_second),
            data_wait=min(1.0, window.wait_seconds / seconds),
            memory_gb=peak_memory(self.device) / GB,
            seconds_left=seconds_per_step * (recipe.steps - step),
            truncated_captions=self.truncated_captions,
            bad_samples=self.bad_samples,
            skipped_steps=self.skipped_steps,
            metrics=self.metrics,
            left_out=self.left_out,
            warnings=self.learnability.warnings[self._num_reported_warnings :] or None,
        )

    def _model_flops_utilisation(self, pairs_per_second: float) -> float | None:
        if not self.peak_flops:
            return None
        tokens = _mean(self._window.caption_tokens)
        return pair_cost(self.recipe, tokens).training * pairs_per_second / self.peak_flops

    def _append(self, entry: LogEntry) -> None:
        with (
            os_errors_as(CheckpointError, self.path, "cannot be written"),
            self.path.open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(to_dict(entry)) + "\n")


def filter_lines(path: Path, predicate: Callable[[dict[str, Any]], bool]) -> int:
    """Drop the JSON lines that a killed run wrote after its last checkpoint, and count the rest.

    Args:
        path: A file of JSON lines.
        predicate: True for lines that stay.

    Raises:
        CheckpointError: The file cannot be written.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept: list[str] = []
    for line in lines:
        try:
            if predicate(json.loads(line)):
                kept.append(line)
        except ValueError:
            continue  # a partial line of a killed run
    with os_errors_as(CheckpointError, path, "cannot be written"):
        atomic_write_text("".join(f"{line}\n" for line in kept), path)
    return len(kept)
