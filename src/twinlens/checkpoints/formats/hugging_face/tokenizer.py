"""Vocabularies in Hugging Face's layout: CLIP's own recognised, all of ours written.

CLIP's vocabulary is there under two other names for the start and the end token. What twinlens
does to a text before goes into the files as far as they have a place for it; mending mojibake
and HTML entities, as OpenAI's code does, has none. Texts that need no mending get the same ids
here and there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from twinlens.config import TextCleaning
from twinlens.config_io import read_json_object
from twinlens.errors import CheckpointError, ConfigError
from twinlens.files import atomic_write_text
from twinlens.text.clip_bpe import END_TOKEN, START_TOKEN, Tokenizer
from twinlens.text.loading import AnyTokenizer
from twinlens.text.sentencepiece import SentencePieceTokenizer
from twinlens.text.sentencepiece.tokenizer import SENTENCEPIECE_FILES

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"

_MODEL_INPUT_NAMES = ["input_ids", "attention_mask"]

HF_START, HF_END = "<|startoftext|>", "<|endoftext|>"

# transformers' own pattern for CLIP, which its files hold.
_CLIP_PATTERN = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_COLLAPSE_WHITESPACE: list[dict[str, Any]] = [
    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    {"type": "Strip", "strip_left": True, "strip_right": True},
]
_LOWERCASE: dict[str, Any] = {"type": "Lowercase"}
_STRIP_PUNCTUATION: dict[str, Any] = {
    "type": "Replace",
    "pattern": {"Regex": r"[!-/:-@\[-`{-~]"},  # ASCII punctuation
    "content": "",
}
_UNDERSCORES_TO_SPACES: dict[str, Any] = {
    "type": "Replace",
    "pattern": {"String": "_"},
    "content": " ",
}
_NORMALIZERS_BY_CLEANING: dict[TextCleaning, list[dict[str, Any]]] = {
    "lower": [_LOWERCASE, *_COLLAPSE_WHITESPACE],
    "whitespace": _COLLAPSE_WHITESPACE,
    "canonicalize": [_UNDERSCORES_TO_SPACES, _STRIP_PUNCTUATION, _LOWERCASE, *_COLLAPSE_WHITESPACE],
    "siglip": [_LOWERCASE, _STRIP_PUNCTUATION, *_COLLAPSE_WHITESPACE],
    "none": [],
}
"""Each way of cleaning a text, but for mending, as steps of the `tokenizers` library."""

_CLIP_VOCAB_SIZE = 49_408
_CLIP_MERGE_COUNT = 48_894
# Of CLIP's entries in the order of their ids, then its merges, one a line: telling whether a
# directory has CLIP's vocabulary does not need another copy of it.
_CLIP_DIGEST = "5d827db2c026571b4380d244cf6012f0c5092b3b109d297c2e357a7ac598af06"


def detect_tokenizer(directory: Path) -> Literal["clip", "tokenizer.json"]:
    """Detect the vocabulary of a directory: CLIP's own, or another in files of its own.

    A text encoder of diffusers has none; it is in the directory `tokenizer` next to `text_encoder`.

    Raises:
        CheckpointError: There is none, or only in a form that twinlens does not read.
    """
    if (found := _detect_tokenizer_in(directory)) is not None:
        return found
    beside = directory.parent / directory.name.replace("text_encoder", "tokenizer")
    if beside == directory or (found := _detect_tokenizer_in(beside)) is None:
        raise CheckpointError(
            f"{directory}: got no {TOKENIZER_FILE}, expected one, "
            f"or CLIP's {VOCABULARY_FILE} and {MERGES_FILE}"
        )
    if found != "clip":
        raise CheckpointError(f"{directory}: got no vocabulary, expected that of {beside} in it")
    return found


def has_tokenizer(directory: Path) -> bool:
    """True if a directory has any file of a vocabulary."""
    names = (
        *SENTENCEPIECE_FILES,
        TOKENIZER_FILE,
        TOKENIZER_CONFIG_FILE,
        VOCABULARY_FILE,
        MERGES_FILE,
    )
    return any((directory / name).is_file() for name in names)


def _detect_tokenizer_in(directory: Path) -> Literal["clip", "tokenizer.json"] | None:
    try:
        if any((directory / name).is_file() for name in SENTENCEPIECE_FILES):
            return "tokenizer.json"
        if (directory / TOKENIZER_FILE).is_file():
            whole = read_json_object(directory / TOKENIZER_FILE)
            return "clip" if _is_clip_tokenizer(whole) else "tokenizer.json"
        if (directory / VOCABULARY_FILE).is_file() and (directory / MERGES_FILE).is_file():
            vocabulary = read_json_object(directory / VOCABULARY_FILE)
            lines = (directory / MERGES_FILE).read_text(encoding="utf-8").split("\n")
            # The first says a version; files may go on after the merges that CLIP reads.
            if _vocabulary_digest(vocabulary, lines[1 : 1 + _CLIP_MERGE_COUNT]) == _CLIP_DIGEST:
                return "clip"
            raise CheckpointError(
                f"{directory}: got a {VOCABULARY_FILE} that is not CLIP's, "
                f"expected a {TOKENIZER_FILE} for it"
            )
    # The last two: a value of another type than all such files have.
    except (ConfigError, OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory}: the vocabulary cannot be read: {error}") from error
    return None


def _is_clip_tokenizer(tokenizer_json: dict[str, Any]) -> bool:
    """True if a parsed `tokenizer.json` has CLIP's vocabulary and no added tokens."""
    model = tokenizer_json.get("model")
    if not isinstance(model, dict) or model.get("end_of_word_suffix") != "</w>":
        return False
    vocabulary, merges, added = (
        model.get("vocab"),
        model.get("merges"),
        tokenizer_json.get("added_tokens"),
    )
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        return False
    if any(token.get("content") not in vocabulary for token in added or []):
        return False
    # Each merge is one string in files of tokenizers before 0.20, and a pair since.
    lines = (merge if isinstance(merge, str) else " ".join(merge) for merge in merges)
    return _vocabulary_digest(vocabulary, lines) == _CLIP_DIGEST


def _vocabulary_digest(vocabulary: dict[str, int], merges: Iterable[str]) -> str | None:
    """A hash of a vocabulary as large as CLIP's; None of any other."""
    if sorted(vocabulary.values()) != list(range(_CLIP_VOCAB_SIZE)):
        return None
    entries = sorted(vocabulary, key=vocabulary.__getitem__)
    return sha256("\n".join([*entries, *merges]).encode()).hexdigest()


def write_tokenizer(tokenizer: AnyTokenizer, directory: Path, context_length: int) -> None:
    """Write a vocabulary so that transformers gives the same ids.

    CLIP's and those of its kind are padded with the end token there: their own padding is an
    ordinary entry, and a tower that attends backwards alone does not see it.

    Raises:
        CheckpointError: A file cannot be written.
        OSError: Likewise.
    """
    whole: dict[str, Any] = json.loads(tokenizer.to_json())
    kind, inputs = "PreTrainedTokenizerFast", _MODEL_INPUT_NAMES
    if isinstance(tokenizer, SentencePieceTokenizer):
        inputs = _MODEL_INPUT_NAMES[:1]  # these towers were trained to see their padding
        _add_cleaning(whole, tokenizer.text_cleaning)
        specials = _piece_special_tokens(whole, tokenizer)
    elif tokenizer is Tokenizer.clip():
        kind = "CLIPTokenizer"
        _rename_special_tokens(whole)
        write_unicode_json(whole["model"]["vocab"], directory / VOCABULARY_FILE)
        lines = ["#version: 0.2", *(" ".join(merge) for merge in whole["model"]["merges"])]
        atomic_write_text("\n".join(lines) + "\n", directory / MERGES_FILE)
        specials = _special_tokens(HF_START, HF_END)
    else:
        specials = _special_tokens(START_TOKEN, END_TOKEN)
    padding: dict[str, Any] = whole.get("padding") or {}
    settings = {
        **specials,
        "model_max_length": context_length,
        "model_input_names": inputs,
        "padding_side": str(padding.get("direction", "right")).lower(),
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": kind,
    }
    write_unicode_json(whole, directory / TOKENIZER_FILE)
    write_unicode_json(specials, directory / SPECIAL_TOKENS_FILE)
    write_unicode_json(settings, directory / TOKENIZER_CONFIG_FILE)


def _special_tokens(start: str, end: str) -> dict[str, str]:
    return {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}


def _add_cleaning(tokenizer_json: dict[str, Any], cleaning: TextCleaning) -> None:
    """Add the cleaning of texts to a `tokenizer.json`; clean texts do not change."""
    own = tokenizer_json["normalizer"] or {"type": "Sequence", "normalizers": []}
    steps = own["normalizers"] if own["type"] == "Sequence" else [own]
    tokenizer_json["normalizer"] = {
        "type": "Sequence",
        "normalizers": [*_NORMALIZERS_BY_CLEANING[cleaning], *steps],
    }


def _piece_special_tokens(
    tokenizer_json: dict[str, Any], tokenizer: SentencePieceTokenizer
) -> dict[str, str]:
    """The names of the special tokens that a vocabulary's own file uses."""
    specials: dict[str, str] = {"pad_token": tokenizer_json["padding"]["pad_token"]}
    for name, token in tokenizer_json["post_processor"]["special_tokens"].items():
        role = "eos_token" if token["ids"] == [tokenizer.end_id] else "bos_token"
        specials[role] = name
    return specials


def _rename_special_tokens(tokenizer_json: dict[str, Any]) -> None:
    """Give the start and the end token of a `tokenizer.json` the names that transformers knows."""
    names = {START_TOKEN: HF_START, END_TOKEN: HF_END}
    vocabulary = tokenizer_json["model"]["vocab"]
    tokenizer_json["model"]["vocab"] = {
        names.get(entry, entry): id_ for entry, id_ in vocabulary.items()
    }
    for token in tokenizer_json["added_tokens"]:
        token["content"] = names[token["content"]]
    tokenizer_json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = _CLIP_PATTERN
    start, end = (vocabulary[name] for name in (START_TOKEN, END_TOKEN))
    tokenizer_json["post_processor"] = {
        "type": "RobertaProcessing",
        "sep": [HF_END, end],
        "cls": [HF_START, start],
        "trim_offsets": False,
        "add_prefix_space": False,
    }


def write_unicode_json(data: object, path: Path) -> None:
    """Write a JSON file whole or not at all."""
    atomic_write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", path)
