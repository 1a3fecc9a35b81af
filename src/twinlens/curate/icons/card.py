"""The data set card and the attribution file: what a corpus is, and whose work is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from twinlens.curate.icons.config import (
    TRAIN,
    UNSEEN_BOTH,
    UNSEEN_CONCEPTS,
    UNSEEN_STYLE,
    UNSEEN_STYLES,
)
from twinlens.curate.icons.iconify import IconSet
from twinlens.data.webdataset.shards import write_text_file

_SPLIT_DESCRIPTIONS = {
    TRAIN: "concepts and styles to learn from",
    UNSEEN_CONCEPTS: "concepts that no training image shows, in the styles of training",
    UNSEEN_STYLES: f"{UNSEEN_STYLE}, a style that no training image has; its concepts are seen",
    UNSEEN_BOTH: f"{UNSEEN_STYLE} and unseen concepts",
}

_CARD_TEMPLATE = """\
# Open icon corpus

Images of {size} x {size} pixels with captions, drawn from openly licensed icons, emoji and
clip art. Built by `twinlens data icons`; fingerprint `{fingerprint}`. The same packages and
settings give the same bytes. It knows drawings, not photographs.

| part | images | concepts | what it is |
| --- | ---: | ---: | --- |
{table}

## A sample

Plain WebDataset tars of up to {samples_per_shard} samples: {members}:

{fields}

{languages_note} Captions are made of the name, the spoken name and
keywords (Unicode CLDR, Lucide, Tabler, Phosphor), the set's category and templates.

## How images look

Training images lie on white (two in five), light, saturated, dark and two-coloured backgrounds,
with varied margins; drawings of one colour take a colour that stands out. Renders of
each emoji drawing: {emoji_renders}, each different. Held-out images are shown once, on white with
a margin of 4%.

## The split

By concept, never by image. The name decides alone, by a hash: emoji and icons of one name are
one concept, and plurals and words for persons ("man running", "woman running") do not part them.
Of emoji names 5% are held out, of other icon names 10%. Skin tones are capped at {tones} a drawing
and flags at {flags} in all, and neither is in the parts of the unseen style.

Images of each emoji set, and how many of the unseen style's {wanted} concepts it has:

| style | train | unseen concepts | concepts in common |
| --- | ---: | ---: | ---: |
{styles}

## Left out

{skipped}

{notes}Images that could not be drawn: {failed} (listed in `manifest.json`). Licences and authors:
`ATTRIBUTION.md`.

## Limits

Names come from the sets' authors: some are odd, and one concept can have several ("trash",
"bin"), which the split does not know. Emoji of persons show the choices of their makers.
"""

_ATTRIBUTION_TEMPLATE = """\
# Attribution

The corpus holds changed copies (rendered small, on other backgrounds, some recoloured) of drawings
of these sets. Names and keywords: Unicode CLDR (Unicode License v3), Lucide (ISC), Tabler (MIT),
Phosphor (MIT). Icon sets come from the Iconify collection.

| set | author | licence | images |
| --- | --- | --- | ---: |
{used}

## Left out

| set | why |
| --- | --- |
{left_out}
"""


def write_card(out: Path, manifest: Mapping[str, Any], sets: Mapping[str, IconSet]) -> None:
    """Write `README.md` and `ATTRIBUTION.md`.

    Raises:
        DataError: They cannot be written.
    """
    write_text_file(out / "README.md", _render_card(manifest))
    write_text_file(out / "ATTRIBUTION.md", _render_attribution(manifest, sets))


def _render_card(manifest: Mapping[str, Any]) -> str:
    settings, parts = manifest["settings"], manifest["parts"]
    coverage: Mapping[str, int] = manifest["coverage"]
    skipped = [f"- {why}: {count:,} icons" for why, count in manifest["skipped"].items()]
    return _CARD_TEMPLATE.format(
        **{name: value for name, value in settings.items() if name != "styles"},
        fingerprint=manifest["fingerprint"],
        **_sample_format_fields(manifest),
        wanted=f"{coverage.get(UNSEEN_STYLE, 0):,}",
        table=_markdown_rows(
            (part, f"{entry['images']:,}", f"{entry['concepts']:,}", _SPLIT_DESCRIPTIONS[part])
            for part, entry in parts.items()
        ),
        styles=_markdown_rows(
            (
                style,
                f"{_style_count(parts, TRAIN, style):,}",
                f"{_style_count(parts, UNSEEN_CONCEPTS, style):,}",
                f"{common:,}",
            )
            for style, common in coverage.items()
            if style != UNSEEN_STYLE
        ),
        skipped="\n".join(skipped) or "Nothing.",
        notes="".join(f"{note}\n\n" for note in manifest["notes"]),
        failed=f"{len(manifest['failed']):,}",
    )


def _sample_format_fields(manifest: Mapping[str, Any]) -> dict[str, str]:
    fields = [
        ("`concept`", "what is shown: an emoji's code points, or an icon's cleaned name"),
        ("`label`", "the English name"),
        ("`captions`", "strings that describe the image; draw one uniformly"),
        ("`style`, `category`", "the icon set; its category"),
    ]
    members = "`webp` (the image) and `json`"
    note = "All captions are English."
    if not manifest["settings"]["compact"]:
        languages = len(manifest["languages"])
        fields.insert(2, ("`names`", f"emoji: the name in each of {languages} languages"))
        fields.append(("`set`, `icon`, `licence`", "where the drawing comes from; SPDX"))
        members = "`webp` (the image), `txt` (its English name) and `json`"
        note = (
            "About half of an emoji's captions are English, the others in up to six languages\n"
            "drawn anew for each image; other icons are captioned in English."
        )
    table = _markdown_rows([("field", "holds"), ("---", "---"), *fields])
    return {"fields": table, "members": members, "languages_note": note}


def _style_count(splits: Mapping[str, Any], split: str, style: str) -> int:
    return splits[split]["styles"].get(style, 0) if split in splits else 0


def _render_attribution(manifest: Mapping[str, Any], sets: Mapping[str, IconSet]) -> str:
    used = {
        style: sum(entry["styles"].get(style, 0) for entry in manifest["parts"].values())
        for style in sorted({s for entry in manifest["parts"].values() for s in entry["styles"]})
    }
    return _ATTRIBUTION_TEMPLATE.format(
        used=_markdown_rows(
            (
                f"{sets[style].name} (`{style}`)",
                _markdown_link(sets[style].author, sets[style].author_url),
                _markdown_link(sets[style].licence, sets[style].licence_url),
                f"{count:,}",
            )
            for style, count in used.items()
        ),
        left_out=_markdown_rows(
            (f"{each.name} (`{prefix}`)", each.exclusion_reason)
            for prefix, each in sorted(sets.items())
            if each.exclusion_reason
        ),
    )


def _markdown_link(text: str, url: str) -> str:
    return f"[{text}]({url})" if url else text


def _markdown_rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
