"""Read and write configuration dataclasses as dictionaries and JSON; apply `--set a.b=value`.

Input is checked against the dataclass: an unknown key or a value of another type is an error, and a
missing key has the dataclass's default.
"""

from __future__ import annotations

import dataclasses
import json
import types
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from twinlens.errors import ConfigError, TwinlensError, UnknownNameError, require, require_known
from twinlens.files import atomic_write_text

ConfigT = TypeVar("ConfigT")

RENAMED = {
    "optim.final_lr": "optim.final_lr_ratio",
    "optim.clip_norm": "optim.grad_clip_norm",
    "adapt.keep": "adapt.interpolation",
    "compute.tile": "compute.loss_tile_size",
    "captions": "captions_per_image",
    "max_bad_share": "max_bad_fraction",
    "checkpoint_minutes": "checkpoint_every_minutes",
    "augment.crop_side": "augment.min_crop_side",
    "augment.rotate": "augment.max_rotation",
    "augment.stretch": "augment.max_stretch",
    "augment.colour": "augment.colour_std",
    "augment.brightness": "augment.brightness_std",
    "augment.grey": "augment.greyscale_probability",
    "augment.invert": "augment.invert_probability",
    "unseen_pictures": "unseen_images",
}
"""Settings whose old names `--set` and files may have for one release, so that old runs resume."""


def to_dict(config: object) -> dict[str, Any]:
    """Convert a configuration to plain JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(cast(Any, config))))


def from_dict(cls: type[ConfigT], data: Mapping[str, Any], *, context: str = "") -> ConfigT:
    """Build the dataclass `cls` from plain types, nested.

    Raises:
        UnknownNameError: A key is not a field; close names are suggested.
        ConfigError: A key is missing, or a value has the wrong type or range.
    """
    context = context or cls.__name__
    hints = get_type_hints(cls)
    for key in data:
        require_known(f"key in {context}", key, hints)
    values = {key: _convert(hints[key], value, f"{context}.{key}") for key, value in data.items()}
    missing = [
        f.name
        for f in dataclasses.fields(cast(Any, cls))
        if f.name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    require(not missing, f"{context}: missing keys", missing, "all of them given")
    return cls(**values)


def _convert(hint: Any, value: Any, context: str) -> Any:
    """Convert `value` to the type that `hint` names."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, context)
    if origin is Literal:
        require(value in args, context, value, f"one of {list(args)}")
        return value
    if origin is tuple:
        return _convert_tuple(args, value, context)
    if dataclasses.is_dataclass(hint):
        require(isinstance(value, Mapping), context, value, "a table")
        return from_dict(cast("type[Any]", hint), value, context=context)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kind = origin or hint  # dict[str, Any] is checked as a dict
    matches = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    require(matches, context, value, f"a value of type {hint.__name__}")
    return value


def _convert_tuple(args: tuple[Any, ...], value: Any, context: str) -> tuple[Any, ...]:
    require(isinstance(value, list | tuple), context, value, "a list")
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    require(len(value) == len(args), context, value, f"a list of {len(args)} values")
    pairs = zip(args, value, strict=True)
    return tuple(_convert(hint, item, f"{context}[{i}]") for i, (hint, item) in enumerate(pairs))


def _convert_union(args: tuple[Any, ...], value: Any, context: str) -> Any:
    """Convert to `X | None`, or to one of several dataclasses by its `kind`."""
    if value is None and type(None) in args:
        return None
    options = [arg for arg in args if arg is not type(None)]
    if len(options) == 1:
        return _convert(options[0], value, context)
    require(isinstance(value, Mapping) and "kind" in value, context, value, "a table with a kind")
    kinds = {get_args(get_type_hints(option)["kind"])[0]: option for option in options}
    kind = cast("Mapping[str, Any]", value)["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise UnknownNameError(f"kind in {context}", str(kind), kinds)
    return _convert(kinds[kind], value, context)


def apply_overrides(config: ConfigT, settings: Sequence[str]) -> ConfigT:
    """Apply `a.b=value` settings to a configuration; values are read as JSON, else as text.

    Raises:
        UnknownNameError: A setting names no field; close names are suggested.
        ConfigError: A setting has no `=`, or its value does not fit.
    """
    data = to_dict(config)
    for setting in settings:
        path, equals, text = setting.partition("=")
        require(bool(equals), "--set", setting, "KEY=VALUE, such as optim.lr=0.001")
        table: dict[str, Any] = data
        *parents, last = current_name(path.strip()).split(".")
        for parent in parents:
            if not isinstance(table.get(parent), dict):
                raise UnknownNameError("setting", path, flatten(data))
            table = table[parent]
        if last not in table:
            raise UnknownNameError("setting", path, flatten(data))
        table[last] = _parse_value(text.strip())
    return from_dict(type(config), data)


def current_name(setting: str) -> str:
    """The current name of a setting; warns about an old one."""
    name = RENAMED.get(setting, setting)
    if name != setting:
        text = f"{setting}: renamed to {name}, the old name is read for one release"
        warnings.warn(text, FutureWarning, stacklevel=2)
    return name


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables by dotted name; these are the names `--set` accepts.

    An empty table is a value.

    Example:
        >>> flatten({"steps": 9, "optim": {"lr": 0.1}, "extra": {}})
        {'steps': 9, 'optim.lr': 0.1, 'extra': {}}
    """
    values: dict[str, Any] = {}
    for key, value in data.items():
        nested = flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
        values |= nested or {f"{prefix}{key}": value}
    return values


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # also of a number with thousands of digits
        return text


def read_dataclass(cls: type[ConfigT], path: Path) -> ConfigT:
    """Read a configuration saved by `write_dataclass`.

    Raises:
        ConfigError: The file is missing or is no JSON object.
    """
    data = read_json_object(path)
    rename_old_settings(data, path)
    return dataclass_from_json(cls, data, path)


def rename_old_settings(data: dict[str, Any], path: Path) -> None:
    """Give the settings of a file their current names, in place; one warning lists them.

    Raises:
        ConfigError: A setting is there under both names.
    """
    renamed: list[str] = []
    for old, new in RENAMED.items():
        parent, _, key = old.rpartition(".")
        table: Any = data.get(parent) if parent else data
        if isinstance(table, dict) and key in table:
            current = new.rpartition(".")[2]
            require(current not in table, f"{path}: {new}", old, "one name of one setting")
            table[current] = table.pop(key)
            renamed.append(f"{old} is {new}")
    if renamed:
        text = f"{path}: old names of settings, read for one release: {', '.join(renamed)}"
        warnings.warn(text, FutureWarning, stacklevel=3)


def dataclass_from_json(cls: type[ConfigT], data: Mapping[str, Any], path: Path) -> ConfigT:
    """Build the dataclass `cls` from a file's content; messages begin with the file's path.

    Raises:
        UnknownNameError: A key is unknown.
        ConfigError: A key is missing, or a value has the wrong type or range.
    """
    try:
        return from_dict(cls, data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_json_object(path: Path, error_class: type[TwinlensError] = ConfigError) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        TwinlensError: The file is missing or is no JSON object; of the class `error_class`.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise error_class(f"{path}: cannot be read as a configuration: {error}") from error
    require(isinstance(data, dict), str(path), type(data).__name__, "a JSON object", error_class)
    return data


def write_dataclass(config: object, path: Path) -> None:
    """Write a configuration as JSON atomically, keys in the order of its fields."""
    atomic_write_text(json.dumps(to_dict(config), indent=2) + "\n", path)
