"""Checkpoints as trainers write them: the same weights come back, to the last bit."""

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tests.checkpoints.formats.hostile import hostile
from tests.checkpoints.formats.trainers_cases import (
    AVERAGES,
    FLAT_AVERAGES,
    INSIDE,
    LAYOUTS_WITH_A_BIAS,
    Case,
    cases,
)
from tests.checkpoints.formats.trainers_files import (
    PLAIN,
    State,
    a_model,
    assert_the_same,
    custom,
    line_of,
    opened,
    place_of,
    tensors_of,
    wrapped,
    write,
    write_plain,
)
from twinlens.checkpoints.formats.key_map import to_native_tensors
from twinlens.checkpoints.formats.openai import image_tower_heads
from twinlens.checkpoints.reader import load_model
from twinlens.checkpoints.recognise import open_checkpoint
from twinlens.checkpoints.torch_arrays import to_arrays, to_tensor
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.config import CLIPConfig
from twinlens.errors import CheckpointError
from twinlens.hub.resolve import resolve
from twinlens.text.clip_bpe import train_tokenizer
from twinlens.text.loading import load_tokenizer


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def expected() -> State:
    return a_model().state_dict()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_wrapping(case: Case, plain: dict[str, Path], tmp_path: Path, expected: State):
    path = place_of(case, plain, tmp_path / "model")
    named = {f"{case.prefix}{n}": value for n, value in tensors_of(plain, case.layout).items()}
    write(wrapped(named, case.wrapper), path, case.kind)
    path = path.parent if case.configured else path
    checkpoint = open_checkpoint(path, activation="quick_gelu")
    checkpoint.check_compatible(to_arrays(expected))
    got = to_native_tensors(checkpoint.key_map, checkpoint.tensors)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(to_tensor(got[name]), value), name
    config = checkpoint.config
    assert config.embed_dim == 16
    assert (config.vision, config.text) == (a_config().vision, a_config().text)


@cache
def a_config() -> CLIPConfig:
    return a_model().config


@pytest.mark.parametrize("layout", ["openai", "custom_text", "hugging_face", "native"])
@pytest.mark.parametrize(("piece", "became"), INSIDE)
def test_parts_that_were_wrapped_alone(
    *, layout: str, piece: str, became: str, plain: dict[str, Path], tmp_path: Path, expected: State
):
    case = Case(layout, layout == "native", "", (), "safetensors")
    path = place_of(case, plain, tmp_path / "model")
    state = tensors_of(plain, layout)
    write({f"module.{n.replace(piece, became)}": v for n, v in state.items()}, path, case.kind)
    got = opened(path.parent if case.configured else path).state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def averaged(state: Mapping[str, Tensor]) -> State:
    return {name: value + 1 for name, value in state.items()}


@pytest.mark.parametrize(("raw", "average"), AVERAGES)
def test_the_moving_average_comes_before_the_raw_weights(
    raw: tuple[str, ...],
    average: tuple[str, ...],
    plain: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    state = tensors_of(plain, "openai")
    whole = wrapped({f"module.{n}": v for n, v in state.items()}, raw)
    other = wrapped(averaged(state), average)
    assert isinstance(whole, dict)
    assert isinstance(other, dict)
    torch.save(whole | other, tmp_path / "both.pt")
    write(averaged(state), tmp_path / "plain.safetensors", "safetensors")
    assert_the_same(tmp_path / "both.pt", opened(tmp_path / "plain.safetensors"))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"took the moving average of the weights, under '{'.'.join(average)}." in told
    assert f"not the raw weights, under '{'.'.join(raw)}." in told


@pytest.mark.parametrize(("raw", "average"), FLAT_AVERAGES)
@pytest.mark.parametrize("layout", ["openai", "hugging_face"])
def test_the_moving_average_in_the_same_table(
    *,
    layout: str,
    raw: str,
    average: str,
    plain: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    state = tensors_of(plain, layout)
    both = {f"{raw}{n}": v for n, v in state.items()}
    both |= {f"{average}{n}": v for n, v in averaged(state).items()}
    save_file(both, tmp_path / "both.safetensors")
    write(averaged(state), tmp_path / "plain.safetensors", "safetensors")
    assert_the_same(tmp_path / "both.safetensors", opened(tmp_path / "plain.safetensors"))
    assert "took the moving average of the weights" in capsys.readouterr().err


def test_an_average_of_some_weights_is_not_taken(
    plain: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], expected: State
):
    state = tensors_of(plain, "openai")
    part = {n: v for n, v in averaged(state).items() if "visual" in n}
    torch.save({"model": state, "ema": part}, tmp_path / "x.pt")
    got = opened(tmp_path / "x.pt").state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    assert "has not got all of them" in capsys.readouterr().err


def test_two_models_are_not_chosen_from(plain: dict[str, Path], tmp_path: Path):
    state = tensors_of(plain, "openai")
    torch.save({"student": state, "teacher": averaged(state)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt: got the weights of 2 models, under 'stu"):
        opened(tmp_path / "x.pt")
    save_file({**state, **{f"module.{n}": v + 1 for n, v in state.items()}}, tmp_path / "x.st")
    with pytest.raises(CheckpointError, match=r"they are the same weight of two models"):
        opened(tmp_path / "x.st")


def test_what_is_not_under_the_prefix_is_told(
    plain: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], expected: State
):
    state = {f"clip.{n}": v for n, v in tensors_of(plain, "openai").items()}
    save_file({**state, "head.weight": torch.ones(2), "head.bias": torch.ones(1)}, tmp_path / "x")
    for _ in range(2):  # told once
        got = opened(tmp_path / "x").state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    told = capsys.readouterr().err
    assert "left out 2 tensors that are not under 'clip.': head.bias, head.weight" in told
    assert told.count("\n") == 1


def test_torch_s_averaged_model(plain: dict[str, Path], tmp_path: Path, expected: State):
    holder = nn.Module()
    for name, value in tensors_of(plain, "hugging_face").items():
        at = holder
        *parents, last = name.split(".")
        for part in parents:
            if not hasattr(at, part):
                at.add_module(part, nn.Module())
            at = getattr(at, part)
        at.register_parameter(last, nn.Parameter(value))
    torch.save(AveragedModel(holder).state_dict(), tmp_path / "x.pt")
    got = opened(tmp_path / "x.pt").state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


class Settings:
    """A trainer's own class."""

    sealed = False

    def __new__(cls) -> "Settings":
        assert not cls.sealed, "an object was made"
        return super().__new__(cls)

    def __init__(self) -> None:
        self.lr = 0.1


def test_objects_beside_the_weights_are_not_made(
    plain: dict[str, Path], tmp_path: Path, expected: State, monkeypatch: pytest.MonkeyPatch
):
    state = tensors_of(plain, "openai")
    objects = {
        "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.95), out=tmp_path),
        "settings": Settings(),
        "best": np.float64(0.5),
        "numpy_state": np.random.default_rng(0).integers(0, 9, 4),
        "took": timedelta(seconds=3),
        "seen": {1, 2},
    }
    torch.save(wrapped(state, ("state_dict",), **objects), tmp_path / "x.pt")
    monkeypatch.setattr(Settings, "sealed", True)
    got = opened(tmp_path / "x.pt").state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_calls_beside_the_weights_are_refused(plain: dict[str, Path], tmp_path: Path):
    trap = tmp_path / "trap"
    for asks in hostile(trap):
        for content in ({"args": asks}, {"args": argparse.Namespace(x=asks)}):
            whole = {"state_dict": tensors_of(plain, "openai"), **content}
            torch.save(whole, tmp_path / "x.pt")
            with pytest.raises(CheckpointError, match=r"got a request for \S+, expected a pickle"):
                opened(tmp_path / "x.pt")
    assert not trap.exists()


# Sigmoid-trained weights


@pytest.mark.parametrize(("layout", "configured"), LAYOUTS_WITH_A_BIAS)
@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_bias_in_the_weights_is_enough(
    *,
    layout: str,
    configured: bool,
    shape: tuple[int, ...],
    prefix: str,
    plain: dict[str, Path],
    tmp_path: Path,
    expected: State,
):
    shape = () if layout == "native" else shape  # our own layout has plain numbers
    path = place_of(Case(layout, configured, "", (), "safetensors"), plain, tmp_path / "model")
    state = tensors_of(plain, layout) | {"logit_bias": torch.full(shape, -9.5)}
    save_file({f"{prefix}{n}": v for n, v in state.items()}, path)
    model = opened(path.parent if configured else path)
    assert model.config.logit_bias
    assert model.logit_bias is not None
    assert model.logit_bias.item() == -9.5
    got = model.state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


# Files with a configuration beside them


@pytest.mark.parametrize("layout", PLAIN)
@pytest.mark.parametrize("name", ["model.fp16.safetensors", "epoch_3.pt", "anything"])
def test_a_file_uses_the_configuration_beside_it(
    layout: str, name: str, plain: dict[str, Path], tmp_path: Path, expected: State
):
    path = place_of(Case(layout, True, "", (), "safetensors"), plain, tmp_path / "model")
    write(tensors_of(plain, layout), path.with_name(name), "safetensors")
    model = load_model(resolve(path.with_name(name)))
    assert model.config == load_model(plain[layout]).config
    got = model.state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_a_file_of_hugging_face_s_names_with_its_config_alone(
    plain: dict[str, Path], tmp_path: Path, expected: State
):
    shutil.copy(plain["hugging_face"] / "config.json", tmp_path)
    save_file(tensors_of(plain, "hugging_face"), tmp_path / "x.safetensors")
    whole = load_model(plain["hugging_face"]).config
    model = load_model(tmp_path / "x.safetensors")
    assert model.config == replace(whole, tokenizer="clip")
    got = model.state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    with pytest.raises(CheckpointError, match=r"a vocabulary of 49408, expected vocab_size=530"):
        load_tokenizer(tmp_path / "x.safetensors", model.config)  # no other is guessed
    (tmp_path / "x.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"got no preprocessor_config\.json, expected one"):
        load_model(tmp_path)  # a directory says all


@pytest.mark.parametrize("layout", ["openai", "custom_text", "hugging_face"])
def test_the_activation_must_be_named_or_told(layout: str, plain: dict[str, Path], tmp_path: Path):
    save_file(tensors_of(plain, layout), tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"expected quick_gelu .*; or \S*config\.json beside"):
        load_model(tmp_path / "x.safetensors")


def test_our_own_weights_need_their_configuration(plain: dict[str, Path], tmp_path: Path):
    save_file(tensors_of(plain, "native"), tmp_path / "x.safetensors")
    message = r"x\.safetensors: got twinlens's own weights alone, .* expected the model's config\.j"
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "x.safetensors")


def test_an_index_can_be_named_itself(plain: dict[str, Path], tmp_path: Path, expected: State):
    path = place_of(Case("hugging_face", True, "", (), "safetensors"), plain, tmp_path / "model")
    state = tensors_of(plain, "hugging_face")
    save_file(state, path.with_name("model.fp16-00001-of-00001.safetensors"))
    places = dict.fromkeys(state, "model.fp16-00001-of-00001.safetensors")
    index = path.with_name("model.safetensors.index.fp16.json")
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match=r"\(model\.safetensors\.index\.fp16\.json\)"):
        resolve(path.parent)
    got = load_model(resolve(index)).state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


# Towers that shapes do not tell


def test_heads_of_the_widest_image_towers(plain: dict[str, Path]):
    released = {768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}
    assert {width: image_tower_heads(width) for width in released} == released


@pytest.mark.parametrize("layout", ["openai", "custom_text", "hugging_face"])
def test_mlps_of_another_width(layout: str, tmp_path: Path):
    config = a_model().config
    assert config.vision is not None
    assert config.text is not None
    model = a_model(
        vision=replace(config.vision, mlp_width=88),
        text=replace(config.text, mlp_width=72),
    )
    assert model.config.text == replace(config.text, mlp_width=72)
    words = train_tokenizer(["a small drawing of the large cat"], 530)
    writer = write_hugging_face if layout == "hugging_face" else write_open_clip
    writer(model, tmp_path / "whole", words)
    [path] = (tmp_path / "whole").glob("*.safetensors")
    state = load_file(path)
    save_file(custom(state) if layout == "custom_text" else state, tmp_path / "alone.safetensors")
    again = opened(tmp_path / "alone.safetensors")
    assert (again.config.vision, again.config.text) == (model.config.vision, model.config.text)
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in again.state_dict().items())


def test_towers_of_other_libraries_need_their_configuration(plain: dict[str, Path], tmp_path: Path):
    state = tensors_of(plain, "custom_text")
    for name in ("visual.trunk.patch_embed.proj.weight", "text.text_projection.weight"):
        save_file({**state, name: torch.ones(2, 2)}, tmp_path / "x.safetensors")
        assert "open_clip_config.json beside" in line_of(lambda: opened(tmp_path / "x.safetensors"))
    state = {**tensors_of(plain, "hugging_face"), "vision_model.head.probe": torch.ones(1, 1, 2)}
    save_file(state, tmp_path / "x.safetensors")
    message = line_of(lambda: opened(tmp_path / "x.safetensors"))
    assert "got SigLIP's weights alone" in message
    assert "config.json, preprocessor_config.json and tokenizer.json beside" in message
