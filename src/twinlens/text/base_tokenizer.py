"""`BaseTokenizer`: texts to rows of token ids and back, whatever the vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from twinlens.errors import CheckpointError, DataError, os_errors_as, require
from twinlens.files import atomic_write_text
from twinlens.types import TruncatedTokens


class BaseTokenizer(ABC):
    """Encodes texts to rows of token ids and decodes them.

    Attributes:
        vocab_size: Number of ids, special tokens included.
        end_id: The id after every text; None if there is none.
        pad_id: The id that fills a row.
    """

    vocab_size: int
    end_id: int | None
    pad_id: int
    _default_context_length: int

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Encode a text of any length to ids, without start and end.

        Raises:
            DataError: It is not a string, or needs an id that the model has no row for.
        """

    @abstractmethod
    def to_json(self) -> str:
        """The content of a `tokenizer.json`, which the `tokenizers` library reads too."""

    @abstractmethod
    def _encode_rows(
        self, texts: Sequence[str], context_length: int, truncate: bool
    ) -> TruncatedTokens: ...

    @abstractmethod
    def _decode_ids(self, ids: Sequence[int]) -> str: ...

    @property
    def _num_decodable_ids(self) -> int:
        return self.vocab_size

    def __call__(
        self,
        texts: str | Sequence[str],
        context_length: int | None = None,
        truncate: bool = False,
    ) -> Int64[np.ndarray, "text context_length"]:
        """Encode texts to padded rows of ids with special tokens, int64 [n, context_length].

        Args:
            texts: One or several.
            context_length: Length of the rows; None for 77 with CLIP's vocabulary and those of
                its kind, 64 with SentencePiece's.
            truncate: Cut texts that are too long; the end token is kept.

        Raises:
            DataError: A text is not a string, or too long and `truncate` is not set.
            ConfigError: `context_length` leaves no room for the special tokens.
        """
        length = self._default_context_length if context_length is None else context_length
        texts = [texts] if isinstance(texts, str) else texts
        return self._encode_rows(texts, length, truncate)[0]

    def encode_truncated(self, texts: Sequence[str], context_length: int) -> TruncatedTokens:
        """Encode texts to rows of ids, truncated if too long, and count the truncated ones."""
        return self._encode_rows(texts, context_length, truncate=True)

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids to a text, up to the first end token, without special tokens.

        Pieces of CLIP's vocabulary are separated by one space: `decode(encode("it's"))` is
        `"it 's"`.

        Raises:
            DataError: An id is not in the vocabulary.
        """
        text_ids: list[int] = []
        for id_ in map(int, ids):
            if id_ == self.end_id:
                break
            last = self._num_decodable_ids - 1
            require(0 <= id_ <= last, "token id", id_, f"0 to {last}", DataError)
            text_ids.append(id_)
        return self._decode_ids(text_ids).strip()

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json` that needs no other file, all or nothing.

        With it the `tokenizers` library gives the same ids, odd texts aside.

        Raises:
            CheckpointError: The file cannot be written.
        """
        with os_errors_as(CheckpointError, path, "cannot be written"):
            atomic_write_text(self.to_json(), Path(path))
