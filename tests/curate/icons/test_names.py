import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.curate.icons.names import appended_keywords, clean_name, declared_affixes, is_brand


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("cat", "cat"),
        ("cat-filled", "cat"),
        ("cat-outline-24", "cat"),
        ("cat-2-solid", "cat"),
        ("box3", "box"),
        ("traffic-light", "traffic light"),
        ("clock-3", "clock 3"),
        ("arrow-up", "arrow up"),
        ("wifi-off", "wifi off"),
        ("24", ""),
        ("ab", ""),
        ("a-b-c-d-e-f-giraffe", ""),
        ("interface-edit--pen-write", "interface edit"),
    ],
)
def test_names_are_cleaned(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


def test_affixes_that_a_set_declares_are_taken_off_once() -> None:
    data = {
        "prefixes": {"baseline": "Baseline", "": "Plain"},
        "suffixes": {"line": "Line", "bold-line": "Bold Line", "": "Regular"},
    }
    prefixes, suffixes = declared_affixes(data)
    assert suffixes == ("bold-line", "line")
    assert clean_name("baseline-heart-bold-line", prefixes, suffixes) == "heart"
    assert clean_name("baseline", prefixes, suffixes) == "baseline"
    assert clean_name("heart-line") == "heart line"


@given(st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,5}", fullmatch=True))
def test_cleaning_never_fails_and_is_stable(name: str) -> None:
    cleaned = clean_name(name)
    assert clean_name(cleaned.replace(" ", "-")) == cleaned or cleaned == ""


def test_brands() -> None:
    for name in (
        "github",
        "github-circle",
        "brand-x",
        "logo-x",
        "x-logo",
        "apple",
        "slack-outline",
    ):
        assert is_brand(name), name
    for name in ("cat", "apple-core", "steam-engine", "temperature-medium"):
        assert not is_brand(name), name
    assert is_brand("cat", ("Social Media",))
    assert not is_brand("cat", ("animals",))


def test_keywords_behind_a_double_hyphen() -> None:
    assert appended_keywords("a--b2-cat-1-dog") == ("cat", "dog")
    assert appended_keywords("cat") == ()
