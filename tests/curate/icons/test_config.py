import pytest

from twinlens.config_io import apply_overrides
from twinlens.curate.icons.config import PRESETS, IconsConfig, small_config
from twinlens.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_changed_from_the_command_line(name: str) -> None:
    changed = apply_overrides(PRESETS[name](), ["size=32", "seed=7"])
    assert (changed.size, changed.seed) == (32, 7)


def test_the_small_preset_has_no_icons_and_few_styles() -> None:
    assert small_config().icons_limit == 0
    assert "twemoji" in small_config().styles
    assert set(small_config().styles) < set(IconsConfig().styles)


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
        IconsConfig(**values)


def test_none_of_a_kind_is_a_choice() -> None:
    none = IconsConfig(variants=0, icons_per_concept=0, unseen_images=0, clipart_renders=0)
    assert none.variants == none.clipart_renders == 0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'noto'"):
        IconsConfig(styles=("nota",))
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        IconsConfig(parts=("trian",))
