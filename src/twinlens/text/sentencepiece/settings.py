"""Read `tokenizer_config.json` and `special_tokens_map.json` of a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twinlens.config import TextCleaning
from twinlens.config_io import read_json_object
from twinlens.errors import CheckpointError

TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"

_SPECIAL_TOKEN_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class HFTokenizerConfig:
    """The contents of both files; None or empty for missing keys.

    Attributes:
        tokenizer_class: The class of transformers that reads the vocabulary, without "Fast".
        special_tokens: Special tokens by role: "bos_token", "eos_token", "unk_token", "pad_token".
        added_tokens: Tokens added to the vocabulary, by name; True for special tokens.
        add_bos_token: Put a start token before each text.
        add_eos_token: Put an end token after each text.
        pads_left: Pad rows at their beginning.
        do_lower_case: Make texts lower case.
    """

    tokenizer_class: str | None = None
    special_tokens: Mapping[str, str]
    added_tokens: Mapping[str, bool]
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    pads_left: bool | None = None
    do_lower_case: bool | None = None


def read_text_cleaning(directory: Path) -> TextCleaning:
    """Return the cleaning that the tokenizer class of a Hugging Face directory does itself.

    "siglip" for `SiglipTokenizer`; "none" for the others, whose vocabularies have their own rules.
    SigLIP 2 was trained on lower case, but only `Siglip2Tokenizer` lower-cases texts: if a
    checkpoint names `GemmaTokenizer`, neither transformers nor twinlens does, and texts should be
    passed in lower case.

    Raises:
        CheckpointError: The file is damaged, or names no class.
    """
    config = read_tokenizer_config(directory)
    if config.tokenizer_class is None:
        raise CheckpointError(
            f"{directory}: got no tokenizer_class, expected {TOKENIZER_CONFIG_FILE} with it"
        )
    if config.tokenizer_class != "SiglipTokenizer":
        return "none"
    if config.do_lower_case is False:
        raise CheckpointError(f"{directory}: got do_lower_case false, expected true for SigLIP")
    return "siglip"


def read_tokenizer_config(directory: Path) -> HFTokenizerConfig:
    """Read both files; either may be missing.

    Raises:
        CheckpointError: One is damaged, or they contradict each other.
    """
    config, names = _read_special_tokens(directory / TOKENIZER_CONFIG_FILE)
    for role, name in _read_special_tokens(directory / SPECIAL_TOKENS_FILE)[1].items():
        if names.setdefault(role, name) != name:
            raise CheckpointError(
                f"{directory / TOKENIZER_CONFIG_FILE}: got {role} {names[role]!r} and {name!r} in "
                f"{SPECIAL_TOKENS_FILE}, expected one"
            )
    try:
        return _parse_tokenizer_config(config, names)
    except ValueError as error:
        raise CheckpointError(f"{directory / TOKENIZER_CONFIG_FILE}: {error}") from error


def _read_special_tokens(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Read a file, if it exists, and the special tokens in it by role."""
    config = read_json_object(path, CheckpointError) if path.is_file() else {}
    try:
        tokens = {role: config.get(role) for role in _SPECIAL_TOKEN_ROLES}
        return config, {role: _token_name(role, t) for role, t in tokens.items() if t is not None}
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _parse_tokenizer_config(
    config: Mapping[str, Any], names: Mapping[str, str]
) -> HFTokenizerConfig:
    kind, side = config.get("tokenizer_class"), config.get("padding_side")
    if not isinstance(kind, str | None):
        raise ValueError(f"tokenizer_class: got {kind!r}, expected a name")
    if side not in (None, "left", "right"):
        raise ValueError(f"padding_side: got {side!r}, expected 'left' or 'right'")
    return HFTokenizerConfig(
        tokenizer_class=None if kind is None else kind.removesuffix("Fast"),
        special_tokens=names,
        added_tokens=_parse_added_tokens(config),
        add_bos_token=_parse_flag(config, "add_bos_token"),
        add_eos_token=_parse_flag(config, "add_eos_token"),
        pads_left=None if side is None else side == "left",
        do_lower_case=_parse_flag(config, "do_lower_case"),
    )


def _token_name(what: str, token: object) -> str:
    """Return the name of a token, given as a string or as a table with its content."""
    name = _require_table(what, token).get("content") if isinstance(token, Mapping) else token
    if not isinstance(name, str):
        raise ValueError(f"{what}: got {token!r}, expected a name or a table with its content")
    return name


def _parse_added_tokens(config: Mapping[str, Any]) -> dict[str, bool]:
    what = "added_tokens_decoder"
    tables = [
        _require_table(what, token)
        for token in _require_table(what, config.get(what) or {}).values()
    ]
    return {_token_name(what, table): bool(table.get("special")) for table in tables}


def _require_table(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what}: got {value!r}, expected a table")
    return cast("Mapping[str, Any]", value)


def _parse_flag(config: Mapping[str, Any], key: str) -> bool | None:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key}: got {value!r}, expected true or false")
    return value
