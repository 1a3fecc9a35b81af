"""One sample of the corpus: the image, its words and where it comes from."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twinlens.curate.icons.captions import caption_templates, make_captions
from twinlens.curate.icons.concepts import ConceptWords
from twinlens.curate.icons.config import EMOJI_STYLES, IconsConfig
from twinlens.curate.icons.plan import CorpusImage
from twinlens.curate.icons.render import (
    PLAIN_STYLE,
    encode_webp,
    random_style,
    render_svg,
    to_svg,
    trim_drawing,
)


def render_sample(planned: CorpusImage, settings: IconsConfig) -> dict[str, bytes]:
    """The members of one sample: a pure function of the image and the settings.

    Raises:
        DataError: The drawing cannot be rendered, or is empty.
    """
    rng = Random(f"{settings.seed}/{planned.concept}/{planned.icon_id}/{planned.render_index}")
    coloured = planned.drawing.is_coloured
    look = PLAIN_STYLE if planned.is_plain else random_style(rng, is_coloured=coloured)
    drawing = trim_drawing(planned.drawing) if planned.drawing.should_trim else planned.drawing
    corpus_image = render_svg(to_svg(drawing, look, settings.size), drawing.font)
    phrases = caption_templates(is_emoji=planned.style in EMOJI_STYLES, is_coloured=coloured)
    words = planned.words
    if settings.compact:
        words = ConceptWords({"en": words.label}, {"en": words.keywords.get("en", ())})
    record: dict[str, Any] = {"concept": planned.concept, "label": words.label}
    if len(words.names) > 1:
        record["names"] = dict(words.names)
    record["captions"] = make_captions(words, phrases, rng, category=planned.category)
    record |= _origin_fields(planned, compact=settings.compact)
    members = {
        "webp": encode_webp(corpus_image, settings.quality),
        "json": json.dumps(record, ensure_ascii=False).encode(),
        "txt": words.label.encode(),
    }
    if settings.compact:
        del members["txt"]
    return members


def _origin_fields(corpus_image: CorpusImage, *, compact: bool) -> dict[str, str]:
    if compact:
        return {"style": corpus_image.style, "category": corpus_image.category}
    return {
        "style": corpus_image.style,
        "set": corpus_image.icon_id.partition(":")[0],
        "icon": corpus_image.icon_id,
        "category": corpus_image.category,
        "licence": corpus_image.licence,
    }
