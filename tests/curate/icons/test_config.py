import pytest

from twinlens.config_io import override
from twinlens.curate.icons.config import PRESETS, IconsSettings, full, small
from twinlens.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_changed_from_the_command_line(name: str) -> None:
    changed = override(PRESETS[name](), ["size=32", "seed=7"])
    assert (changed.size, changed.seed) == (32, 7)


def test_the_small_preset_has_no_icons_and_few_styles() -> None:
    assert small().icons_limit == 0
    assert "twemoji" in small().styles
    assert set(small().styles) < set(full().styles)


@pytest.mark.parametrize(
    "values",
    [
        {"size": 8},
        {"quality": 0},
        {"samples_per_shard": 0},
        {"icons_limit": -1},
        {"emoji_renders": -1},
        {"icons_per_concept": -1},
        {"emoji_icons": -1},
        {"variants": -1},
        {"tones": -1},
        {"flags": -1},
        {"unseen_images": -1},
        {"clipart_renders": -1},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(values))}: got"):
        IconsSettings(**values)


def test_none_of_a_kind_is_a_choice() -> None:
    none = IconsSettings(variants=0, icons_per_concept=0, unseen_images=0, clipart_renders=0)
    assert none.variants == none.clipart_renders == 0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'noto'"):
        IconsSettings(styles=("nota",))
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        IconsSettings(parts=("trian",))
