"""Any configuration, to plain dictionaries and files and from them, and `--set a.b=value`.

What is read is checked against the dataclass: an unknown key and a value of another type are
errors, and what is not said has the dataclass's default.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from twinlens.errors import ConfigError, UnknownNameError, require
from twinlens.files import write_whole

ConfigT = TypeVar("ConfigT")


def to_dict(config: object) -> dict[str, Any]:
    """A configuration as plain JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(cast(Any, config))))


def from_dict(cls: type[ConfigT], data: Mapping[str, Any], *, where: str = "") -> ConfigT:
    """Build the dataclass `cls` from plain types, nested.

    Raises:
        UnknownNameError: A key is not a field; close names are suggested.
        ConfigError: A key is missing, or a value has the wrong type or range.
    """
    where = where or cls.__name__
    hints = get_type_hints(cls)
    for key in data:
        if key not in hints:
            raise UnknownNameError(f"key in {where}", key, hints)
    values = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in data.items()}
    missing = [
        f.name
        for f in dataclasses.fields(cast(Any, cls))
        if f.name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    require(not missing, f"{where}: missing keys", missing, "all of them given")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type that `hint` names."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is Literal:
        require(value in args, where, value, f"one of {list(args)}")
        return value
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if dataclasses.is_dataclass(hint):
        require(isinstance(value, Mapping), where, value, "a table")
        return from_dict(cast("type[Any]", hint), value, where=where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kind = origin or hint  # dict[str, Any] is told apart as a dict
    matches = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    require(matches, where, value, f"a value of type {hint.__name__}")
    return value


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    require(isinstance(value, list | tuple), where, value, "a list")
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    require(len(value) == len(args), where, value, f"a list of {len(args)} values")
    pairs = zip(args, value, strict=True)
    return tuple(_convert(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(pairs))


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    """`X | None`, or one of several dataclasses told apart by their `kind`."""
    if value is None and type(None) in args:
        return None
    options = [arg for arg in args if arg is not type(None)]
    if len(options) == 1:
        return _convert(options[0], value, where)
    require(isinstance(value, Mapping) and "kind" in value, where, value, "a table with a kind")
    kinds = {get_args(get_type_hints(option)["kind"])[0]: option for option in options}
    kind = cast("Mapping[str, Any]", value)["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise UnknownNameError(f"kind in {where}", str(kind), kinds)
    return _convert(kinds[kind], value, where)


def override(config: ConfigT, settings: Sequence[str]) -> ConfigT:
    """The configuration with `a.b=value` settings applied; values are read as JSON, else text.

    Raises:
        UnknownNameError: A setting names no field; close names are suggested.
        ConfigError: A setting has no `=`, or its value does not fit.
    """
    data = to_dict(config)
    for setting in settings:
        path, equals, text = setting.partition("=")
        require(bool(equals), "--set", setting, "KEY=VALUE, such as optim.lr=0.001")
        table: dict[str, Any] = data
        *parents, last = path.strip().split(".")
        for parent in parents:
            if not isinstance(table.get(parent), dict):
                raise UnknownNameError("setting", path, setting_names(data))
            table = table[parent]
        if last not in table:
            raise UnknownNameError("setting", path, setting_names(data))
        table[last] = _read_value(text.strip())
    return from_dict(type(config), data)


def setting_names(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every dotted name that `override` accepts."""
    names: list[str] = []
    for key, value in data.items():
        nested = setting_names(value, f"{prefix}{key}.") if isinstance(value, dict) else []
        names += nested or [f"{prefix}{key}"]
    return names


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # also of a number with thousands of digits
        return text


def read_json(cls: type[ConfigT], path: Path) -> ConfigT:
    """Read a configuration saved by `write_json`.

    Raises:
        ConfigError: The file is missing or is no JSON object.
    """
    return from_file(cls, read_plain_json(path), path)


def from_file(cls: type[ConfigT], data: Mapping[str, Any], path: Path) -> ConfigT:
    """As `from_dict`, of what a file holds: messages begin with its name.

    Raises:
        UnknownNameError: A key is unknown.
        ConfigError: A key is missing, or a value has the wrong type or range.
    """
    try:
        return from_dict(cls, data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_plain_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ConfigError: The file is missing or is no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration: {error}") from error
    require(isinstance(data, dict), str(path), type(data).__name__, "a JSON object")
    return data


def write_json(config: object, path: Path) -> None:
    """Write a configuration as JSON, keys in the order of its fields; all or nothing."""
    write_whole(json.dumps(to_dict(config), indent=2) + "\n", path)
