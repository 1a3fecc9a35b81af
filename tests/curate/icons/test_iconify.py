from pathlib import Path

import pytest

from twinlens.curate.icons.iconify import (
    ALLOWED_LICENCES,
    Drawing,
    icon_names,
    read_drawing,
    read_icon_sets,
    read_set_files,
    renaming_aliases,
)
from twinlens.curate.icons.sources import ICONIFY

SET = {
    "icons": {
        "left": {"body": '<path fill="currentColor"/>', "width": 20},
        "red": {"body": '<path fill="#f00"/>', "rotate": 1},
        "gone": {"body": "", "hidden": True},
    },
    "aliases": {
        "right": {"parent": "left", "hFlip": True},
        "west": {"parent": "left"},
        "turned": {"parent": "red", "rotate": 1, "vFlip": True},
        "again": {"parent": "right", "vFlip": True},
    },
    "width": 16,
    "height": 24,
    "top": -2,
}


def test_sets_are_left_out_with_a_reason(cache: Path) -> None:
    sets = read_icon_sets(cache / ICONIFY.filename)
    assert sets["ri"].exclusion_reason == "left out by name"
    assert sets["share"].exclusion_reason == "licence CC-BY-SA-4.0"
    assert sets["logos"].exclusion_reason == "logos and brands only"
    assert sets["lucide"].exclusion_reason == ""
    read = {info.prefix for info, _ in read_set_files(cache / ICONIFY.filename, sets)}
    assert not read & {"ri", "share", "logos"}
    assert "lucide" in read


def test_licences_are_permissive_or_attribution() -> None:
    for word in ("SA", "NC", "ND", "GPL", "MPL"):
        assert not [licence for licence in ALLOWED_LICENCES if word in licence.split("-")], word


def test_names_skip_hidden_icons_and_mere_renames() -> None:
    assert list(icon_names(SET)) == ["left", "red", "right", "turned"]
    assert renaming_aliases(SET) == {"west": "left"}


def test_a_drawing_takes_the_sets_box_and_its_own() -> None:
    left = read_drawing(SET, "left", is_coloured=True)
    assert (left.left, left.top, left.width, left.height) == (0, -2, 20, 24)
    assert not left.is_coloured
    assert read_drawing(SET, "red", is_coloured=True).is_coloured
    assert not read_drawing(SET, "red", is_coloured=False).is_coloured


def test_an_alias_adds_its_turns_and_flips() -> None:
    right = read_drawing(SET, "right", is_coloured=True)
    assert (right.body, right.h_flip, right.width) == (SET["icons"]["left"]["body"], True, 20)
    turned = read_drawing(SET, "turned", is_coloured=True)
    assert (turned.rotate, turned.v_flip, turned.h_flip) == (2, True, False)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({}, ""),
        ({"rotate": 4}, ""),
        ({"rotate": 1}, "rotate(90 5 10)"),
        ({"h_flip": True}, "translate(5 10) scale(-1 1) translate(-5 -10)"),
    ],
)
def test_transforms(turn: dict[str, int], expected: str) -> None:
    assert Drawing("", 0, 5, 10, 10, **turn).svg_transform() == expected
