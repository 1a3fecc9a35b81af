"""Experiment trackers: TensorBoard, Weights & Biases, Trackio.

`log.jsonl` is always written; a tracker shows the same entries elsewhere. A tracker starts with the
first entry, so that a run that is refused leaves nothing behind. Trackers are configured by their
own environment variables, such as `WANDB_MODE=offline` and `WANDB_PROJECT`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from twinlens.config_io import to_dict
from twinlens.errors import MissingExtraError, require_known
from twinlens.train.log import LogEntry
from twinlens.train.recipes.recipe import Recipe

PROJECT_NAME = "twinlens"


class Tracker(Protocol):
    """Receiver of a run's metrics."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of a step."""
        ...

    def close(self) -> None:
        """Write what is buffered and end the tracker's run."""
        ...


class TensorBoardTracker:
    """Event files in the run's directory: `tensorboard --logdir RUN/tensorboard`."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self._module = _import_module("torch.utils.tensorboard", "tensorboard", "train")
        self._out = out
        self._recipe = recipe
        self._first_step: int | None = None

    @cached_property
    def _writer(self) -> Any:
        # Hides events that a killed run wrote after its last checkpoint.
        directory = str(self._out / "tensorboard")
        writer = self._module.SummaryWriter(log_dir=directory, purge_step=self._first_step)
        writer.add_text("recipe", f"```\n{to_dict(self._recipe)}\n```")
        return writer

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one event for each metric."""
        self._first_step = step if self._first_step is None else self._first_step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._first_step is not None:
            self._writer.close()


class _HostedTracker:
    """Base of trackers whose module has `init`, `log` and `finish`."""

    package = ""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self._module = _import_module(self.package, self.package, self.package)
        self._out = out
        self._recipe = recipe
        self._is_started = False

    def run_arguments(self) -> dict[str, str]:
        """Arguments of `init` that name the run, the same for a resumed run."""
        raise NotImplementedError

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics; the first call starts the run."""
        if not self._is_started:
            self._is_started = True
            config = to_dict(self._recipe)
            with redirect_stdout(sys.stderr):  # it prints a greeting; stdout is for results
                self._module.init(
                    project=PROJECT_NAME, config=config, resume="allow", **self.run_arguments()
                )
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run and wait for uploads."""
        if self._is_started:
            with redirect_stdout(sys.stderr):
                self._module.finish()


class WandbTracker(_HostedTracker):
    """Weights & Biases."""

    package = "wandb"

    def run_arguments(self) -> dict[str, str]:
        """Name, id and directory; names need not be unique in Weights & Biases."""
        name = self._out.resolve().name
        return {"name": name, "id": _run_id(self._out), "dir": str(self._out)}


class TrackioTracker(_HostedTracker):
    """Trackio, which stores metrics on this machine unless a Space is configured."""

    package = "trackio"

    def run_arguments(self) -> dict[str, str]:
        """The name is the id."""
        return {"name": _run_id(self._out)}


TRACKERS: dict[str, Callable[[Path, Recipe], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
}


def open_trackers(names: Sequence[str], out: Path, recipe: Recipe) -> list[Tracker]:
    """Open trackers by name for the run in `out`; only on one process of a run.

    Raises:
        UnknownNameError: There is no tracker of that name.
        MissingExtraError: Its package is not installed.
    """
    for name in names:
        require_known("tracker", name, TRACKERS)
    return [TRACKERS[name](out, recipe) for name in dict.fromkeys(names)]


def scalar_metrics(entry: LogEntry) -> dict[str, float]:
    """Metrics of a log entry by name; those of evaluators have the prefix `val/`."""
    fields = to_dict(entry)
    metrics: dict[str, float] = fields.pop("metrics") or {}
    for name in ("step", "steps", "began", "left_out", "warnings"):
        fields.pop(name)
    values = {name: float(value) for name, value in fields.items() if value is not None}
    return values | {f"val/{name}": value for name, value in metrics.items()}


def _run_id(out: Path) -> str:
    """An id from the last two parts of the directory's path, the same for a resumed run."""
    path = out.resolve()
    return "-".join(path.parts[-2:]).strip("/") or PROJECT_NAME


def _import_module(module: str, package: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:  # it is installed and fails for another reason
            raise
        raise MissingExtraError(package, extra) from error
