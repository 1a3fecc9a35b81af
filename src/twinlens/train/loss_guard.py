"""What may end a run early: a loss that explodes, and a signal to stop."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType, TracebackType

from twinlens.signals import Terminated

EXPLODED = 3.0
"""A loss of more than so many times the running mean, and 1 above that, is no step to take."""

MEMORY = 0.98
"""Of the running mean, a step."""

MOST_IN_A_ROW = 5
"""Steps skipped one after the other before the run stops: it does not come back by itself."""


class LossGuard:
    """Decides which steps are taken: not those whose loss or gradient would ruin the model."""

    def __init__(self) -> None:
        self.mean: float | None = None
        self.skipped = 0
        self.in_a_row = 0

    def accepts(self, loss: float, norm: float) -> bool:
        """Whether to take a step; counts it if not.

        Example:
            >>> guard = LossGuard()
            >>> [guard.accepts(loss, 1.0) for loss in (5.5, 5.4, float("nan"), 40.0, 5.3)]
            [True, True, False, False, True]
            >>> guard.skipped, guard.in_a_row
            (2, 0)
        """
        mean = loss if self.mean is None else self.mean
        if not (math.isfinite(loss) and math.isfinite(norm)) or loss > EXPLODED * mean + 1:
            self.skipped += 1
            self.in_a_row += 1
            return False
        self.in_a_row = 0
        self.mean = MEMORY * mean + (1 - MEMORY) * loss
        return True

    @property
    def gives_up(self) -> bool:
        """Whether so many steps were skipped in a row that going on makes no sense."""
        return self.in_a_row >= MOST_IN_A_ROW


class StopSignal:
    """Whether SIGTERM came, as schedulers send it before they kill: the run saves and ends.

    Only the main thread can listen; in others nothing is heard.

    Args:
        waits: Whether what is done `at_once` is cut short too: not where other processes count on
            this one.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self.heard = False
        self.waits = waits
        self._raises = False
        self._before: object = None
        self._listens = threading.current_thread() is threading.main_thread()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard = True
        if self._raises:
            self._raises = False
            raise Terminated

    @contextmanager
    def at_once(self) -> Generator[None]:
        """Work that changes nothing of the run, and ends with the signal.

        Raises:
            Terminated: SIGTERM came, before or meanwhile.
        """
        self._raises = not self.waits
        try:
            if self.heard and self._raises:
                raise Terminated
            yield
        finally:
            self._raises = False

    def __enter__(self) -> StopSignal:
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._before)  # pyright: ignore[reportArgumentType]
