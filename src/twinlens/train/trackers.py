"""A run's log to experiment trackers: TensorBoard, Weights & Biases, Trackio.

`log.jsonl` is always written; a tracker shows the same lines elsewhere. A tracker is begun with
its first line, so that a run that is refused leaves nothing behind. What is beyond a name is told
to each tracker in its own way, by its own environment: `WANDB_MODE=offline` and `WANDB_PROJECT`,
say.
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
from twinlens.errors import MissingExtraError, UnknownNameError
from twinlens.train.log import Progress
from twinlens.train.recipes.recipe import Recipe

PROJECT = "twinlens"


class Tracker(Protocol):
    """Where a run's figures also go."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take in the figures of a step."""
        ...

    def close(self) -> None:
        """Bring all figures to where they belong."""
        ...


class TensorBoard:
    """Event files in the run's directory: `tensorboard --logdir RUN/tensorboard`."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self._module = _imported("torch.utils.tensorboard", "tensorboard", "train")
        self._out = out
        self._recipe = recipe
        self._first: int | None = None

    @cached_property
    def _writer(self) -> Any:
        # What a killed run wrote after its last checkpoint is not shown.
        directory = str(self._out / "tensorboard")
        writer = self._module.SummaryWriter(log_dir=directory, purge_step=self._first)
        writer.add_text("recipe", f"```\n{to_dict(self._recipe)}\n```")
        return writer

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one event a figure."""
        self._first = step if self._first is None else self._first
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        if self._first is not None:
            self._writer.close()


class _Hosted:
    """What Weights & Biases and Trackio share: `init`, `log` and `finish` of a module."""

    package = ""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self._module = _imported(self.package, self.package, self.package)
        self._out = out
        self._recipe = recipe
        self._began = False

    def names(self) -> dict[str, str]:
        """What the run is called, so that its next process goes on under the same name."""
        raise NotImplementedError

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log, beginning the run with the first line."""
        if not self._began:
            self._began = True
            config = to_dict(self._recipe)
            with redirect_stdout(sys.stderr):  # it greets; our stdout is for answers
                self._module.init(project=PROJECT, config=config, resume="allow", **self.names())
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        """Wait for what is under way."""
        if self._began:
            with redirect_stdout(sys.stderr):
                self._module.finish()


class WandB(_Hosted):
    """Weights & Biases."""

    package = "wandb"

    def names(self) -> dict[str, str]:
        """An id beside the name, which need not be unique there."""
        name = self._out.resolve().name
        return {"name": name, "id": _run_id(self._out), "dir": str(self._out)}


class Trackio(_Hosted):
    """Trackio, which keeps its figures on this machine unless it is told a Space."""

    package = "trackio"

    def names(self) -> dict[str, str]:
        """The name is the id."""
        return {"name": _run_id(self._out)}


TRACKERS: dict[str, Callable[[Path, Recipe], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}


def open_trackers(names: Sequence[str], out: Path, recipe: Recipe) -> list[Tracker]:
    """Trackers by name for the run in `out`; on one process of a run only.

    Raises:
        UnknownNameError: There is no tracker of that name.
        MissingExtraError: Its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UnknownNameError("tracker", name, TRACKERS)
    return [TRACKERS[name](out, recipe) for name in dict.fromkeys(names)]


def figures(progress: Progress) -> dict[str, float]:
    """A line of the log as figures by name: those of evaluations stand below `val/`."""
    fields = to_dict(progress)
    metrics: dict[str, float] = fields.pop("metrics") or {}
    for name in ("step", "steps", "began", "left_out", "warnings"):
        fields.pop(name)
    values = {name: float(value) for name, value in fields.items() if value is not None}
    return values | {f"val/{name}": value for name, value in metrics.items()}


def _run_id(out: Path) -> str:
    """The same for each process of a run, and another for another directory."""
    path = out.resolve()
    return "-".join(path.parts[-2:]).strip("/") or PROJECT


def _imported(module: str, package: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:  # it is there, and cannot be used for another reason
            raise
        raise MissingExtraError(package, extra) from error
