"""Every error twinlens raises on purpose.

    TwinlensError
    ├── ConfigError         a configuration value or key is wrong
    ├── ShapeError          an array has the wrong shape or dtype (also ValueError)
    ├── UnknownNameError    a model, preset, recipe or field has no such name
    ├── DataError           an image, text, table or shard cannot be used
    ├── CheckpointError     weights or a training state cannot be read or written
    ├── DivergedError       training went to infinity and was stopped
    ├── DistributedError    another process of the run died or does not respond
    ├── StoppedError        a run got a signal to stop, and saved
    └── MissingExtraError   an optional dependency is not installed

Messages are one line: what, got, expected. The command line prints them and exits with 2.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from difflib import get_close_matches


class TwinlensError(Exception):
    """The base class: a mistake that the caller can mend."""


class ConfigError(TwinlensError):
    """A configuration value or key is wrong."""


class ShapeError(TwinlensError, ValueError):
    """An array or tensor has the wrong shape or dtype."""


class UnknownNameError(TwinlensError):
    """A name is not in a known set; the message suggests close ones.

    Example:
        >>> raise UnknownNameError("model", "icon", ["icons"])
        Traceback (most recent call last):
        ...
        twinlens.errors.UnknownNameError: unknown model 'icon': did you mean 'icons'?
    """

    def __init__(
        self, kind: str, got: object, known: Iterable[str], *, fallback_hint: str = ""
    ) -> None:
        """Compare with the known names; `fallback_hint` replaces their list if none is close."""
        names = sorted(known)
        close = get_close_matches(str(got), names, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(repr(name) for name in close)}?"
            if close
            else fallback_hint or f"known: {', '.join(names)}"
        )
        super().__init__(f"unknown {kind} {got!r}: {hint}")


class DataError(TwinlensError):
    """An image, text, table or shard cannot be used."""


class CheckpointError(TwinlensError):
    """Weights or a training state cannot be read or written."""


class DivergedError(TwinlensError):
    """Training went to infinity and was stopped before it was saved."""


class DistributedError(TwinlensError):
    """Another process of the run died or does not respond."""


class StoppedError(TwinlensError):
    """A run got a signal to stop and saved; the same command with `--resume` continues it."""


class MissingExtraError(TwinlensError):
    """An optional dependency is not installed; the message has the pip line that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: run  pip install 'twinlens[{extra}]'")


def one_line(error: object, limit: int | None = None) -> str:
    r"""Format an error's text in one line, of at most `limit` characters; without one, its type.

    Example:
        >>> one_line(RuntimeError("no operator:\n  nms")), one_line(KeyError("id"), 3)
        ('no operator: nms', "'id")
        >>> one_line(TimeoutError())
        'TimeoutError'
    """
    return (" ".join(str(error).split()) or type(error).__name__)[:limit]


def root_cause(error: BaseException) -> str:
    r"""Format the first cause of an error in one line: "could not import" says less than why.

    Example:
        >>> try:
        ...     raise ImportError("no clip") from RuntimeError("no operator:\n  nms")
        ... except ImportError as error:
        ...     root_cause(error)
        'RuntimeError: no operator: nms'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextmanager
def os_errors_as(error_class: type[TwinlensError], path: object, problem: str) -> Generator[None]:
    """Raise `error_class` with one line for an `OSError` of the block.

    Example:
        >>> with os_errors_as(DataError, "a.csv", "cannot be read"):
        ...     open("/no/such/file")
        Traceback (most recent call last):
        ...
        twinlens.errors.DataError: a.csv: cannot be read: No such file or directory
    """
    try:
        yield
    except OSError as error:
        raise error_class(f"{path}: {problem}: {error.strerror or error}") from error


def require(
    condition: object,
    name: str,
    got: object,
    expected: str,
    error: Callable[[str], TwinlensError] = ConfigError,
) -> None:
    """Refuse a value in one line: its name, what it is and what is expected.

    Raises:
        TwinlensError: `condition` is not true; of the class `error`.
    """
    if not condition:
        raise error(f"{name}: got {got!r}, expected {expected}")


def require_known(kind: str, name: object, known: Collection[str]) -> None:
    """Refuse a name that is none of the known ones.

    Args:
        kind: Kind of the name, for the message: "model".
        name: The name.
        known: The known names.

    Raises:
        UnknownNameError: It is none of them; near ones are suggested.
    """
    if name not in known:
        raise UnknownNameError(kind, name, known)


def require_shape(name: str, got: Sequence[int], expected: Sequence[int]) -> None:
    """Refuse an array of another shape.

    Raises:
        ShapeError: The shapes differ.
    """
    require(tuple(got) == tuple(expected), name, list(got), str(list(expected)), ShapeError)


def require_in_range(name: str, value: int, minimum: int, maximum: int) -> None:
    """Refuse an integer out of its range, before anything of that size is allocated.

    Raises:
        ConfigError: It is out of range.

    Example:
        >>> require_in_range("batch_size", 10**9, 1, 2**20)
        Traceback (most recent call last):
        ...
        twinlens.errors.ConfigError: batch_size: got 1000000000, expected 1 to 1,048,576
    """
    digits = str(value) if abs(value) < 10**40 else "a number of over 40 digits"
    if not minimum <= value <= maximum:
        raise ConfigError(f"{name}: got {digits}, expected {minimum:,} to {maximum:,}")


MAX_STEPS = 10**12
MAX_SEED = 2**64 - 1
