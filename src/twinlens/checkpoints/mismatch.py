"""Describe how a checkpoint differs from a model: every tensor, similar names together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

_NUMBER = re.compile(r"([0-9]{1,9})")
_SUFFIXES = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def describe_mismatch(
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    types: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> str:
    """All differences in one line; empty if there are none.

    Args:
        missing: Names that the checkpoint lacks.
        unexpected: Names that the model does not know.
        shapes: For names in both: the shape in the checkpoint, and the one expected.
        types: The same for types.

    Example:
        >>> names = [f"blocks.{n}.norm.{end}" for n in range(12) for end in ("weight", "bias")]
        >>> describe_mismatch(names, ["scale"], {"head": ([2, 2], [16, 8])})
        'missing blocks.{0..11}.norm.{weight,bias} (24 tensors); unexpected scale; head is [2, 2] instead of [16, 8]'
    """  # noqa: E501  an error is one line
    parts = [f"missing {_format_names(missing)}"] if missing else []
    parts += [f"unexpected {_format_names(unexpected)}"] if unexpected else []
    listed = {name: (str(list(a)), str(list(b))) for name, (a, b) in shapes.items()}
    return "; ".join([*parts, *_describe_changed(listed), *_describe_changed(types)])


def _describe_changed(changed: Mapping[str, tuple[str, str]]) -> list[str]:
    """Got and expected, each pair once with all its names."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, pair in changed.items():
        alike.setdefault(pair, []).append(name)
    return [
        f"{_format_names(names)} is {got} instead of {expected}"
        for (got, expected), names in alike.items()
    ]


def _format_names(names: Sequence[str]) -> str:
    patterns = brace_patterns(names)
    count = f" ({len(names)} tensors)" if len(patterns) < len(names) else ""
    return f"{', '.join(patterns)}{count}"


def brace_patterns(names: Iterable[str]) -> list[str]:
    """Shorten names to patterns that a shell expands to exactly these names, each once.

    Example:
        >>> brace_patterns(["a.0.b", "a.1.b", "a.2.b", "a.7.b", "a.0.c", "d.weight", "d.bias"])
        ['a.{0..2,7}.b', 'a.0.c', 'd.{weight,bias}']
    """
    rows = [_split_numbers(name) for name in names]
    deepest = max(map(len, rows), default=0)
    numbers, texts = range(3, deepest, 2), range(2, deepest, 2)
    for place in (1, *numbers, *texts):  # endings first
        rows = _merge_rows(rows, place)
    return ["".join(row) for row in rows]


def _split_numbers(name: str) -> list[str]:
    """Split a name into alternating text and numbers, and its ending."""
    *before, last = _NUMBER.split(name)
    head, dot, ending = last.rpartition(".")
    return [*before, head, dot + ending] if ending in _SUFFIXES else [*before, last, ""]


def _merge_rows(rows: list[list[str]], position: int) -> list[list[str]]:
    """Merge rows that differ at one position only, counted from the end, into the first of them.

    The first part of a name is never merged.
    """
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows:
        at = max(len(row) - position, 0)
        parts = alike.setdefault((tuple(row[: max(at, 1)]), tuple(row[at + 1 :])), [])
        parts += row[at : at + 1] if at else []
    return [
        [*before, _brace(parts), *after] if parts else [*before, *after]
        for (before, after), parts in alike.items()
    ]


def _brace(parts: Sequence[str]) -> str:
    """One part as it is; several in braces, with their common dots outside."""
    if len(parts) == 1:
        return parts[0]
    before = "." if all(part.startswith(".") for part in parts) else ""
    after = "." if all(part.endswith(".") and len(part) > 1 for part in parts) else ""
    inner = [part.removeprefix(before).removesuffix(after) for part in parts]
    return f"{before}{{{','.join(_format_ranges(inner))}}}{after}"


def _format_ranges(parts: Sequence[str]) -> Sequence[str]:
    """Write consecutive integers as `0..11`; other parts stay as they are."""
    if not all(part.isdecimal() and str(int(part)) == part for part in parts):
        return parts
    runs: list[list[int]] = []
    for number in sorted(map(int, parts)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
