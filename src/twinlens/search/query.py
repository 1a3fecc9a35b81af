"""Queries: words, images, rows of the index, or a weighted mixture of these."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32
from PIL import Image

from twinlens.errors import ConfigError, DataError

if TYPE_CHECKING:
    from twinlens.types import Embeddings, ImageInput

NOT_WEIGHT = -0.5
"""Weight of what a query must not show."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a query.

    Attributes:
        kind: "text"; "image", which is embedded; or "id", an image of the index by its id.
        value: The text, the image or the id.
        weight: Its share of the mixture; below 0 for what the results must not show.
    """

    kind: Literal["text", "image", "id"]
    value: Any
    weight: float = 1.0

    def __str__(self) -> str:
        if self.kind == "image" and not isinstance(self.value, str | Path):
            return "<image>"
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Query:
    """A search: at least one part of a weight above 0."""

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not any(part.weight > 0 for part in self.parts):
            raise ConfigError(
                "query: got nothing to search for, expected words, an image, or a mixture with a "
                "weight above 0"
            )
        for part in self.parts:
            if not np.isfinite(part.weight):
                raise ConfigError(f"query: got weight {part.weight} of {part}, expected a number")
            if part.kind == "text" and not str(part.value).strip():
                raise ConfigError("query: got an empty text, expected words")

    @property
    def has_images(self) -> bool:
        """True if a part is an image that must be embedded."""
        return any(part.kind == "image" for part in self.parts)

    @property
    def file(self) -> Path | None:
        """The image's file, of a query that is one."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only.value if only and isinstance(only.value, Path) else None

    @property
    def is_of_images(self) -> bool:
        """True if images, embedded or of the index, have most of the weight."""
        weights = {"text": 0.0, "image": 0.0}
        for part in self.parts:
            weights["text" if part.kind == "text" else "image"] += abs(part.weight)
        return weights["image"] > weights["text"]

    def __str__(self) -> str:
        if len(self.parts) == 1:
            return str(self.parts[0])
        return ", ".join(f"{part}:{part.weight:g}" for part in self.parts)


def as_query(query: Any) -> Query:
    """A query as `Index.search` takes it: a string is words, a `Path` an image.

    Raises:
        ConfigError: It is nothing of the kind, or empty.

    Example:
        >>> str(as_query({"sunset": 1, "people": -0.5}))
        'sunset:1, people:-0.5'
    """
    if isinstance(query, Query):
        return query
    if isinstance(query, str):
        return Query((Part("text", query),))
    if isinstance(query, Mapping):
        return Query(
            tuple(Part("text", str(text), _weight(weight)) for text, weight in query.items())
        )
    if isinstance(query, Path | bytes | Image.Image | np.ndarray):
        return Query((Part("image", query),))
    raise ConfigError(
        f"query: got {type(query).__name__}, expected words, a Path, an image, weights of words, "
        "or a Query"
    )


def _weight(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise ConfigError(f"query: got weight {value!r}, expected a number")


def parse_mixture(text: str) -> list[Part]:
    """Parse `sunset:1,beach:0.5`: words with their weights, 1 where there is none.

    Raises:
        ConfigError: A part has no words.

    Example:
        >>> [(part.value, part.weight) for part in parse_mixture("sunset, red sky:0.5, people:-1")]
        [('sunset', 1.0), ('red sky', 0.5), ('people', -1.0)]
    """
    parts: list[Part] = []
    for piece in text.split(","):
        words, colon, weight = piece.strip().rpartition(":")
        if not colon:
            words, weight = piece.strip(), "1"
        if not words.strip() or not _NUMBER.fullmatch(weight.strip()):
            raise ConfigError(
                f"--mix: got {piece.strip()!r}, expected words with a number as their weight, as "
                "sunset:1,beach:0.5"
            )
        parts.append(Part("text", words.strip(), float(weight)))
    return parts


def image_part(name: str, weight: float = 1.0) -> Part:
    """An image's file, or an image of the index by its id.

    Raises:
        DataError: There is no such file, and it is no id.
    """
    if Path(name).exists():
        return Part("image", Path(name), weight)
    if re.fullmatch(r"[0-9a-f]{6,64}", name):
        return Part("id", name, weight)
    raise DataError(
        f"--image: got {name!r}, expected an image's file, or the id of a result (6 or more "
        "hexadecimal digits)"
    )


def read_queries(path: Path) -> list[Query]:
    """Queries of words, one to a line; empty lines are none.

    Raises:
        DataError: The file is not text or has none.
        OSError: It cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: got no UTF-8 text, expected queries, one to a line") from error
    queries = [as_query(line.strip()) for line in lines if line.strip()]
    if not queries:
        raise DataError(f"{path}: got no queries, expected one to a line")
    return queries


def part_vectors(
    queries: Sequence[Query],
    embed_texts: Callable[[Sequence[str]], Embeddings],
    embed_images: Callable[[Sequence[ImageInput]], Embeddings],
    vector_of: Callable[[str], Float32[np.ndarray, " width"]],
) -> list[list[Float32[np.ndarray, " width"]]]:
    """The unit vectors of the parts of queries, each text embedded once.

    Args:
        queries: The queries.
        embed_texts: Embeds texts; called if there are any.
        embed_images: The same of images.
        vector_of: Gives the vector of an image of the index by its id.

    Raises:
        DataError: An image cannot be decoded, a text is too long, or there is no such id.
    """
    parts = [part for query in queries for part in query.parts]
    texts = list(dict.fromkeys(part.value for part in parts if part.kind == "text"))
    images = [part.value for part in parts if part.kind == "image"]
    of_texts = dict(zip(texts, embed_texts(texts), strict=True)) if texts else {}
    of_images = iter(embed_images(images) if images else ())

    def vector(part: Part) -> Float32[np.ndarray, " width"]:
        if part.kind == "text":
            return of_texts[part.value]
        return next(of_images) if part.kind == "image" else vector_of(part.value)

    return [[vector(part) for part in query.parts] for query in queries]


def mixture(parts: Sequence[Part], vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The unit vector of a query's parts, float32 [width].

    Raises:
        DataError: The parts cancel each other out.
    """
    weights = np.array([part.weight for part in parts])
    mixed = (weights[:, None] * np.stack(vectors).astype(np.float64)).sum(axis=0)
    length = float(np.linalg.norm(mixed))
    if not length > 1e-6:
        raise DataError("query: got parts that cancel each other out, expected some difference")
    return (mixed / length).astype(np.float32)
