"""Settings: there and back, and every mistake named."""

import json
from pathlib import Path

import pytest

from twinlens.config import CLIPConfig
from twinlens.config_io import (
    apply_overrides,
    from_dict,
    read_dataclass,
    read_json_object,
    to_dict,
    write_dataclass,
)
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model import presets
from twinlens.train.recipes import builtin
from twinlens.train.recipes.recipe import Recipe

PRESETS = ["rn50", "vit_b_32", "vit_l_14_336", "icons_demo", "icons_small"]


@pytest.mark.parametrize("name", PRESETS)
def test_there_and_back(name: str, tmp_path: Path):
    config = getattr(presets, name)()
    write_dataclass(config, tmp_path / "config.json")
    assert read_dataclass(CLIPConfig, tmp_path / "config.json") == config


def test_settings_reach_any_depth():
    config = apply_overrides(
        presets.vit_b_32(),
        ["text.layers=3", "text.activation=gelu", "preprocess.background=[0, 1, 2]"],
    )
    assert (config.text_config.layers, config.text_config.activation) == (3, "gelu")
    assert config.preprocess.background == (0, 1, 2)
    assert config.vision == presets.vit_b_32().vision


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ("text.layer=3", UnknownNameError, "unknown setting 'text.layer': did you mean"),
        ("txt.layers=3", UnknownNameError, "did you mean 'text.layers'"),
        ("embed_dim.x=3", UnknownNameError, "unknown setting 'embed_dim.x'"),
        ("embed_dim", ConfigError, "--set: got 'embed_dim', expected KEY=VALUE"),
        ("embed_dim=wide", ConfigError, "embed_dim: got 'wide', expected a value of type int"),
        ("embed_dim=true", ConfigError, "embed_dim: got True, expected a value of type int"),
        ("embed_dim=0", ConfigError, "embed_dim: got 0, expected 1 to 65,536"),
        ("logit_bias=1", ConfigError, "logit_bias: got 1, expected a value of type bool"),
        ("text.activation=relu", ConfigError, "activation: got 'relu', expected one of"),
        ("vision.kind=vision", UnknownNameError, "unknown kind in CLIPConfig.vision"),
        ("vision.patch_size=225", ConfigError, "patch_size: got 225, expected at most"),
        ("preprocess.std=[1, 2]", ConfigError, "expected a list of 3 values"),
        ("preprocess.image_size=64", ConfigError, "expected vision.image_size=224"),
        ("text=5", ConfigError, "CLIPConfig.text: got 5, expected a table"),
        ("text_cleaning=none", ConfigError, "got 'none', expected 'lower' where tokenizer is"),
        ('templates=["no slot"]', ConfigError, "each with {}"),
    ],
)
def test_mistakes_say_what_got_and_expected(setting: str, error: type[Exception], message: str):
    with pytest.raises(error) as raised:
        apply_overrides(presets.vit_b_32(), [setting])
    assert message in str(raised.value)


def test_missing_and_unknown_keys_are_named():
    data = to_dict(presets.vit_b_32())
    del data["text"]
    with pytest.raises(ConfigError, match=r"missing keys: got \['text'\]"):
        from_dict(CLIPConfig, data)
    with pytest.raises(UnknownNameError, match="'textt': did you mean 'text'"):
        from_dict(CLIPConfig, data | {"textt": {}})


def test_files_that_are_no_configuration(tmp_path: Path):
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        read_dataclass(CLIPConfig, path)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match="got 'list', expected a JSON object"):
        read_dataclass(CLIPConfig, path)


def test_a_file_nested_beyond_reading_is_an_error(tmp_path: Path):
    (tmp_path / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ConfigError, match=r"deep\.json: cannot be read as a configuration"):
        read_json_object(tmp_path / "deep.json")


def test_old_names_of_settings_are_read_with_a_warning():
    recipe = builtin.icons_demo()
    with pytest.warns(FutureWarning, match=r"^optim.final_lr: renamed to optim.final_lr_ratio"):
        changed = apply_overrides(recipe, ["optim.final_lr=0.1"])
    assert changed.optim.final_lr_ratio == 0.1


def test_a_file_with_old_names_is_read_with_one_warning(tmp_path: Path):
    stored = to_dict(builtin.icons_demo())
    stored["adapt"]["keep"] = stored["adapt"].pop("interpolation")
    stored["captions"] = stored.pop("captions_per_image")
    (tmp_path / "recipe.json").write_text(json.dumps(stored))
    with pytest.warns(FutureWarning, match="adapt.keep is adapt.interpolation, captions is") as one:
        assert read_dataclass(Recipe, tmp_path / "recipe.json") == builtin.icons_demo()
    assert len(one) == 1
    stored["captions_per_image"] = 2
    (tmp_path / "recipe.json").write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match="captions_per_image: got 'captions', expected one name"):
        read_dataclass(Recipe, tmp_path / "recipe.json")
