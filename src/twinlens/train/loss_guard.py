"""Skip steps whose loss or gradient would ruin the model; notice a run that diverged."""

from __future__ import annotations

import math

MAX_LOSS_RATIO = 3.0
"""A step is skipped if its loss is above this multiple of the running mean, plus 1."""

LOSS_EMA_DECAY = 0.98
"""Decay of the running mean of the loss, per step."""

MAX_CONSECUTIVE_SKIPS = 5
"""Steps skipped in a row after which the run stops: it does not recover by itself."""


class LossGuard:
    """Decides which steps are applied: not those whose loss or gradient would ruin the model."""

    def __init__(self) -> None:
        self.mean_loss: float | None = None
        self.skipped_steps = 0
        self.consecutive_skips = 0

    def should_step(self, loss: float, grad_norm: float) -> bool:
        """True if the step is to be taken; counts it if not.

        Example:
            >>> guard = LossGuard()
            >>> [guard.should_step(loss, 1.0) for loss in (5.5, 5.4, float("nan"), 40.0, 5.3)]
            [True, True, False, False, True]
            >>> guard.skipped_steps, guard.consecutive_skips
            (2, 0)
        """
        mean = loss if self.mean_loss is None else self.mean_loss
        if (
            not (math.isfinite(loss) and math.isfinite(grad_norm))
            or loss > MAX_LOSS_RATIO * mean + 1
        ):
            self.skipped_steps += 1
            self.consecutive_skips += 1
            return False
        self.consecutive_skips = 0
        self.mean_loss = LOSS_EMA_DECAY * mean + (1 - LOSS_EMA_DECAY) * loss
        return True

    @property
    def has_diverged(self) -> bool:
        """True if so many steps were skipped in a row that going on makes no sense."""
        return self.consecutive_skips >= MAX_CONSECUTIVE_SKIPS
