"""Warnings about training runs that cannot learn, from their settings and first batches."""

from __future__ import annotations

import logging

from torch import Tensor

from twinlens.data.loader import Batch
from twinlens.train.recipes.recipe import Recipe

NUM_CHECKED_BATCHES = 10
"""Number of first batches that are checked: a single one may be constant by chance."""

_log = logging.getLogger(__name__)


def find_recipe_warnings(recipe: Recipe) -> list[str]:
    """List the settings that keep a run from learning, one line each.

    Example:
        >>> from twinlens.train.recipes.builtin import icons_demo
        >>> find_recipe_warnings(icons_demo())
        []
    """
    found: list[str] = []
    warmup = recipe.optim.warmup_steps
    if warmup >= recipe.steps:
        found.append(
            f"optim.warmup_steps: got {warmup:,}, expected fewer than the run's {recipe.steps:,} "
            "steps: the learning rate never falls again, and may never come to optim.lr"
        )
    adapt = recipe.adapt
    if adapt.head == "none" and adapt.unlocked_image_layers == adapt.unlocked_text_layers == 0:
        found.append(
            "adapt: got both towers locked, expected layers to train: only the temperature learns"
        )
    return found


class LearnabilityCheck:
    """Checks the first batches of a process and warns about what is constant in all of them."""

    def __init__(self, recipe: Recipe, start_step: int, world_size: int = 1) -> None:
        """Warn about the settings; batches are counted from step `start_step`."""
        self.warnings = find_recipe_warnings(recipe)
        self._batches_seen = 0
        self._num_batches = min(NUM_CHECKED_BATCHES, recipe.steps - start_step)
        self._constant = {"caption", "concept", "loss"}
        if not recipe.needs_captions:
            self._constant = {"class", "loss"}
        if recipe.batch_size == world_size > 1:  # one pair a process
            self._constant = {"loss"}
        for line in self.warnings:
            _log.warning("warning: %s", line)

    def observe(self, batch: Batch, loss: float) -> None:
        """Check this process's batch of a step and the loss over all processes."""
        if self._batches_seen >= self._num_batches:
            return
        self._batches_seen += 1
        different = {
            "caption": _count_unique(batch.tokens.flatten(0, 1)) > 1,
            "concept": _count_unique(batch.concept_ids.flatten()) > 1,
            "class": batch.labels is None or _count_unique(batch.labels) > 1,
            "loss": loss != 0,
        }
        self._constant -= {name for name, differ in different.items() if differ}
        if self._batches_seen == self._num_batches:
            self._report()

    def _report(self) -> None:
        for name in ("caption", "concept", "class"):
            if name in self._constant:
                self._warn(f"got one {name} in each batch so far, expected several to tell apart")
                return
        if "loss" in self._constant:
            self._warn("got a loss of exactly 0 at each step so far: there is nothing to learn")

    def _warn(self, message: str) -> None:
        line = f"training data: {message}"
        self.warnings.append(line)
        _log.warning("warning: %s", line)


def _count_unique(rows: Tensor) -> int:
    return len(rows.unique(dim=0))
