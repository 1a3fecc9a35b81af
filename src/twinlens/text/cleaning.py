"""Texts before any vocabulary sees them: mended, cleaned, and refused where they are too long."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable

import ftfy

from twinlens.config import TextCleaning
from twinlens.errors import DataError

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES = re.compile(r"\s+")


def checked(text: object) -> str:
    """The text itself.

    Raises:
        DataError: It is not a string.
    """
    if not isinstance(text, str):
        raise DataError(f"text: got {type(text).__name__}, expected a string")
    return text


def mended(text: str) -> str:
    """The text with mojibake undone and HTML entities written out, as OpenAI's code does."""
    # Printable ASCII without an entity needs no mending: most texts skip the slow part.
    if text.isascii() and text.isprintable() and "&" not in text.replace("& ", ""):
        return text
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def cleaned(text: str, cleaning: TextCleaning) -> str:
    """The text as a vocabulary shall see it.

    Args:
        text: Any.
        cleaning: "whitespace" mends and leaves single spaces; "lower" is the same in lower case;
            "canonicalize" also makes "_" a space and drops ASCII punctuation. "siglip" mends
            nothing: lower case, no punctuation, single spaces. "none" changes nothing. What is
            no Unicode (half a surrogate pair) is replaced in any case.

    Raises:
        DataError: It is not a string.

    Example:
        >>> cleaned("  A snow_man,&nbsp;Olaf ", "canonicalize")
        'a snow man olaf'
    """
    return _CLEANERS[cleaning](checked(text))


def too_long(text: str, got: int, limit: int) -> DataError:
    """The error for a text of `got` tokens where `limit` fit."""
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return DataError(
        f"text {short!r}: got {got} tokens with start and end, expected at most {limit}: "
        f"shorten it by {got - limit}"
    )


def _lower(text: str) -> str:
    return " ".join(mended(text).lower().split())


def _whitespace(text: str) -> str:
    return " ".join(mended(text).split())


def _canonicalize(text: str) -> str:
    plain = mended(text).replace("_", " ").translate(_PUNCTUATION)
    return " ".join(plain.lower().split())


def _siglip(text: str) -> str:
    return _SPACES.sub(" ", _unicode(text).lower().translate(_PUNCTUATION)).strip()


def _unicode(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_CLEANERS: dict[TextCleaning, Callable[[str], str]] = {
    "lower": _lower,
    "whitespace": _whitespace,
    "canonicalize": _canonicalize,
    "siglip": _siglip,
    "none": _unicode,
}
