"""Weights as trainers write them: under any prefix, among other data, raw and averaged.

A model is found by a few names that every layout has: the text before them is a prefix,
whatever it is. Modules that were wrapped alone (compiled, sharded, recomputed) have their
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

_LAYOUT_KEYS = (
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
"""Names that identify a layout; each comes before those that it ends in."""

_WRAPPER_MODULES = frozenset(
    {
        "module",  # DistributedDataParallel, AveragedModel, DeepSpeed
        "_orig_mod",  # torch.compile
        "_forward_module",  # Lightning Fabric
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
    }
)
"""Names that wrappers give the wrapped module; no layout has such a part in its names."""

_AVERAGED_COUNT_KEY = "n_averaged"
"""Count of averaged steps in AveragedModel."""

_AVERAGE_WORDS = frozenset({"ema", "swa", "avg", "averaged"})
_OPTIMISER_KEYS = frozenset(
    {"optim", "optimizer", "optimizers", "exp_avg", "exp_avg_sq", "momentum"}
)
"""Keys of tables with a model's names but not its weights."""

_MAX_DEPTH = 6
"""Depth of nested tables that are searched."""


@dataclass(slots=True)
class _PrefixGroup:
    """Names with one prefix that hold a model: without the prefix, and as they are."""

    layout_keys: set[str] = field(default_factory=set[str])
    names: dict[str, str] = field(default_factory=dict[str, str])


def find_model_names(
    names: Iterable[str], path: Path, log: Callable[[str], None]
) -> dict[str, str] | None:
    """Map a model's names without prefixes and wrappers to the names in the file.

    Args:
        names: All names of a file.
        path: The file's, for messages.
        log: Called with a line about which of several weights were taken or left out.

    Returns:
        None if no name has to be changed, or no layout has these names.

    Raises:
        CheckpointError: The file holds several models and none is an average, or one name occurs
            twice without its wrappers.
    """
    names = list(names)
    plain = _strip_wrappers(names, path)
    groups = _group_by_prefix(plain)
    if not groups:
        return None
    prefix = _choose_prefix(groups, path, log)
    taken = groups[prefix].names
    if prefix and (others := [plain[n] for n in plain if _longest_prefix(n, groups) is None]):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        log(f"{path}: left out {len(others)} tensors that are not under {prefix!r}: {shown}")
    changed = len(taken) < len(names) or any(new != old for new, old in taken.items())
    return taken if changed else None


def _strip_wrappers(names: Iterable[str], path: Path) -> dict[str, str]:
    """Map names without the parts that wrappers add to the names as they are."""
    found: dict[str, str] = {}
    for name in names:
        if name.endswith(_AVERAGED_COUNT_KEY) and name.removesuffix(_AVERAGED_COUNT_KEY)[-1:] in (
            "",
            ".",
        ):
            continue
        plain = ".".join(part for part in name.split(".") if part not in _WRAPPER_MODULES)
        if plain in found and is_layout_key(plain):
            raise CheckpointError(
                f"{path}: got {found[plain]} and {name}, expected one of them: they are the same "
                "weight of two models"
            )
        found[name if plain in found else plain] = name
    return found


def is_layout_key(name: str) -> bool:
    """True if a name identifies a layout, whatever its prefix."""
    return _find_layout_key(name) is not None


def _find_layout_key(name: str) -> str | None:
    return next((m for m in _LAYOUT_KEYS if name == m or name.endswith(f".{m}")), None)


def _group_by_prefix(plain: Mapping[str, str]) -> dict[str, _PrefixGroup]:
    groups: dict[str, _PrefixGroup] = {}
    for name in plain:
        if (mark := _find_layout_key(name)) is not None:
            groups.setdefault(name.removesuffix(mark), _PrefixGroup()).layout_keys.add(mark)
    for name, old in plain.items():
        owner = _longest_prefix(name, groups)
        if owner is not None:
            groups[owner].names[name.removeprefix(owner)] = old
    return groups


def _longest_prefix(name: str, prefixes: Iterable[str]) -> str | None:
    """The longest of the prefixes that a name has."""
    return max((p for p in prefixes if name.startswith(p)), key=len, default=None)


def _choose_prefix(
    groups: Mapping[str, _PrefixGroup], path: Path, log: Callable[[str], None]
) -> str:
    """Choose the prefix of the weights: the average if it is complete, else the raw ones."""
    averages = [prefix for prefix in groups if is_average_prefix(prefix)]
    raw = _most_complete(groups, [prefix for prefix in groups if prefix not in averages])
    averages = _most_complete(groups, averages)
    candidates = averages or raw
    if averages and raw and not groups[raw[0]].names.keys() <= groups[averages[0]].names.keys():
        log(
            f"{path}: took the weights under {raw[0]!r}: their moving average under "
            f"{averages[0]!r} has not got all of them"
        )
        candidates = raw
    elif averages and raw:
        log(
            f"{path}: took the moving average of the weights, under {averages[0]!r}, and not "
            f"the raw weights, under {raw[0]!r}"
        )
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path}: got the weights of {len(candidates)} models, under "
            f"{', '.join(map(repr, candidates))}, expected one: save it in a file of its own"
        )
    return candidates[0]


def _most_complete(groups: Mapping[str, _PrefixGroup], prefixes: list[str]) -> list[str]:
    """The prefixes with the most names that identify a layout."""
    most = max((len(groups[prefix].layout_keys) for prefix in prefixes), default=0)
    return [prefix for prefix in prefixes if len(groups[prefix].layout_keys) == most]


def is_average_prefix(prefix: str) -> bool:
    """True if a prefix is one of weights averaged over steps."""
    words = [word for word in re.split(r"[^a-z0-9]+", prefix.lower()) if word]
    return any(w in _AVERAGE_WORDS and "non" not in words[:i][-1:] for i, w in enumerate(words))


def find_state_dicts(
    loaded: object, is_tensor: Callable[[object], bool]
) -> Mapping[object, object] | None:
    """The entries of the tables in a pickle that hold a model's weights.

    Args:
        loaded: The pickled value: tables in one another, with anything in them.
        is_tensor: True for an entry that is a tensor.

    Returns:
        By name; where several tables hold weights, with the keys that lead to each before the
        name. Numbers and other tables next to weights are left out. Where no name is one that a
        layout has: the whole table, or the one under its key `state_dict`. None if the pickle is
        no table.
    """
    tables = [
        (keys, table)
        for keys, table in _iter_tables(loaded, (), set())
        if any(is_layout_key(name) and is_tensor(value) for name, value in table.items())
    ]
    if not tables:
        whole = cast("Mapping[object, object]", loaded) if isinstance(loaded, Mapping) else {}
        inner = whole.get("state_dict")
        if isinstance(inner, Mapping):
            return cast("Mapping[object, object]", inner)
        return whole if isinstance(loaded, Mapping) else None
    return {
        ".".join((*(keys if len(tables) > 1 else ()), name)): value
        for keys, table in tables
        for name, value in table.items()
        if is_tensor(value) or not _is_metadata(value)
    }


def _iter_tables(
    value: object, keys: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, object]]]:
    """Tables by the keys that lead to them, each once, without those of optimisers."""
    if not isinstance(value, Mapping) or len(keys) > _MAX_DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    entries = cast("Mapping[object, object]", value)
    named = {name: entry for name, entry in entries.items() if isinstance(name, str)}
    yield keys, named
    for name, entry in named.items():
        if not _OPTIMISER_KEYS & set(name.lower().split(".")):
            yield from _iter_tables(entry, (*keys, name), seen)


def _is_metadata(value: object) -> bool:
    """True for plain data that is not a weight."""
    return value is None or isinstance(value, Mapping | int | float | str | list | tuple)
