"""Images in a page: with a model's answers, or small ones of a data set by their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from twinlens.errors import DataError
from twinlens.html import format_percent
from twinlens.images.data_uri import image_data_uri

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.embed.embedder import Prediction
    from twinlens.types import ImageInput

_THUMBNAIL_SIZE = 96
"""Pixels a side."""

_THUMBNAIL_QUALITY = 75
"""A page holds hundreds of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryImage:
    """An image, what the model says of it (best first), and what it is, if that is known."""

    image: ImageInput
    predictions: Sequence[Prediction]
    title: str = ""
    truth: str | None = None


def gallery(images: Sequence[GalleryImage]) -> str:
    """Images as cards, each with the model's answers as bars."""
    return f'<div class="gallery">{"".join(map(_gallery_card, images))}</div>'


def _gallery_card(image: GalleryImage) -> str:
    rows = "".join(_prediction_row(one, image.truth) for one in image.predictions)
    title = f"<h3>{escape(image.title)}</h3>" if image.title else ""
    alt = escape(image.truth or image.title or "image")
    return (
        f'<article><img src="{image_data_uri(image.image)}" alt="{alt}" width="128" height="128">'
        f"<div>{title}<ol>{rows}</ol></div></article>"
    )


def _prediction_row(one: Prediction, truth: str | None) -> str:
    state = "" if truth is None else (' class="right"' if one.label == truth else ' class="wrong"')
    return (
        f'<li{state}><i style="width:{100 * one.probability:.1f}%"></i>'
        f"<span>{escape(one.label)}</span><b>{format_percent(one.probability)}</b></li>"
    )


class Thumbnails:
    """Small images of a data set by their places in it, each decoded once."""

    def __init__(self, dataset: Dataset) -> None:
        self._samples = dataset.samples
        self._cache: dict[int, str | None] = {}

    def thumbnail(self, index: int, alt: str, *, is_correct: bool | None = None) -> str:
        """The image, or words where it cannot be read; `is_correct` marks it as found or not."""
        if index not in self._cache:
            self._cache[index] = self._encode(index)
        uri = self._cache[index]
        state = "" if is_correct is None else (" right" if is_correct else " wrong")
        if uri is None:
            return f'<span class="thumb{state}">{escape(alt)}: cannot be read</span>'
        return f'<span class="thumb{state}"><img src="{uri}" alt="{escape(alt)}"></span>'

    def _encode(self, index: int) -> str | None:
        try:
            image = self._samples[index].image_bytes()
            return image_data_uri(image, _THUMBNAIL_SIZE, quality=_THUMBNAIL_QUALITY)
        except DataError:  # gone since it was measured: no reason to lose the whole page
            return None


def card_grid(*drawn: str) -> str:
    """Cards of images and words, as many in a row as there is room for."""
    return f'<div class="cases">{"".join(drawn)}</div>' if drawn else ""


def card(*pieces: str) -> str:
    """One card of `card_grid`."""
    return f'<div class="case">{"".join(pieces)}</div>'


def thumbnail_row(*images: str) -> str:
    """Small images beside each other."""
    return f'<div class="thumbs">{"".join(images)}</div>'
