"""A run's directory: of one run, written by one process at a time, and begun."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twinlens.config_io import read_json, to_dict, write_json
from twinlens.distributed.world import World
from twinlens.errors import CheckpointError, ConfigError
from twinlens.files import made_directory, remove_partials
from twinlens.locks import HeldError, holding
from twinlens.text.loading import TOKENIZER_FILE, AnyTokenizer
from twinlens.train.checkpoint import list_checkpoints, remove_half_written
from twinlens.train.recipes.recipe import Recipe

RECIPE_FILE = "recipe.json"
LOCK_FILE = ".lock"


@contextmanager
def one_run(out: Path, world: World) -> Generator[None]:
    """Have the directory to this run alone; of its processes the leader holds it for all.

    A directory that is made for it goes again if nothing comes of the run.

    Raises:
        CheckpointError: Another run is under way there, or it cannot be made.
        DistributedError: The leader could not have it.
    """
    with ExitStack() as stack:
        with world.together():
            if world.leads:
                stack.enter_context(_held(out))
        yield


@contextmanager
def _held(out: Path) -> Generator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(made_directory(out))
            stack.enter_context(holding(out / LOCK_FILE))
        except HeldError as error:
            raise CheckpointError(
                f"{out}: got a run that is under way there ({error}), expected none: "
                "wait for its end, or choose another directory"
            ) from error
        except OSError as error:
            raise CheckpointError(f"{out}: cannot hold a run: {error.strerror}") from error
        yield


def check_out(out: Path, recipe: Recipe, resume: bool) -> None:
    """Make sure that `out` holds no other run than this.

    Raises:
        CheckpointError: It holds a run that is not to be resumed.
        ConfigError: It holds one of other settings; names each of them.
    """
    saved = out / RECIPE_FILE
    if not saved.exists():
        if list_checkpoints(out / "checkpoints"):
            raise CheckpointError(f"{out}: got checkpoints without {RECIPE_FILE}, expected neither")
        return
    if not resume:
        raise CheckpointError(f"{out}: already holds a run, expected a new directory or --resume")
    # How it is computed may change on the way: with another number of devices it has to.
    before = replace(read_json(Recipe, saved), compute=recipe.compute)
    if before != recipe:
        differences = differing(to_dict(recipe), to_dict(before))
        raise ConfigError(f"{saved}: is of another recipe: {differences}")


def differing(got: Mapping[str, Any], expected: Mapping[str, Any], prefix: str = "") -> str:
    """Every setting in which two recipes differ.

    Example:
        >>> differing({"steps": 9, "optim": {"lr": 0.1}}, {"steps": 4, "optim": {"lr": 0.2}})
        'steps: got 9, expected 4; optim.lr: got 0.1, expected 0.2'
    """
    return "; ".join(_differences(got, expected, prefix))


def _differences(got: Mapping[str, Any], expected: Mapping[str, Any], prefix: str) -> list[str]:
    found: list[str] = []
    for key in [*expected, *(key for key in got if key not in expected)]:
        new, old = got.get(key, _ABSENT), expected.get(key, _ABSENT)
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            tables = cast("tuple[Mapping[str, Any], Mapping[str, Any]]", (new, old))
            found += _differences(*tables, f"{prefix}{key}.")
        elif new != old:
            found.append(f"{prefix}{key}: got {_shown(new)}, expected {_shown(old)}")
    return found


_ABSENT = object()


def _shown(value: object) -> str:
    text = "nothing" if value is _ABSENT else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def begin(out: Path, recipe: Recipe, tokenizer: AnyTokenizer) -> None:
    """Make the run's directory ready: the recipe comes last, it says that a run is there."""
    try:
        for place in (out, out / "checkpoints", out / "model"):
            remove_partials(place)
        remove_half_written(out / "checkpoints")
        if recipe.model.tokenizer != "clip":
            tokenizer.save(out / TOKENIZER_FILE)
        write_json(recipe, out / RECIPE_FILE)
    except OSError as error:
        raise CheckpointError(f"{out}: cannot hold a run: {error.strerror or error}") from error
