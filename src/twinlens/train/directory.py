"""The directory of a run: locking it, checking it and preparing it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinlens.config_io import flatten, read_dataclass, to_dict, write_dataclass
from twinlens.distributed.world import World
from twinlens.errors import CheckpointError, ConfigError, os_errors_as
from twinlens.files import ensure_directory, remove_partial_files
from twinlens.locks import LockHeldError, file_lock
from twinlens.text.loading import TOKENIZER_FILE, AnyTokenizer
from twinlens.train.checkpoint import list_checkpoints, remove_partial_checkpoints
from twinlens.train.recipes.recipe import Recipe

RECIPE_FILE = "recipe.json"
LOCK_FILE = ".lock"


@contextmanager
def lock_run_directory(out: Path, world: World) -> Generator[None]:
    """Lock the directory for this run; the main process holds the lock for all.

    A directory that is made for the run and stays empty is removed again.

    Raises:
        CheckpointError: Another run is running there, or it cannot be made.
        DistributedError: The main process could not lock it.
    """
    with ExitStack() as stack:
        with world.propagate_errors():
            if world.is_main:
                stack.enter_context(_hold_directory(out))
        yield


@contextmanager
def _hold_directory(out: Path) -> Generator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(ensure_directory(out))
            stack.enter_context(file_lock(out / LOCK_FILE))
        except LockHeldError as error:
            raise CheckpointError(
                f"{out}: got a run that is under way there ({error}), expected none: "
                "wait for its end, or choose another directory"
            ) from error
        except OSError as error:
            raise CheckpointError(f"{out}: cannot hold a run: {error.strerror}") from error
        yield


def check_run_directory(out: Path, recipe: Recipe, resume: bool) -> None:
    """Make sure that `out` has no run but this one.

    Raises:
        CheckpointError: It has a run, and `resume` is not set.
        ConfigError: It has a run of other settings; the message names each of them.
    """
    saved = out / RECIPE_FILE
    if not saved.exists():
        if list_checkpoints(out / "checkpoints"):
            raise CheckpointError(f"{out}: got checkpoints without {RECIPE_FILE}, expected neither")
        return
    if not resume:
        raise CheckpointError(f"{out}: already holds a run, expected a new directory or --resume")
    # `compute` may change within a run: with another number of devices it has to.
    before = replace(read_dataclass(Recipe, saved), compute=recipe.compute)
    if before != recipe:
        differences = format_differences(to_dict(recipe), to_dict(before))
        raise ConfigError(f"{saved}: is of another recipe: {differences}")


def format_differences(got: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """List every setting in which two recipes differ.

    Example:
        >>> got = {"steps": 9, "optim": {"lr": 0.1}}
        >>> format_differences(got, {"steps": 4, "optim": {"lr": 0.2}})
        'steps: got 9, expected 4; optim.lr: got 0.1, expected 0.2'
    """
    new, old = flatten(got), flatten(expected)
    pairs = {name: (new.get(name, _MISSING), old.get(name, _MISSING)) for name in old | new}
    return "; ".join(
        f"{name}: got {_format_value(value)}, expected {_format_value(before)}"
        for name, (value, before) in pairs.items()
        if value != before
    )


_MISSING = object()


def _format_value(value: object) -> str:
    text = "nothing" if value is _MISSING else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def prepare_run_directory(out: Path, recipe: Recipe, tokenizer: AnyTokenizer) -> None:
    """Remove partial files and write tokenizer and recipe; the recipe last, as it marks a run."""
    with os_errors_as(CheckpointError, out, "cannot hold a run"):
        for directory in (out, out / "checkpoints", out / "model"):
            remove_partial_files(directory)
        remove_partial_checkpoints(out / "checkpoints")
        if recipe.model.tokenizer != "clip":
            tokenizer.save(out / TOKENIZER_FILE)
        write_dataclass(recipe, out / RECIPE_FILE)
