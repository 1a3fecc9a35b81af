"""In what a checkpoint differs from a model: every tensor told, like ones together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

_NUMBERS = re.compile(r"([0-9]{1,9})")
_ENDINGS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def differences(
    missing: Sequence[str],
    unexpected: Sequence[str],
    shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    types: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> str:
    """All differences in one line; empty if there are none.

    Args:
        missing: Names that the checkpoint lacks.
        unexpected: Names that the model does not know.
        shapes: Of names that both have: the shape there, and the one that it should have.
        types: Likewise the types.

    Example:
        >>> names = [f"blocks.{n}.norm.{end}" for n in range(12) for end in ("weight", "bias")]
        >>> differences(names, ["scale"], {"head": ([2, 2], [16, 8])})
        'missing blocks.{0..11}.norm.{weight,bias} (24 tensors); unexpected scale; head is [2, 2] instead of [16, 8]'
    """  # noqa: E501  an error is one line
    parts = [f"missing {_told(missing)}"] if missing else []
    parts += [f"unexpected {_told(unexpected)}"] if unexpected else []
    listed = {name: (str(list(a)), str(list(b))) for name, (a, b) in shapes.items()}
    return "; ".join([*parts, *_instead(listed), *_instead(types)])


def _instead(changed: Mapping[str, tuple[str, str]]) -> list[str]:
    """What is there and what should be, each pair once with all its names."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, pair in changed.items():
        alike.setdefault(pair, []).append(name)
    return [
        f"{_told(names)} is {got} instead of {expected}" for (got, expected), names in alike.items()
    ]


def _told(names: Sequence[str]) -> str:
    patterns = patterns_of(names)
    count = f" ({len(names)} tensors)" if len(patterns) < len(names) else ""
    return f"{', '.join(patterns)}{count}"


def patterns_of(names: Iterable[str]) -> list[str]:
    """Names in fewer words, as a shell expands braces; exactly these names, each once.

    Example:
        >>> patterns_of(["a.0.b", "a.1.b", "a.2.b", "a.7.b", "a.0.c", "d.weight", "d.bias"])
        ['a.{0..2,7}.b', 'a.0.c', 'd.{weight,bias}']
    """
    rows = [_split(name) for name in names]
    deepest = max(map(len, rows), default=0)
    numbers, texts = range(3, deepest, 2), range(2, deepest, 2)
    for place in (1, *numbers, *texts):  # endings first
        rows = _merged(rows, place)
    return ["".join(row) for row in rows]


def _split(name: str) -> list[str]:
    """Text and numbers in turn, and the ending."""
    *before, last = _NUMBERS.split(name)
    head, dot, ending = last.rpartition(".")
    return [*before, head, dot + ending] if ending in _ENDINGS else [*before, last, ""]


def _merged(rows: list[list[str]], place: int) -> list[list[str]]:
    """Rows that differ at one place alone, counted from their end, are one, where the first was.

    What a name begins with stays as it is.
    """
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows:
        at = max(len(row) - place, 0)
        parts = alike.setdefault((tuple(row[: max(at, 1)]), tuple(row[at + 1 :])), [])
        parts += row[at : at + 1] if at else []
    return [
        [*before, _braced(parts), *after] if parts else [*before, *after]
        for (before, after), parts in alike.items()
    ]


def _braced(parts: Sequence[str]) -> str:
    """One as it is; several in braces, dots around all of them outside."""
    if len(parts) == 1:
        return parts[0]
    before = "." if all(part.startswith(".") for part in parts) else ""
    after = "." if all(part.endswith(".") and len(part) > 1 for part in parts) else ""
    inner = [part.removeprefix(before).removesuffix(after) for part in parts]
    return f"{before}{{{','.join(_runs(inner))}}}{after}"


def _runs(parts: Sequence[str]) -> Sequence[str]:
    """Whole numbers in a row as `0..11`; other parts as they are."""
    if not all(part.isdecimal() and str(int(part)) == part for part in parts):
        return parts
    runs: list[list[int]] = []
    for number in sorted(map(int, parts)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
