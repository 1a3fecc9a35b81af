"""Write the vocabulary of an exported model for the `tokenizers` library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tokenizers

from twinlens.config import CLIPConfig
from twinlens.export.parity import probe_texts
from twinlens.files import atomic_write_text
from twinlens.text.cleaning import clean_text
from twinlens.text.clip_bpe import Tokenizer
from twinlens.text.loading import TOKENIZER_FILE, AnyTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFile:
    """A `tokenizer.json` that truncates, adds special tokens and pads to the context.

    Attributes:
        file: Its name.
        kind: "clip" is a byte-level BPE like CLIP's, "sentencepiece" a SentencePiece vocabulary.
        end_id: The id after every text; None if there is none.
        pad_id: The id that fills a row.
        pad_side: The end of a row that is padded, "left" or "right".
        differs_on: Probe texts for which the library gives other ids than twinlens.
    """

    file: str
    kind: Literal["clip", "sentencepiece"]
    end_id: int | None
    pad_id: int
    pad_side: str
    differs_on: tuple[str, ...]


def write_tokenizer(tokenizer: AnyTokenizer, directory: Path, config: CLIPConfig) -> TokenizerFile:
    """Write a vocabulary so that the library encodes cleaned texts to a model's rows.

    Raises:
        CheckpointError: The file cannot be written.
        OSError: The file cannot be written.
    """
    path, length = directory / TOKENIZER_FILE, config.text_config.context_length
    tokenizer.save(path)
    library = tokenizers.Tokenizer.from_file(str(path))
    side = str((library.padding or {}).get("direction", "right")).lower()
    library.enable_truncation(length)
    library.enable_padding(
        direction=side,
        pad_id=tokenizer.pad_id,
        pad_token=library.id_to_token(tokenizer.pad_id),
        length=length,
    )
    atomic_write_text(library.to_str(pretty=True), path)
    return TokenizerFile(
        file=TOKENIZER_FILE,
        kind="clip" if isinstance(tokenizer, Tokenizer) else "sentencepiece",
        end_id=tokenizer.end_id,
        pad_id=tokenizer.pad_id,
        pad_side=side,
        differs_on=_find_tokenizer_mismatches(library, tokenizer, config),
    )


def _find_tokenizer_mismatches(
    library_tokenizer: tokenizers.Tokenizer, tokenizer: AnyTokenizer, config: CLIPConfig
) -> tuple[str, ...]:
    texts = probe_texts()
    length = config.text_config.context_length
    ours = tokenizer(texts, context_length=length, truncate=True).tolist()
    theirs = [
        library_tokenizer.encode(clean_text(text, config.text_cleaning)).ids for text in texts
    ]
    return tuple(text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b)
