# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""The images that the words of a command stand for, and what of these is passed over."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from twinlens.cli.output import log
from twinlens.errors import DataError

_MAX_LISTED = 20
"""Number of unreadable images that are named; the others are counted."""


@dataclass(slots=True)
class InputImages:
    """The images that paths, directories and globs stand for, and what of these is passed over.

    Attributes:
        images: Those that can be read, in order.
        unreadable: Why an image of another format cannot be, by its path.
        non_images: Files that are no images.
        no_match_errors: What is wrong with the arguments that stand for no image.
    """

    images: list[str] = field(default_factory=list[str])
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    non_images: list[str] = field(default_factory=list[str])
    no_match_errors: list[DataError] = field(default_factory=list[DataError])

    def extend(self, other: InputImages) -> None:
        """Add what another argument stands for."""
        self.images += other.images
        self.unreadable |= other.unreadable
        self.non_images += other.non_images


def find_images(arguments: list[str]) -> InputImages:
    """The images that paths, directories and globs stand for, in order.

    Files that are named are images whatever their names say; of directories and globs those are
    that end like one and are not hidden.

    Raises:
        DataError: None of them stands for an image that can be read.
    """
    whole = InputImages()
    for name in arguments:
        if Path(name).is_dir():
            part = _classify_files(Path(name), Path(name).rglob("*"))
        elif glob.has_magic(name) and not Path(name).exists():
            paths = glob.glob(name, recursive=True)  # noqa: PTH207  Path: no absolute
            part = _classify_files(_glob_root(name), map(Path, paths))
        else:
            part = InputImages([name])
        if part.images:
            whole.extend(part)
        else:
            whole.no_match_errors.append(_no_images_error(name, part))
    if not whole.images:
        raise DataError("; ".join(map(str, whole.no_match_errors)))
    return whole


def _classify_files(root: Path, paths: Iterable[Path]) -> InputImages:
    from twinlens.data.sources.natural_order import natural_key
    from twinlens.images.file_names import is_hidden, is_image_name, unreadable_reason

    found = InputImages()
    for path in sorted(paths, key=lambda path: natural_key(str(path))):
        inside = path.relative_to(root).as_posix()
        if is_image_name(inside):
            found.images.append(str(path))
        elif reason := unreadable_reason(inside):
            found.unreadable[str(path)] = reason
        elif not is_hidden(inside) and path.is_file():
            found.non_images.append(str(path))
    return found


def _glob_root(pattern: str) -> Path:
    """The folder that a glob names before its first wildcard."""
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _no_images_error(name: str, found: InputImages) -> DataError:
    from twinlens.images.file_names import READABLE_SUFFIXES

    lines = _lines_by_reason(found.unreadable.items())
    told = f" that can be read ({'; '.join(lines)})" if lines else ""
    return DataError(
        f"{name}: got no images{told}, expected files that end in "
        f"{', '.join(sorted(READABLE_SUFFIXES))}"
    )


def _lines_by_reason(passed_over: Iterable[tuple[str, str]]) -> list[str]:
    """Paths with reasons as a line for each reason."""
    from twinlens.data.left_out import LeftOut

    left_out = LeftOut()
    for path, reason in passed_over:
        left_out.add(reason, path)
    return left_out.lines()


def log_failures(failures: Collection[Exception], inputs: InputImages) -> bool:
    """Say what could not be classified; whether there was anything."""
    unreadable = [f"{path}: {reason}" for path, reason in inputs.unreadable.items()]
    for told in [*failures, *inputs.no_match_errors, *unreadable[:_MAX_LISTED]]:
        log(f"error: {told}")
    if (more := len(unreadable) - _MAX_LISTED) > 0:
        log(f"error: and {more:,} other images of formats that cannot be read")
    for line in _lines_by_reason((path, "file that is no image") for path in inputs.non_images):
        log(f"passed over: {line}")
    return bool(failures or inputs.no_match_errors or unreadable)
