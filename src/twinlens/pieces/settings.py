"""What stands beside a vocabulary: `tokenizer_config.json` and `special_tokens_map.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twinlens.config import TextCleaning, read_plain_json
from twinlens.errors import CheckpointError, ConfigError

CONFIG_FILE = "tokenizer_config.json"
SPECIALS_FILE = "special_tokens_map.json"

_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSettings:
    """What the two files say; None and empty where they say nothing.

    Attributes:
        kind: The class of transformers that reads the vocabulary, without "Fast" at its end.
        names: Special tokens by role: "bos_token", "eos_token", "unk_token", "pad_token".
        strips: Of special tokens by name: whether the spaces left and right of it go with it.
        adds_start: Whether a start token goes before each text.
        adds_end: Whether an end token goes after each text.
        pads_left: Whether rows are filled at their beginning.
        lower_case: Whether the class makes texts lower case.
    """

    kind: str | None = None
    names: Mapping[str, str]
    strips: Mapping[str, tuple[bool, bool]]
    adds_start: bool | None = None
    adds_end: bool | None = None
    pads_left: bool | None = None
    lower_case: bool | None = None


def stated_cleaning(directory: Path) -> TextCleaning:
    """What the class that a Hugging Face directory names does to texts by itself.

    "siglip" for `SiglipTokenizer`; "none" for the others, whose vocabularies have rules of their
    own.

    Raises:
        CheckpointError: The file is damaged, or names no class.
    """
    settings = read_settings(directory)
    if settings.kind is None:
        raise CheckpointError(
            f"{directory}: got no tokenizer_class, expected {CONFIG_FILE} with it"
        )
    if settings.kind != "SiglipTokenizer":
        return "none"
    if settings.lower_case is False:
        raise CheckpointError(f"{directory}: got do_lower_case false, expected true for SigLIP")
    return "siglip"


def read_settings(directory: Path) -> TokenizerSettings:
    """Read both files, as far as they are there.

    Raises:
        CheckpointError: One is damaged, or they contradict each other.
    """
    try:
        config = _optional(directory / CONFIG_FILE)
        names = _names(config)
        for role, name in _names(_optional(directory / SPECIALS_FILE)).items():
            if names.setdefault(role, name) != name:
                raise ValueError(
                    f"got {role} {names[role]!r} and {name!r} in {SPECIALS_FILE}, expected one"
                )
        kind = config.get("tokenizer_class")
        side = config.get("padding_side")
        if side not in (None, "left", "right"):
            raise ValueError(f"padding_side: got {side!r}, expected 'left' or 'right'")
        return TokenizerSettings(
            kind=None if kind is None else str(kind).removesuffix("Fast"),
            names=names,
            strips=_strips(config),
            adds_start=_flag(config, "add_bos_token"),
            adds_end=_flag(config, "add_eos_token"),
            pads_left=None if side is None else side == "left",
            lower_case=_flag(config, "do_lower_case"),
        )
    except (ConfigError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory / CONFIG_FILE}: {error}") from error


def _optional(path: Path) -> Mapping[str, Any]:
    return read_plain_json(path) if path.is_file() else {}


def _names(config: Mapping[str, Any]) -> dict[str, str]:
    names: dict[str, str] = {}
    for role in _ROLES:
        token = config.get(role)
        if isinstance(token, Mapping):
            token = cast("Mapping[str, Any]", token)["content"]
        if token is not None:
            names[role] = str(token)
    return names


def _strips(config: Mapping[str, Any]) -> dict[str, tuple[bool, bool]]:
    tokens: Mapping[str, Any] = config.get("added_tokens_decoder") or {}
    return {
        str(token["content"]): (bool(token.get("lstrip")), bool(token.get("rstrip")))
        for token in tokens.values()
        if token.get("special")
    }


def _flag(config: Mapping[str, Any], key: str) -> bool | None:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key}: got {value!r}, expected true or false")
    return value
