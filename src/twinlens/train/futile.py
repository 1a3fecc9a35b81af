"""Training from which nothing can be learned: noticed, and said once."""

from __future__ import annotations

import logging

from torch import Tensor

from twinlens.data.loader import Batch
from twinlens.train.recipes.recipe import Recipe

ENOUGH = 10
"""Batches in a row from the first that are looked at: one may be so by chance."""

_log = logging.getLogger(__name__)


def doubts_about(recipe: Recipe) -> list[str]:
    """What in the settings keeps a run from learning, a line each.

    Example:
        >>> from twinlens.train.recipes.builtin import icons_demo
        >>> doubts_about(icons_demo())
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


class Doubts:
    """Looks at the first batches of a process, and says what it finds wrong with all of them."""

    def __init__(self, recipe: Recipe, first: int, processes: int = 1) -> None:
        """Say what the settings of a run that goes on at step `first` tell already."""
        self.lines = doubts_about(recipe)
        self._looked = 0
        self._last = min(ENOUGH, recipe.steps - first)
        self._alike = {"caption", "concept", "loss"}
        if recipe.adapt.head != "none":
            self._alike = {"class", "loss"}
        if recipe.batch_size == processes > 1:  # shares of one pair, of which each is alike
            self._alike = {"loss"}
        for line in self.lines:
            _log.warning("warning: %s", line)

    def look(self, batch: Batch, loss: float) -> None:
        """Take in a step's share of this process, and the loss over all of them."""
        if self._looked >= self._last:
            return
        self._looked += 1
        different = {
            "caption": _count(batch.tokens.flatten(0, 1)) > 1,
            "concept": _count(batch.concepts.flatten()) > 1,
            "class": batch.labels is None or _count(batch.labels) > 1,
            "loss": loss != 0,
        }
        self._alike -= {name for name, differ in different.items() if differ}
        if self._looked == self._last:
            self._say()

    def _say(self) -> None:
        for name in ("caption", "concept", "class"):
            if name in self._alike:
                self._add(f"got one {name} in each batch so far, expected several to tell apart")
                return
        if "loss" in self._alike:
            self._add("got a loss of exactly 0 at each step so far: there is nothing to learn")

    def _add(self, what: str) -> None:
        line = f"training data: {what}"
        self.lines.append(line)
        _log.warning("warning: %s", line)


def _count(rows: Tensor) -> int:
    return len(rows.unique(dim=0))
