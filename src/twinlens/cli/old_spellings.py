"""Commands as the previous release spelled them: accepted for one release, with a warning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twinlens.cli.output import log

_OLD_OPTIONS = {
    "eval": {"--cache": "--cache-dir", "--no-keep": "--no-cache", "--keep": ""},
}
"""By verb, the new name of an option; empty if it is the default now."""

_TRAIN_OPTIONS = {
    "--data",
    "--out",
    "--val",
    "--template",
    "--device",
    "--workers",
    "--image-column",
    "--text-column",
    "--separator",
    "--track",
}
"""Options of `train`, each with a value, that `train --plan` ignored."""

_TRAIN_FLAGS = {"--plan", "--resume", "--no-resume", "--strict"}


def current_spelling(arguments: list[str]) -> list[str]:
    """Rewrite arguments of the previous release for this one, with a warning for each change.

    Example:
        >>> current_spelling(["eval", "icons", "--data", "digits"])
        ['eval', 'icons', '--data', 'digits']
    """
    verb, rest = "".join(arguments[:1]), arguments[1:]
    if verb == "eval" and "--compare" in rest:
        _warn("eval --compare", "twinlens compare DIR DIR")
        rest.remove("--compare")
        return ["compare", *rest]
    if verb == "train" and "--plan" in rest:
        _warn("train --plan", "twinlens plan --recipe NAME")
        return ["plan", *_plan_arguments(rest)]
    return [*arguments[:1], *_renamed(rest, _OLD_OPTIONS.get(verb, {}))]


def _warn(old: str, new: str) -> None:
    log(f"warning: {old} is deprecated: write {new}")


def _plan_arguments(arguments: Iterable[str]) -> Iterator[str]:
    """The arguments without options that only training reads."""
    remaining = iter(arguments)
    for argument in remaining:
        name, has_value, _ = argument.partition("=")
        if name in _TRAIN_OPTIONS:
            if not has_value:
                next(remaining, None)
        elif name not in _TRAIN_FLAGS:
            yield argument


def _renamed(arguments: Iterable[str], new_names: dict[str, str]) -> Iterator[str]:
    for argument in arguments:
        name, has_value, value = argument.partition("=")
        if name not in new_names:
            yield argument
            continue
        new = new_names[name]
        _warn(name, new or "nothing: it is the default")
        if new:
            yield f"{new}{has_value}{value}"
