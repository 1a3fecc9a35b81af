from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.curate.icons.concepts import (
    EMOJI_HELD_OUT_PER_MILLE,
    ICONS_HELD_OUT_PER_MILLE,
    LANGUAGES,
    ConceptWords,
    EmojiTable,
    emoji_aliases,
    emoji_kind,
    from_codepoints,
    hash_bucket,
    name_family,
    read_emoji_table,
    slugify,
    strip_skin_tone,
    to_codepoints,
)
from twinlens.curate.icons.sources import CLDR, CLDR_DERIVED

WORDS = st.lists(st.sampled_from(["red", "cats", "box", "man", "wheel"]), min_size=1, max_size=4)


@given(st.text())
def test_slugs_are_stable_and_plain(text: str) -> None:
    assert slugify(slugify(text)) == slugify(text)
    assert set(slugify(text)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@given(WORDS)
def test_persons_and_plurals_do_not_part_a_family(words: list[str]) -> None:
    name = " ".join(words)
    assert hash_bucket(name) == hash_bucket(f"{name}s") if not name.endswith("s") else True
    assert name_family(name_family(name)) == name_family(name)
    if set(words) - {"man"}:
        assert hash_bucket(name) == hash_bucket(f"woman {name}") == hash_bucket(f"{name} face")


def test_code_points_and_characters_are_inverse() -> None:
    for text in ("🐈", "👩‍🚀", "🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"):
        assert from_codepoints(to_codepoints(text)) == text
    assert to_codepoints("❤️") == to_codepoints("❤")


def test_kinds_of_emoji() -> None:
    kinds = {
        text: emoji_kind(to_codepoints(text)) for text in ("🐈", "👋🏿", "🏿", "🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏳️‍🌈")
    }
    assert list(kinds.values()) == ["base", "tone", "base", "flag", "flag", "base"]
    assert from_codepoints(strip_skin_tone(to_codepoints("👩🏿‍🤝‍👨🏻"))) == "👩‍🤝‍👨"


def test_the_shares_of_held_out_names() -> None:
    lots = [hash_bucket(f"thing {number} of {number * 7}") for number in range(4000)]
    assert sum(each < EMOJI_HELD_OUT_PER_MILLE for each in lots) / 4000 == pytest.approx(
        0.05, abs=0.012
    )
    assert sum(each < ICONS_HELD_OUT_PER_MILLE for each in lots) / 4000 == pytest.approx(
        0.10, abs=0.015
    )


@pytest.fixture
def table() -> EmojiTable:
    return EmojiTable(
        {
            "1f408": ConceptWords({"en": "cat"}),
            "1f431": ConceptWords({"en": "cat face"}),
            "1f697": ConceptWords({"en": "automobile"}),
            "2764": ConceptWords({"en": "red heart"}),
        }
    )


def test_names_find_their_emoji(table: EmojiTable) -> None:
    assert table.find_by_name("Cat") == "1f408"
    assert table.find_by_name("cat-face") == table.find_by_name("catface") == "1f431"
    assert table.find_by_name("heavy black heart") == "2764"  # Unicode's own name
    assert (
        table.find_by_similar_name("automobile-2")
        == table.find_by_similar_name("automobile-face")
        == "1f697"
    )
    assert table.find_by_name("dog") is table.find_by_similar_name("dog-2") is None


def test_names_of_one_set_are_not_names_for_icons(table: EmojiTable) -> None:
    table.add_set_names({"1F697": "red-car"}, {"rouge": "red-car"})
    assert table.find_by_name("red-car") == table.find_by_name("rouge") == "1f697"
    assert table.find_by_official_name("red car") is None
    assert table.find_by_official_name("Automobile") == "1f697"


def test_an_icon_of_an_emojis_family_is_held_out_with_it(table: EmojiTable) -> None:
    for name in ("cat", "cats", "cat face", "woman cat"):
        assert table.is_held_out(name) == table.is_held_out("cat")
    strict = EmojiTable({"1f989": ConceptWords({"en": "owl"})})
    between = next(
        name
        for name in (f"thing {n}" for n in range(10_000))
        if EMOJI_HELD_OUT_PER_MILLE <= hash_bucket(name) < ICONS_HELD_OUT_PER_MILLE
    )
    assert strict.is_held_out(between)
    assert not EmojiTable({"1f989": ConceptWords({"en": between})}).is_held_out(between)


def test_cldr_is_read_in_the_chosen_languages_only(cache: Path) -> None:
    known = {"1f408", "1f44b-1f3ff"}
    found = read_emoji_table(cache / CLDR.filename, cache / CLDR_DERIVED.filename, known).words
    assert set(found) == known
    assert found["1f408"].names == dict.fromkeys(LANGUAGES[:3], "Katze") | {"en": "cat"}
    assert list(found["1f408"].names) == list(LANGUAGES[:3])
    assert found["1f408"].keywords["en"] == ("pet", "animal", "cat")
    assert found["1f44b-1f3ff"].label == "waving hand: dark skin tone"


def test_aliases_are_slugs_of_emoji() -> None:
    for name, concept in emoji_aliases().items():
        assert slugify(name) == name
        assert to_codepoints(from_codepoints(concept)) == concept
