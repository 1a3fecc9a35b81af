from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.curate.icons.aliases import EMOJI_ALIASES
from twinlens.curate.icons.concepts import (
    EMOJI_HELD_OUT,
    ICONS_HELD_OUT,
    LANGUAGES,
    EmojiTable,
    Words,
    characters,
    codepoints,
    family,
    kind,
    lot,
    read_emoji,
    slug,
    without_tone,
)
from twinlens.curate.icons.sources import CLDR, CLDR_DERIVED

WORDS = st.lists(st.sampled_from(["red", "cats", "box", "man", "wheel"]), min_size=1, max_size=4)


@given(st.text())
def test_slugs_are_stable_and_plain(text: str) -> None:
    assert slug(slug(text)) == slug(text)
    assert set(slug(text)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@given(WORDS)
def test_persons_and_plurals_do_not_part_a_family(words: list[str]) -> None:
    name = " ".join(words)
    assert lot(name) == lot(f"{name}s") if not name.endswith("s") else True
    assert family(family(name)) == family(name)
    if set(words) - {"man"}:
        assert lot(name) == lot(f"woman {name}") == lot(f"{name} face")


def test_code_points_and_characters_are_inverse() -> None:
    for text in ("🐈", "👩‍🚀", "🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"):
        assert characters(codepoints(text)) == text
    assert codepoints("❤️") == codepoints("❤")


def test_kinds_of_emoji() -> None:
    kinds = {text: kind(codepoints(text)) for text in ("🐈", "👋🏿", "🏿", "🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏳️‍🌈")}
    assert list(kinds.values()) == ["base", "tone", "base", "flag", "flag", "base"]
    assert characters(without_tone(codepoints("👩🏿‍🤝‍👨🏻"))) == "👩‍🤝‍👨"


def test_the_shares_of_held_out_names() -> None:
    lots = [lot(f"thing {number} of {number * 7}") for number in range(4000)]
    assert sum(each < EMOJI_HELD_OUT for each in lots) / 4000 == pytest.approx(0.05, abs=0.012)
    assert sum(each < ICONS_HELD_OUT for each in lots) / 4000 == pytest.approx(0.10, abs=0.015)


@pytest.fixture
def table() -> EmojiTable:
    return EmojiTable(
        {
            "1f408": Words({"en": "cat"}),
            "1f431": Words({"en": "cat face"}),
            "1f697": Words({"en": "automobile"}),
            "2764": Words({"en": "red heart"}),
        }
    )


def test_names_find_their_emoji(table: EmojiTable) -> None:
    assert table.find("Cat") == "1f408"
    assert table.find("cat-face") == table.find("catface") == "1f431"
    assert table.find("heavy black heart") == "2764"  # Unicode's own name
    assert table.find_loosely("automobile-2") == table.find_loosely("automobile-face") == "1f697"
    assert table.find("dog") is table.find_loosely("dog-2") is None


def test_names_of_one_set_are_not_names_for_icons(table: EmojiTable) -> None:
    table.add_set({"1F697": "red-car"}, {"rouge": "red-car"})
    assert table.find("red-car") == table.find("rouge") == "1f697"
    assert table.find_official("red car") is None
    assert table.find_official("Automobile") == "1f697"


def test_an_icon_of_an_emojis_family_is_held_out_with_it(table: EmojiTable) -> None:
    for name in ("cat", "cats", "cat face", "woman cat"):
        assert table.held_out(name) == table.held_out("cat")
    strict = EmojiTable({"1f989": Words({"en": "owl"})})
    between = next(
        name
        for name in (f"thing {n}" for n in range(10_000))
        if EMOJI_HELD_OUT <= lot(name) < ICONS_HELD_OUT
    )
    assert strict.held_out(between)
    assert not EmojiTable({"1f989": Words({"en": between})}).held_out(between)


def test_cldr_is_read_in_the_chosen_languages_only(cache: Path) -> None:
    known = {"1f408", "1f44b-1f3ff"}
    found = read_emoji(cache / CLDR.filename, cache / CLDR_DERIVED.filename, known).words
    assert set(found) == known
    assert found["1f408"].names == dict.fromkeys(LANGUAGES[:3], "Katze") | {"en": "cat"}
    assert list(found["1f408"].names) == list(LANGUAGES[:3])
    assert found["1f408"].keywords["en"] == ("pet", "animal", "cat")
    assert found["1f44b-1f3ff"].label == "waving hand: dark skin tone"


def test_aliases_are_slugs_of_emoji() -> None:
    for name, concept in EMOJI_ALIASES.items():
        assert slug(name) == name
        assert codepoints(characters(concept)) == concept
