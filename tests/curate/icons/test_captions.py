from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.curate.icons.captions import caption_templates, make_captions
from twinlens.curate.icons.concepts import LANGUAGES, ConceptWords

NAMES = {language: f"{language} cat" for language in LANGUAGES} | {"en": "cat"}
CAT = ConceptWords(NAMES, dict.fromkeys(LANGUAGES, ("pet", "whiskers", "cat", "fur")))


@given(seed=st.integers())
def test_half_is_english_and_the_rest_other_languages(seed: int) -> None:
    found = make_captions(CAT, caption_templates(is_emoji=True, is_coloured=True), Random(seed))
    assert len(found) == 12
    assert found[0] == found[4] == "cat"
    assert found[1] != found[2]
    assert "cat" in found[1]
    assert found[3].startswith("cat: ")
    assert set(found[5].split(", ")) <= {"pet", "whiskers", "fur"}
    others = set(found[6:])
    assert all(
        set(text.split(", ")) <= {"pet", "whiskers", "fur"} or "cat" in text for text in others
    )


def test_captions_are_decided_by_the_seed_and_differ_between_images() -> None:
    phrases = caption_templates(is_emoji=True, is_coloured=True)
    assert make_captions(CAT, phrases, Random(1)) == make_captions(CAT, phrases, Random(1))
    assert make_captions(CAT, phrases, Random(1)) != make_captions(CAT, phrases, Random(2))


def test_names_are_most_of_the_foreign_captions() -> None:
    phrases = caption_templates(is_emoji=True, is_coloured=True)
    found = [text for seed in range(300) for text in make_captions(CAT, phrases, Random(seed))[6:]]
    share = sum(text in NAMES.values() for text in found) / len(found)
    assert share == pytest.approx(0.8, abs=0.04)


def test_a_name_alone_still_gives_captions() -> None:
    words = ConceptWords({"en": "arrow left"})
    found = make_captions(
        words, caption_templates(is_emoji=False, is_coloured=False), Random(0), category="arrows"
    )
    assert found[3] == "arrow left, arrows"
    assert found[5] == "arrow left"
    assert len(found) == 6


@pytest.mark.parametrize("emoji", [True, False])
@pytest.mark.parametrize("coloured", [True, False])
def test_templates_hold_the_name_once(emoji: bool, coloured: bool) -> None:
    for template in caption_templates(is_emoji=emoji, is_coloured=coloured):
        assert template.count("{}") == 1
