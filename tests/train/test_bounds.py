"""Every whole number of a recipe and of a model has a bound, and is refused before it costs."""

import dataclasses
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from tests.train.runs import tiny_recipe
from twinlens.config_io import apply_overrides
from twinlens.curate.icons.config import IconsConfig
from twinlens.data.datasets import open_dataset
from twinlens.errors import ConfigError, DataError
from twinlens.train.state import TrainState

FREE = {"model.provenance.samples_seen"}
"""What is only written down."""


def whole_numbers(config: Any, prefix: str = "") -> Iterator[str]:
    """The names of all settings that are whole numbers, as `--set` takes them."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, hint, value = f"{prefix}{field.name}", hints[field.name], getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from whole_numbers(value, f"{name}.")
        elif hint is int or (
            get_origin(hint) in (Union, types.UnionType) and int in get_args(hint)
        ):
            yield name


RECIPES = {"resnet": tiny_recipe("resnet"), "vit": tiny_recipe("vit"), "icons": IconsConfig()}
SETTINGS = [
    (kind, name) for kind, config in RECIPES.items() for name in whole_numbers(config)
    if name not in FREE
]  # fmt: skip


def test_all_are_found():
    names = {name for _, name in SETTINGS}
    assert len(names) > 30
    assert {
        "batch_size",
        "compute.loss_tile_size",
        "adapt.lora_rank",
        "model.text.mlp_width",
    } < names


@pytest.mark.parametrize("value", [-1, 2**64, 10**13, 10**30, 10**300])
@pytest.mark.parametrize(("kind", "name"), SETTINGS)
def test_a_number_out_of_all_proportion_is_refused_in_one_line(kind: str, name: str, value: int):
    if name.endswith("seed") and value == 10**13:
        return
    with pytest.raises(ConfigError) as refused:
        apply_overrides(RECIPES[kind], [f"{name}={value}"])
    said = str(refused.value)
    assert name.rpartition(".")[2] in said
    assert "expected" in said
    assert len(said) < 200
    assert "\n" not in said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("batch_size=1000000000", "batch_size: got 1000000000, expected 1 to 1,048,576"),
        ("captions_per_image=1000000", "captions_per_image: got 1000000, expected 1 to 256"),
        ("seed=-1", "seed: got -1, expected 0 to 18,446,744,073,709,551,615"),
        (f"seed={2**64}", "seed: got 18446744073709551616, expected 0 to"),
        ("model.vision.layers=[1,1,1,100000]", "ResNetConfig.layers: got 100000, expected 1 to"),
        ("steps=" + "9" * 5000, "steps: got '9"),
    ],
)
def test_what_is_said(setting: str, said: str):
    with pytest.raises(ConfigError) as refused:
        apply_overrides(RECIPES["resnet"], [setting])
    assert said in str(refused.value)


def test_the_largest_seed_can_be_used():
    recipe = apply_overrides(RECIPES["resnet"], [f"seed={2**64 - 1}"])
    assert TrainState(recipe, "data", "cpu").recipe.seed == 2**64 - 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("a{0..999999999999}.tar", "got a range of more, expected at most 10,000,000 tars"),
        ("a{0..9999}/{0..9999}.tar", "got a range of more, expected at most 10,000,000 tars"),
        ("http://localhost/a{0..999999999999}.tar", "expected at most 10,000,000 tars"),
        ("a{0.." + "9" * 100 + "}.tar", "not a range of tars"),
        ("http://localhost/a{0.." + "9" * 5000 + "}.tar", "not a range of tars"),
    ],
)
def test_a_range_of_more_tars_than_there_are_is_refused_by_its_count(spec: str, said: str):
    with pytest.raises(DataError) as refused:
        open_dataset(spec)
    assert said in str(refused.value)
