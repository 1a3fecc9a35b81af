"""What stands beside a vocabulary: `tokenizer_config.json` and `special_tokens_map.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twinlens.config import TextCleaning
from twinlens.config_io import read_plain_json
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
        added: Tokens added to the vocabulary, by name: whether each is a special one.
        adds_start: Whether a start token goes before each text.
        adds_end: Whether an end token goes after each text.
        pads_left: Whether rows are filled at their beginning.
        lower_case: Whether the class makes texts lower case.
    """

    kind: str | None = None
    names: Mapping[str, str]
    added: Mapping[str, bool]
    adds_start: bool | None = None
    adds_end: bool | None = None
    pads_left: bool | None = None
    lower_case: bool | None = None


def stated_cleaning(directory: Path) -> TextCleaning:
    """What the class that a Hugging Face directory names does to texts by itself.

    "siglip" for `SiglipTokenizer`; "none" for the others, whose vocabularies have rules of their
    own. Of SigLIP 2, which was trained on small letters, only `Siglip2Tokenizer` makes them: where
    a checkpoint names `GemmaTokenizer`, neither transformers nor this does, and texts should come
    in lower case.

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
    config, names = _read(directory / CONFIG_FILE)
    for role, name in _read(directory / SPECIALS_FILE)[1].items():
        if names.setdefault(role, name) != name:
            raise CheckpointError(
                f"{directory / CONFIG_FILE}: got {role} {names[role]!r} and {name!r} in "
                f"{SPECIALS_FILE}, expected one"
            )
    try:
        return _settings(config, names)
    except ValueError as error:
        raise CheckpointError(f"{directory / CONFIG_FILE}: {error}") from error


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """What a file says, if it is there, and the special tokens in it by role."""
    try:
        config = read_plain_json(path) if path.is_file() else {}
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    try:
        given = {role: config.get(role) for role in _ROLES}
        return config, {role: _name(role, it) for role, it in given.items() if it is not None}
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _settings(config: Mapping[str, Any], names: Mapping[str, str]) -> TokenizerSettings:
    kind, side = config.get("tokenizer_class"), config.get("padding_side")
    if not isinstance(kind, str | None):
        raise ValueError(f"tokenizer_class: got {kind!r}, expected a name")
    if side not in (None, "left", "right"):
        raise ValueError(f"padding_side: got {side!r}, expected 'left' or 'right'")
    return TokenizerSettings(
        kind=None if kind is None else kind.removesuffix("Fast"),
        names=names,
        added=_added(config),
        adds_start=_flag(config, "add_bos_token"),
        adds_end=_flag(config, "add_eos_token"),
        pads_left=None if side is None else side == "left",
        lower_case=_flag(config, "do_lower_case"),
    )


def _name(what: str, token: object) -> str:
    """The name of a token, which may stand in a table with more about it."""
    name = _table(what, token).get("content") if isinstance(token, Mapping) else token
    if not isinstance(name, str):
        raise ValueError(f"{what}: got {token!r}, expected a name or a table with its content")
    return name


def _added(config: Mapping[str, Any]) -> dict[str, bool]:
    what = "added_tokens_decoder"
    tables = [_table(what, token) for token in _table(what, config.get(what) or {}).values()]
    return {_name(what, table): bool(table.get("special")) for table in tables}


def _table(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what}: got {value!r}, expected a table")
    return cast("Mapping[str, Any]", value)


def _flag(config: Mapping[str, Any], key: str) -> bool | None:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key}: got {value!r}, expected true or false")
    return value
