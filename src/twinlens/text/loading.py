"""Load the vocabulary of a checkpoint: CLIP's own, one of its kind, or SentencePiece's."""

from __future__ import annotations

from pathlib import Path

from twinlens.config import CLIPConfig
from twinlens.config_io import read_json_object
from twinlens.errors import CheckpointError, ConfigError
from twinlens.text.clip_bpe import END_OF_WORD_SUFFIX, Tokenizer
from twinlens.text.sentencepiece.tokenizer import TOKENIZER_FILE, SentencePieceTokenizer

AnyTokenizer = Tokenizer | SentencePieceTokenizer


def load_tokenizer(path: Path, config: CLIPConfig) -> AnyTokenizer:
    """Load the vocabulary that a model's configuration names.

    Args:
        path: The checkpoint: its directory, or a file in it.
        config: The model's configuration.

    Raises:
        CheckpointError: The file is missing or damaged, or its size is not the model's.
        ConfigError: The model has no text tower.
    """
    size = config.text_config.vocab_size
    directory = path.parent if path.is_file() else Path(path)
    if config.tokenizer != "clip" and not _has_clip_word_endings(directory / TOKENIZER_FILE):
        return SentencePieceTokenizer.from_directory(
            directory, config.text_cleaning, vocab_size=size
        )
    if config.tokenizer == "clip":
        tokenizer = Tokenizer.clip()
    else:
        tokenizer = Tokenizer.from_file(directory / TOKENIZER_FILE)
    if tokenizer.vocab_size != size:
        raise CheckpointError(
            f"{path}: got a vocabulary of {tokenizer.vocab_size}, expected vocab_size={size}"
        )
    return tokenizer


def _has_clip_word_endings(path: Path) -> bool:
    """True if a vocabulary marks the end of words as CLIP's does; none of SentencePiece's do."""
    if not path.is_file():
        return False
    try:
        model = read_json_object(path)["model"]
        return model.get("end_of_word_suffix") == END_OF_WORD_SUFFIX
    except (ConfigError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: got {error}, expected a {TOKENIZER_FILE}") from error
