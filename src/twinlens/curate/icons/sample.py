"""One sample of the corpus: the picture, its words and where it comes from."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twinlens.curate.icons.captions import captions, templates
from twinlens.curate.icons.concepts import Words
from twinlens.curate.icons.config import EMOJI_STYLES, IconsSettings
from twinlens.curate.icons.plan import Picture
from twinlens.curate.icons.render import PLAIN, encode, render, svg, trimmed, vary


def draw_sample(picture: Picture, settings: IconsSettings) -> dict[str, bytes]:
    """The members of one sample: a pure function of the picture and the settings.

    Raises:
        DataError: The drawing cannot be rendered, or is empty.
    """
    rng = Random(f"{settings.seed}/{picture.concept}/{picture.icon}/{picture.number}")
    coloured = picture.drawing.coloured
    look = PLAIN if picture.plain else vary(rng, coloured=coloured)
    drawing = trimmed(picture.drawing) if picture.drawing.trim else picture.drawing
    image = render(svg(drawing, look, settings.size), drawing.font)
    phrases = templates(emoji=picture.style in EMOJI_STYLES, coloured=coloured)
    words = _english(picture.words) if settings.compact else picture.words
    record: dict[str, Any] = {"concept": picture.concept, "label": words.label}
    if len(words.names) > 1:
        record["names"] = dict(words.names)
    record["captions"] = captions(words, phrases, rng, category=picture.category)
    record |= _origin(picture, compact=settings.compact)
    members = {
        "webp": encode(image, settings.quality),
        "json": json.dumps(record, ensure_ascii=False).encode(),
        "txt": words.label.encode(),
    }
    if settings.compact:
        del members["txt"]
    return members


def _english(words: Words) -> Words:
    return Words({"en": words.label}, {"en": words.keywords.get("en", ())})


def _origin(picture: Picture, *, compact: bool) -> dict[str, str]:
    if compact:
        return {"style": picture.style, "category": picture.category}
    return {
        "style": picture.style,
        "set": picture.icon.partition(":")[0],
        "icon": picture.icon,
        "category": picture.category,
        "licence": picture.licence,
    }
