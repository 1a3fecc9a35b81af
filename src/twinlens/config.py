"""Configurations: frozen dataclasses, read from plain dictionaries, never guessed.

`CLIPConfig` says everything that a directory of weights needs to be used rightly: both
towers' sizes, the pixels they expect, the vocabulary they read and where they came from.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from twinlens.errors import ConfigError, UnknownNameError

Activation = Literal["quick_gelu", "gelu"]

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


def _require(holds: bool, what: str, got: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{what}: got {got!r}, expected {expected}")


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(value > 0, f"{type(config).__name__}.{name}", value, "a positive number")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViTConfig:
    """A vision transformer (paper section 2.4)."""

    kind: Literal["vit"] = "vit"
    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int

    def __post_init__(self) -> None:
        _require_positive(self, "image_size", "patch_size", "width", "layers", "heads")
        _require(
            self.image_size % self.patch_size == 0,
            "ViTConfig.patch_size",
            self.patch_size,
            f"a divisor of image_size={self.image_size}",
        )
        _require(
            self.width % self.heads == 0,
            "ViTConfig.heads",
            self.heads,
            f"a divisor of width={self.width}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNetConfig:
    """A ResNet-D with anti-aliased strides and attention pooling (paper section 2.4)."""

    kind: Literal["resnet"] = "resnet"
    image_size: int
    width: int
    layers: tuple[int, int, int, int]
    heads: int

    def __post_init__(self) -> None:
        _require_positive(self, "image_size", "width", "heads")
        _require(
            self.image_size % 32 == 0,
            "ResNetConfig.image_size",
            self.image_size,
            "a multiple of 32",
        )
        _require(min(self.layers) > 0, "ResNetConfig.layers", self.layers, "four positive numbers")
        _require(
            self.width * 32 % self.heads == 0,
            "ResNetConfig.heads",
            self.heads,
            f"a divisor of the output width {self.width * 32}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """The causal text transformer; its last vocabulary id is the end-of-text token."""

    context_length: int = 77
    vocab_size: int = 49408
    width: int
    layers: int
    heads: int

    def __post_init__(self) -> None:
        _require_positive(self, "context_length", "vocab_size", "width", "layers", "heads")
        _require(
            self.width % self.heads == 0,
            "TextConfig.heads",
            self.heads,
            f"a divisor of width={self.width}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessConfig:
    """Pixels as a model expects them: shortest side resized, centre cropped, normalised.

    `mean` and `std` are per channel for pixels in [0, 1]; `background` (0..255) is what
    transparent pictures are laid on.
    """

    image_size: int
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    background: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self) -> None:
        _require_positive(self, "image_size")
        _require(min(self.std) > 0, "PreprocessConfig.std", self.std, "positive numbers")
        _require(
            all(0 <= value <= 255 for value in self.background),
            "PreprocessConfig.background",
            self.background,
            "three numbers in 0..255",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where weights came from: who reads a directory a year later wants to know."""

    name: str = ""
    source: str = ""
    licence: str = ""
    recipe: str = ""
    data: str = ""
    samples_seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CLIPConfig:
    """One CLIP: both towers, their shared space, pixels, vocabulary and provenance.

    `tokenizer` is "clip" for CLIP's own 49,408 entries, or "tokenizer.json" for the file of
    that name beside the weights. `templates` are the sentences, with `{}` for a label, that
    the model was trained to read labels in.
    """

    embed_dim: int
    vision: ViTConfig | ResNetConfig
    text: TextConfig
    activation: Activation = "quick_gelu"
    logit_bias: bool = False
    tokenizer: Literal["clip", "tokenizer.json"] = "clip"
    preprocess: PreprocessConfig
    templates: tuple[str, ...] = ("a photo of a {}.",)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        _require_positive(self, "embed_dim")
        _require(
            bool(self.templates) and all("{}" in template for template in self.templates),
            "CLIPConfig.templates",
            self.templates,
            "at least one sentence, each with {}",
        )
        _require(
            self.preprocess.image_size == self.vision.image_size,
            "CLIPConfig.preprocess.image_size",
            self.preprocess.image_size,
            f"vision.image_size={self.vision.image_size}",
        )


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
    _require(not missing, f"{where}: missing keys", missing, "all of them given")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type that `hint` names."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is Literal:
        _require(value in args, where, value, f"one of {list(args)}")
        return value
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if dataclasses.is_dataclass(hint):
        _require(isinstance(value, Mapping), where, value, "a table")
        return from_dict(cast("type[Any]", hint), value, where=where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    matches = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    _require(matches, where, value, f"a value of type {hint.__name__}")
    return value


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _require(isinstance(value, list | tuple), where, value, "a list")
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    _require(len(value) == len(args), where, value, f"a list of {len(args)} values")
    pairs = zip(args, value, strict=True)
    return tuple(_convert(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(pairs))


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    """`X | None`, or one of several dataclasses told apart by their `kind`."""
    if value is None and type(None) in args:
        return None
    options = [arg for arg in args if arg is not type(None)]
    if len(options) == 1:
        return _convert(options[0], value, where)
    _require(isinstance(value, Mapping) and "kind" in value, where, value, "a table with a kind")
    kinds = {get_args(get_type_hints(option)["kind"])[0]: option for option in options}
    kind = cast("Mapping[str, Any]", value)["kind"]
    if kind not in kinds:
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
        _require(bool(equals), "--set", setting, "KEY=VALUE, such as optim.lr=0.001")
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
    except json.JSONDecodeError:
        return text


def read_json(cls: type[ConfigT], path: Path) -> ConfigT:
    """Read a configuration saved by `write_json`.

    Raises:
        ConfigError: The file is missing or is no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration: {error}") from error
    _require(isinstance(data, Mapping), str(path), type(data).__name__, "a JSON object")
    return from_dict(cls, data)


def write_json(config: object, path: Path) -> None:
    """Write a configuration as JSON, keys in the order of its fields; all or nothing."""
    write_whole(json.dumps(to_dict(config), indent=2) + "\n", path)


def write_whole(text: str, path: Path) -> None:
    """Write a text file whole or not at all; what was there stays until then."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
