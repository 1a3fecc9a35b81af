"""Weights as trainers write them: under any prefix, beside other things, raw and averaged.

A few names that every layout has tell where a model lies: what stands before them is a prefix,
whatever it is called. Modules that were wrapped alone (compiled, sharded, recomputed) have their
wrapper's name in the middle. Where a file has the raw weights and their moving average, the average
is taken, which is what a trainer evaluates and ships; a line on stderr says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from twinlens.errors import CheckpointError

ValueT = TypeVar("ValueT")

_MARKS = (
    "text_model.embeddings.token_embedding.weight",
    "vision_model.embeddings.patch_embedding.weight",
    "visual.trunk.patch_embed.proj.weight",
    "image_tower.patch_embedding.weight",
    "image_tower.stem.conv1.0.weight",
    "text_tower.token_embedding.weight",
    "embeddings.token_embedding.weight",
    "embeddings.patch_embedding.weight",
    "text.token_embedding.weight",
    "token_embedding.weight",
    "visual.conv1.weight",
)
"""Names that tell a layout; each comes before those that it ends in."""

_WRAPPERS = frozenset(
    {
        "module",  # DistributedDataParallel, AveragedModel, DeepSpeed
        "_orig_mod",  # torch.compile
        "_forward_module",  # Lightning Fabric
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
    }
)
"""What wrappers call the module inside them; no layout has such a part in its names."""

_COUNT = "n_averaged"
"""Of AveragedModel's steps, beside its module."""

_AVERAGES = frozenset({"ema", "swa", "avg", "averaged"})
_GRADIENTS = frozenset({"optim", "optimizer", "optimizers", "exp_avg", "exp_avg_sq", "momentum"})
"""Tables that have a model's names and none of its weights."""

_DEPTH = 6
"""Tables in one another, as trainers nest them."""


@dataclass(slots=True)
class _Group:
    """Names that begin alike and hold a model: those without the prefix, and as they are."""

    marks: set[str] = field(default_factory=set[str])
    names: dict[str, str] = field(default_factory=dict[str, str])


def model_names(
    names: Iterable[str], path: Path, report: Callable[[str], None]
) -> dict[str, str] | None:
    """The names of a model's tensors without prefixes and wrappers, and as they are in the file.

    Args:
        names: All names of a file.
        path: The file's, for messages.
        report: Told which of several weights were taken, and what was left out.

    Returns:
        None where nothing is to be taken away, or no layout is known by these names.

    Raises:
        CheckpointError: Several models are in it and no name tells which is meant, or one name is
            there twice without its wrappers.
    """
    names = list(names)
    plain = _unwrapped(names, path)
    groups = _groups(plain)
    if not groups:
        return None
    prefix = _chosen(groups, path, report)
    taken = groups[prefix].names
    if prefix and (others := [plain[n] for n in plain if _owner(n, groups) is None]):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        report(f"{path}: left out {len(others)} tensors that are not under {prefix!r}: {shown}")
    changed = len(taken) < len(names) or any(new != old for new, old in taken.items())
    return taken if changed else None


def _unwrapped(names: Iterable[str], path: Path) -> dict[str, str]:
    """Names without the parts that wrappers put into them, and as they are."""
    found: dict[str, str] = {}
    for name in names:
        if name.endswith(_COUNT) and name.removesuffix(_COUNT)[-1:] in ("", "."):
            continue
        plain = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if plain in found and is_marked(plain):
            raise CheckpointError(
                f"{path}: got {found[plain]} and {name}, expected one of them: they are the same "
                "weight of two models"
            )
        found[name if plain in found else plain] = name
    return found


def is_marked(name: str) -> bool:
    """Whether a name tells a layout, whatever stands before it."""
    return _mark(name) is not None


def _mark(name: str) -> str | None:
    return next((m for m in _MARKS if name == m or name.endswith(f".{m}")), None)


def _groups(plain: Mapping[str, str]) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for name in plain:
        if (mark := _mark(name)) is not None:
            groups.setdefault(name.removesuffix(mark), _Group()).marks.add(mark)
    for name, old in plain.items():
        owner = _owner(name, groups)
        if owner is not None:
            groups[owner].names[name.removeprefix(owner)] = old
    return groups


def _owner(name: str, groups: Iterable[str]) -> str | None:
    """The longest prefix of a group that a name has."""
    return max((p for p in groups if name.startswith(p)), key=len, default=None)


def _chosen(groups: Mapping[str, _Group], path: Path, report: Callable[[str], None]) -> str:
    """The prefix of the weights to take: an average where it is whole, else the raw ones."""
    averages = [prefix for prefix in groups if is_average(prefix)]
    raw = _fullest(groups, [prefix for prefix in groups if prefix not in averages])
    averages = _fullest(groups, averages)
    candidates = averages or raw
    if averages and raw and not groups[raw[0]].names.keys() <= groups[averages[0]].names.keys():
        report(
            f"{path}: took the weights under {raw[0]!r}: their moving average under "
            f"{averages[0]!r} has not got all of them"
        )
        candidates = raw
    elif averages and raw:
        report(
            f"{path}: took the moving average of the weights, under {averages[0]!r}, and not "
            f"the raw weights, under {raw[0]!r}"
        )
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path}: got the weights of {len(candidates)} models, under "
            f"{', '.join(map(repr, candidates))}, expected one: save it in a file of its own"
        )
    return candidates[0]


def _fullest(groups: Mapping[str, _Group], prefixes: list[str]) -> list[str]:
    """Those with the most of the names that tell a layout."""
    most = max((len(groups[prefix].marks) for prefix in prefixes), default=0)
    return [prefix for prefix in prefixes if len(groups[prefix].marks) == most]


def is_average(prefix: str) -> bool:
    """Whether names under a prefix are of weights averaged over steps."""
    words = [word for word in re.split(r"[^a-z0-9]+", prefix.lower()) if word]
    return any(w in _AVERAGES and "non" not in words[:i][-1:] for i, w in enumerate(words))


def model_tables(loaded: object, is_value: Callable[[object], bool]) -> dict[str, object] | None:
    """The entries of those tables in a pickle that hold a model's weights.

    Args:
        loaded: What the pickle holds: tables in one another, with anything in them.
        is_value: Whether an entry is a tensor.

    Returns:
        By name; where several tables hold weights, with the keys that lead to each before the
        name. None if there are none. Numbers and other tables beside the weights are left out.
    """
    tables = [
        (keys, table)
        for keys, table in _tables(loaded, (), set())
        if any(is_marked(name) and is_value(value) for name, value in table.items())
    ]
    if not tables:
        return None
    return {
        ".".join((*(keys if len(tables) > 1 else ()), name)): value
        for keys, table in tables
        for name, value in table.items()
        if is_value(value) or not _is_beside(value)
    }


def _tables(
    value: object, keys: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, object]]]:
    """Tables by the keys that lead to them, each once, but for those of optimisers."""
    if not isinstance(value, Mapping) or len(keys) > _DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    entries = cast("Mapping[object, object]", value)
    named = {name: entry for name, entry in entries.items() if isinstance(name, str)}
    yield keys, named
    for name, entry in named.items():
        if not _GRADIENTS & set(name.lower().split(".")):
            yield from _tables(entry, (*keys, name), seen)


def _is_beside(value: object) -> bool:
    """Whether it is no weight but a note beside them."""
    return value is None or isinstance(value, Mapping | int | float | str | list | tuple)
