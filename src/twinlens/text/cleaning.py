"""Text cleaning before tokenisation, and the error for texts that are too long."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable

from twinlens.config import TextCleaning
from twinlens.errors import DataError

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WHITESPACE = re.compile(r"\s+")


def require_str(text: object) -> str:
    """Return the text itself.

    Raises:
        DataError: It is not a string.
    """
    if not isinstance(text, str):
        raise DataError(f"text: got {type(text).__name__}, expected a string")
    return text


def fix_text(text: str) -> str:
    """Undo mojibake and unescape HTML entities, as OpenAI's code does."""
    # Printable ASCII without an entity needs no fixing: most texts skip the slow part.
    if text.isascii() and text.isprintable() and "&" not in text.replace("& ", ""):
        return text
    import ftfy  # noqa: PLC0415  a twentieth of a second of imports, which most texts spare

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def clean_text(text: str, cleaning: TextCleaning) -> str:
    """Clean a text for a vocabulary.

    Args:
        text: Any string.
        cleaning: "whitespace" fixes the text (see `fix_text`) and leaves single spaces; "lower"
            is the same in lower case; "canonicalize" also makes "_" a space and drops ASCII
            punctuation. "siglip" fixes nothing: lower case, no punctuation, single spaces. "none"
            changes nothing. Lone surrogates are always replaced.

    Raises:
        DataError: It is not a string.

    Example:
        >>> clean_text("  A snow_man,&nbsp;Olaf ", "canonicalize")
        'a snow man olaf'
    """
    return _CLEANERS[cleaning](require_str(text))


def text_too_long_error(text: str, num_tokens: int, context_length: int) -> DataError:
    """Make the error for a text of `num_tokens` tokens in a context of `context_length`."""
    excerpt = text if len(text) <= 60 else f"{text[:57]}..."
    return DataError(
        f"text {excerpt!r}: got {num_tokens} tokens with start and end, expected at most "
        f"{context_length}: shorten it by {num_tokens - context_length}"
    )


def _clean_lower(text: str) -> str:
    return " ".join(fix_text(text).lower().split())


def _clean_whitespace(text: str) -> str:
    return " ".join(fix_text(text).split())


def _clean_canonicalize(text: str) -> str:
    plain = fix_text(text).replace("_", " ").translate(_PUNCTUATION)
    return " ".join(plain.lower().split())


def _clean_siglip(text: str) -> str:
    return _WHITESPACE.sub(" ", _replace_surrogates(text).lower().translate(_PUNCTUATION)).strip()


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_CLEANERS: dict[TextCleaning, Callable[[str], str]] = {
    "lower": _clean_lower,
    "whitespace": _clean_whitespace,
    "canonicalize": _clean_canonicalize,
    "siglip": _clean_siglip,
    "none": _replace_surrogates,
}
