"""Checks of the command line: no blank words, and output paths that can be written to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from twinlens.errors import ConfigError
from twinlens.files import remove_partial_files


class StrictCommand(TyperCommand):
    """A verb that takes no blank word: it is a variable of the shell that was never set.

    As a path, a blank would be the working directory; as a list, none of what was meant.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words.

        Raises:
            ConfigError: One is blank.
        """
        given: dict[str, Any] = self.make_parser(ctx).parse_args(args=list(args))[0]
        for parameter in self.params:
            for word in _flatten_strings(given.get(parameter.name or "")):
                if not word.strip(" "):  # a tab may be a separator
                    raise ConfigError(
                        f"{_parameter_name(parameter)}: got {word!r}, expected "
                        f"{_expected_value(parameter)}"
                    )
        return super().parse_args(ctx, args)


def _flatten_strings(value: object) -> Iterable[str]:
    """The words of an option that may be repeated, or take more than one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _flatten_strings(one)  # pyright: ignore[reportUnknownArgumentType]


def _parameter_name(parameter: Any) -> str:
    """As it is typed, or as the help calls it where it has no name."""
    if parameter.param_type_name == "option":
        return parameter.opts[0]
    return parameter.metavar or parameter.opts[0].upper()


def _expected_value(parameter: Any) -> str:
    """The expected value, in the words of the help."""
    said = str(getattr(parameter, "help", "") or "").split(";")[0].rstrip(".")
    return f"a value ({said})" if said else "a value"


def check_output_directory(name: str, path: Path | None) -> None:
    """Make sure, before work begins, that a directory can be made or written to.

    Args:
        name: What to call it in a message, such as "--out".
        path: None where none was asked for.

    Raises:
        ConfigError: Something else is in its place, or nothing can be written there.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{name}: got {path}, which is a file, expected a directory")
    _check_writable(name, path, path)


def check_output_file(name: str, path: Path | None) -> None:
    """The same of a file; a pipe or a device is written to as it is.

    Raises:
        ConfigError: A directory is in its place, or nothing can be written there.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{path}: got a directory, expected a name for a file, for {name}")
    if not path.exists() or path.is_file():
        _check_writable(name, path, path.resolve().parent)


def _check_writable(name: str, path: Path, folder: Path) -> None:
    """Write a nameless file into the nearest directory there is: permissions do not say all."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ConfigError(f"{name}: got {path}, but {there} is a file, expected a directory")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(
            f"{name}: got {path}, expected a place to write to: {there}: {error.strerror}"
        ) from error


def check_new_directory(name: str, directory: Path) -> None:
    """Refuse to write where something is, or where nothing can be written.

    Raises:
        ConfigError: There is a file, or a directory that is not empty; or as
            `check_output_directory`.
    """
    if directory.is_dir():
        with suppress(OSError):
            remove_partial_files(directory)  # what a killed process left
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(
            f"{directory}: is there already, expected a new or an empty directory for {name}"
        )
    check_output_directory(name, directory)


@contextmanager
def remove_on_error(*directories: Path | None, keep_pattern: str = "") -> Generator[None]:
    """Should the block fail, take away what it left that is of no use.

    Args:
        directories: Where the block writes. What was in them before stays.
        keep_pattern: A pattern of files that make a directory worth keeping, where there was
            nothing before: then only empty directories in it go, else all that is in it.
    """
    wanted = [path.absolute() for path in directories if path is not None]
    new = [path for path in wanted if not path.exists() or not any(path.iterdir())]
    above = [place for path in wanted for place in (path, *path.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            if keep_pattern and any(path.glob(keep_pattern)):
                _remove_empty_directories(path)
            else:
                _remove_contents(path)
        for place in above:  # each before those above it
            with suppress(OSError):
                place.rmdir()
        raise


def _remove_contents(path: Path) -> None:
    """Remove all that is in a directory."""
    with suppress(OSError):
        for inside in list(path.iterdir()):
            if inside.is_dir() and not inside.is_symlink():
                shutil.rmtree(inside, ignore_errors=True)
            else:
                inside.unlink()


def _remove_empty_directories(path: Path) -> None:
    """Remove the empty directories in a directory."""
    for inside in sorted(path.rglob("*"), reverse=True):
        if inside.is_dir() and not inside.is_symlink():
            with suppress(OSError):
                inside.rmdir()
