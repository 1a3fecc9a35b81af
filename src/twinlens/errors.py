"""Every error twinlens raises on purpose.

    TwinlensError
    ├── ConfigError         a configuration value or key is wrong
    ├── ShapeError          an array has the wrong shape or dtype (also ValueError)
    ├── UnknownNameError    a model, preset, recipe or field has no such name
    ├── DataError           an image, text, table or shard cannot be used
    ├── CheckpointError     weights or a training state cannot be read or written
    ├── DivergedError       training went to infinity and was stopped
    ├── DistributedError    another process of the run died or does not answer
    ├── StoppedError        a run was told to stop, and saved
    └── MissingExtraError   an optional dependency is not installed

Messages are one line: what, got, expected. The command line prints them and exits with 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TwinlensError(Exception):
    """The root: a mistake the caller can mend."""


class ConfigError(TwinlensError):
    """A configuration value or key is wrong."""


class ShapeError(TwinlensError, ValueError):
    """An array or tensor has the wrong shape or dtype."""


class UnknownNameError(TwinlensError):
    """A name that is not in a known set; suggests the close ones.

    Example:
        >>> raise UnknownNameError("model", "icon", ["icons"])
        Traceback (most recent call last):
        ...
        twinlens.errors.UnknownNameError: unknown model 'icon': did you mean 'icons'?
    """

    def __init__(self, what: str, got: str, known: Iterable[str], *, otherwise: str = "") -> None:
        """Compare with the known names; `otherwise` replaces their list where none is close."""
        names = sorted(known)
        close = get_close_matches(got, names, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(repr(name) for name in close)}?"
            if close
            else otherwise or f"known: {', '.join(names)}"
        )
        super().__init__(f"unknown {what} {got!r}: {hint}")


class DataError(TwinlensError):
    """An image, text, table or shard cannot be used."""


class CheckpointError(TwinlensError):
    """Weights or a training state cannot be read or written."""


class DivergedError(TwinlensError):
    """Training went to infinity and was stopped before it was saved."""


class DistributedError(TwinlensError):
    """Another process of the run died or does not answer."""


class StoppedError(TwinlensError):
    """A run was told to stop: it saved, and the same command with `--resume` goes on."""


class MissingExtraError(TwinlensError):
    """An optional dependency is not installed; says which pip line brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: run  pip install 'twinlens[{extra}]'")


def first_cause(error: BaseException) -> str:
    r"""What a library's error goes back to, in one line: "could not import" says less than why.

    Example:
        >>> try:
        ...     raise ImportError("no clip") from RuntimeError("no operator:\n  nms")
        ... except ImportError as error:
        ...     first_cause(error)
        'RuntimeError: no operator: nms'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def require(holds: bool, what: str, got: object, expected: str) -> None:
    """Refuse a setting in one line: what it is, what was got and what is expected.

    Raises:
        ConfigError: It does not hold.
    """
    if not holds:
        raise ConfigError(f"{what}: got {got!r}, expected {expected}")


def require_within(what: str, value: int, low: int, high: int) -> None:
    """Refuse a whole number out of its range, before anything is made of its size.

    Raises:
        ConfigError: It is.

    Example:
        >>> require_within("batch_size", 10**9, 1, 2**20)
        Traceback (most recent call last):
        ...
        twinlens.errors.ConfigError: batch_size: got 1000000000, expected 1 to 1,048,576
    """
    digits = str(value) if abs(value) < 10**40 else "a number of over 40 digits"
    if not low <= value <= high:
        raise ConfigError(f"{what}: got {digits}, expected {low:,} to {high:,}")


MOST_STEPS = 10**12
MOST_SEED = 2**64 - 1
