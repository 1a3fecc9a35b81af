"""One sample of the corpus: the image, its words and where it comes from."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twinlens.curate.icons.captions import captions, templates
from twinlens.curate.icons.concepts import Words
from twinlens.curate.icons.config import EMOJI_STYLES, IconsSettings
from twinlens.curate.icons.plan import PlannedImage
from twinlens.curate.icons.render import PLAIN, encode, render, svg, trimmed, vary


def draw_sample(planned: PlannedImage, settings: IconsSettings) -> dict[str, bytes]:
    """The members of one sample: a pure function of the image and the settings.

    Raises:
        DataError: The drawing cannot be rendered, or is empty.
    """
    rng = Random(f"{settings.seed}/{planned.concept}/{planned.icon}/{planned.number}")
    coloured = planned.drawing.coloured
    look = PLAIN if planned.plain else vary(rng, coloured=coloured)
    drawing = trimmed(planned.drawing) if planned.drawing.trim else planned.drawing
    image = render(svg(drawing, look, settings.size), drawing.font)
    phrases = templates(emoji=planned.style in EMOJI_STYLES, coloured=coloured)
    words = _english(planned.words) if settings.compact else planned.words
    record: dict[str, Any] = {"concept": planned.concept, "label": words.label}
    if len(words.names) > 1:
        record["names"] = dict(words.names)
    record["captions"] = captions(words, phrases, rng, category=planned.category)
    record |= _origin(planned, compact=settings.compact)
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


def _origin(image: PlannedImage, *, compact: bool) -> dict[str, str]:
    if compact:
        return {"style": image.style, "category": image.category}
    return {
        "style": image.style,
        "set": image.icon.partition(":")[0],
        "icon": image.icon,
        "category": image.category,
        "licence": image.licence,
    }
