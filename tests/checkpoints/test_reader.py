"""Files that do not hold what their names promise, in every family: one error, all listed."""

import json
import math
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.formats.openai_archive import openai_model
from tests.checkpoints.formats.test_big_vision import parameters
from tests.tiny import tiny_clip, tiny_config
from twinlens.checkpoints.expected_weights import expected_weights
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.reader import load_model
from twinlens.checkpoints.recognise import open_checkpoint
from twinlens.checkpoints.weights import resize_positional_embedding, select_towers
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.errors import CheckpointError, TwinlensError
from twinlens.model import presets
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import train_tokenizer
from twinlens.types import TowerSelection

State = dict[str, torch.Tensor]
WRITERS: dict[str, Callable[..., None]] = {
    "native": save_model,
    "open_clip": write_open_clip,
    "hugging_face": write_hugging_face,
}
CONFIGS = {
    "native": "config.json",
    "open_clip": "open_clip_config.json",
    "hugging_face": "config.json",
}
NORMS = {
    "native": "text_tower.final_norm.bias",
    "open_clip": "ln_final.bias",
    "hugging_face": "text_model.final_layer_norm.bias",
}


def write(family: str, directory: Path) -> None:
    """A tiny model with a small vocabulary in a family's layout."""
    words = train_tokenizer(["a small drawing of the large cat"], 530)
    model = tiny_clip(vocab_size=530, context_length=16, embed_dim=16, tokenizer="tokenizer.json")
    WRITERS[family](model, directory, words)


@pytest.fixture(scope="module", params=WRITERS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def directory(family: str, tmp_path: Path) -> Path:
    write(family, tmp_path / "model")
    return tmp_path / "model"


def change_tensors(directory: Path, change: Callable[[State], object]) -> None:
    [path] = directory.glob("*model.safetensors")
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    (directory / "checksums.json").unlink(missing_ok=True)  # which would tell


def change_config(path: Path, value: Any, *keys: str) -> None:
    whole = table = json.loads(path.read_text())
    for key in keys[:-1]:
        table = table[key]
    table[keys[-1]] = value
    path.write_text(json.dumps(whole))


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(path, activation="quick_gelu")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_numbers_that_are_no_weights_are_all_listed(
    family: str, directory: Path, dtype: torch.dtype
):
    norm = NORMS[family]
    change_tensors(
        directory, lambda t: t.update({k: t[k].to(dtype) for k in ("logit_scale", norm)})
    )
    message = refused(directory)
    assert "does not fit its configuration: logit_scale" in message
    assert norm in message
    assert f"is {str(dtype).removeprefix('torch.')} instead of float32" in message


def test_floats_of_any_size_are_weights(directory: Path):
    before = load_model(directory).state_dict()
    change_tensors(directory, lambda t: t.update({k: v.double() for k, v in t.items()}))
    after = load_model(directory).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_is_finite_on_disk_alone_is_refused(family: str, directory: Path):
    norm = NORMS[family]
    change_tensors(
        directory, lambda t: t.update({norm: torch.full_like(t[norm], 1e300, dtype=torch.float64)})
    )
    assert f"{norm}: got 1e+300, expected finite weights" in refused(directory)


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.ones(3), torch.ones(1, 2, 1, 2, 1)])
def test_tensors_of_any_rank_are_listed(directory: Path, value: torch.Tensor):
    def spoil(tensors: State) -> None:
        for name in tensors:
            if "token_embedding" not in name and value.ndim != tensors[name].ndim:
                tensors[name] = value.clone()

    change_tensors(directory, spoil)
    message = refused(directory)
    assert f"is {list(value.shape)} instead of" in message
    assert "text_tower.positional_embedding" in message


@pytest.mark.parametrize("part", ["q", "k", "v"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 3), (7, 16)])
def test_parts_of_an_attention_must_be_alike(tmp_path: Path, part: str, shape: tuple[int, ...]):
    write("hugging_face", tmp_path)
    name = f"text_model.encoder.layers.0.self_attn.{part}_proj.weight"
    change_tensors(tmp_path, lambda t: t.update({name: torch.ones(shape)}))
    found = f"blocks.0.attention.qkv.weight is {[1, *shape]} instead of [48, 16]"
    assert found in refused(tmp_path)


SPOILED = {
    ("native", "text"): "image_tower.projection",
    ("open_clip", "text"): "visual.proj",
    ("hugging_face", "text"): "visual_projection.weight",
    ("native", "image"): "text_tower.projection",
    ("open_clip", "image"): "text_projection",
    ("hugging_face", "image"): "text_projection.weight",
}


def assert_held_alone(path: Path, tower: TowerSelection, whole: CLIP) -> None:
    """Only a tower's tensors were read, of which others are spoiled, and are held."""
    with pytest.raises(CheckpointError, match="expected finite weights"):
        load_model(path)
    alone = load_model(path, towers=tower)
    kept = {name for name in whole.state_dict() if name.startswith(f"{tower}_tower.")}
    single = {name for name in alone.state_dict() if "_tower." in name}
    assert single == kept
    assert all(torch.equal(alone.state_dict()[name], whole.state_dict()[name]) for name in kept)


@pytest.mark.parametrize("tower", ["text", "image"])
def test_one_tower_is_read_alone(family: str, tower: TowerSelection, directory: Path):
    whole, name = load_model(directory), SPOILED[family, tower]
    change_tensors(directory, lambda t: t.update({name: torch.full_like(t[name], math.nan)}))
    assert_held_alone(directory, tower, whole)


@pytest.mark.parametrize("tower", ["text", "image"])
def test_one_tower_of_a_big_vision_file_is_read_alone(tower: TowerSelection, tmp_path: Path):
    found = parameters()
    np.savez(tmp_path / "whole.npz", **found)
    other = "img/embedding/kernel" if tower == "text" else "txt/Embed_0/embedding"
    found[f"params/{other}"] = found[f"params/{other}"] * np.float32("nan")
    np.savez(tmp_path / "spoiled.npz", **found)
    assert_held_alone(tmp_path / "spoiled.npz", tower, load_model(tmp_path / "whole.npz"))


def test_the_text_tower_alone_has_less_than_a_third_of_the_bytes():
    config = presets.vit_l_14()
    both, alone = (
        sum(value.nbytes for value in expected_weights(select_towers(config, towers)).values())
        for towers in ("both", "text")
    )
    assert alone < both / 3


@pytest.mark.peers
def test_siglip_s_positions_are_resized_as_timm_does():
    timm = import_module("timm.models.vision_transformer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = timm.VisionTransformer(
            img_size=32,
            patch_size=8,
            embed_dim=32,
            depth=1,
            num_heads=2,
            num_classes=0,
            class_token=False,
            global_pool="map",
        )
        theirs.pos_embed.data.normal_()
    config = tiny_config(embed_dim=32)
    tower = replace(
        config.vision, image_size=32, patch_size=8, pooling="attention", projection="none"
    )
    config = replace(config, vision=tower)
    for size in (48, 40, 16):
        resized = replace(
            config,
            vision=replace(tower, image_size=size),
            preprocess=replace(config.preprocess_config, image_size=size),
        )
        ours = resize_positional_embedding(theirs.pos_embed[0].detach().numpy(), resized)
        other = deepcopy(theirs)
        other.set_input_size(img_size=size)
        assert ours.shape == other.pos_embed[0].shape
        # Pillow weighs in float64, torch in float32: a few units in the last place.
        assert np.abs(ours - other.pos_embed[0].detach().numpy()).max() < 2e-6


def openai_state() -> State:
    state = openai_model(seed=0, vocab_size=200).state_dict()
    return {name: value.clone() for name, value in state.items()}


TELLING = (
    "positional_embedding",
    "token_embedding.weight",
    "text_projection",
    "visual.conv1.weight",
    "visual.positional_embedding",
)


@pytest.mark.parametrize("name", TELLING)
@pytest.mark.parametrize("shape", [None, (), (3,), (1, 2, 1, 2, 1), (0,), (0, 64)])
def test_shapes_that_tell_an_architecture(name: str, shape: tuple[int, ...] | None, tmp_path: Path):
    state = openai_state()
    del state[name]
    if shape is not None:
        state[name] = torch.ones(shape)
    torch.save(state, tmp_path / "weights.pt")
    message = refused(tmp_path / "weights.pt")
    assert name in message
    assert ("got no" if shape is None else f"got shape {list(shape)}") in message


def test_sizes_that_do_not_fit_together_are_of_the_file(tmp_path: Path):
    state = openai_state()
    state["positional_embedding"] = torch.ones(77, 3)
    torch.save(state, tmp_path / "weights.pt")
    assert "TextConfig.heads: got 0" in refused(tmp_path / "weights.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_a_state_dict_of_no_weights(dtype: torch.dtype, tmp_path: Path):
    state = openai_state()
    state["logit_scale"] = state["logit_scale"].to(dtype)
    torch.save(state, tmp_path / "weights.pt")
    assert "logit_scale is " in refused(tmp_path / "weights.pt")


LAYERS: dict[str, list[tuple[str, ...]]] = {
    "native": [("text", "layers"), ("vision", "layers")],
    "open_clip": [("model_cfg", "text_cfg", "layers"), ("model_cfg", "vision_cfg", "layers")],
    "hugging_face": [
        ("text_config", "num_hidden_layers"),
        ("vision_config", "num_hidden_layers"),
    ],
}


@pytest.mark.parametrize("tower", [0, 1])
def test_more_layers_than_the_file_has_tensors(family: str, tower: int, directory: Path):
    # The file's sums are those of before the change.
    (directory / "checksums.json").unlink(missing_ok=True)
    change_config(directory / CONFIGS[family], 999, *LAYERS[family][tower])
    assert re.search(r"999 layers and|\.\.998}", refused(directory))
    change_config(directory / CONFIGS[family], 10**9, *LAYERS[family][tower])
    with pytest.raises(TwinlensError, match="layers: got 1000000000, expected 1 to 1,000"):
        load_model(directory)


def test_a_resnet_of_more_layers_than_tensors(tmp_path: Path):
    save_model(tiny_clip("resnet"), tmp_path)
    (tmp_path / "checksums.json").unlink()
    change_config(tmp_path / "config.json", [1, 996, 1, 1], "vision", "layers")
    assert re.search(r"999 layers and|1\.\.995}", refused(tmp_path))
    change_config(tmp_path / "config.json", [1, 10**9, 1, 1], "vision", "layers")
    with pytest.raises(TwinlensError, match="layers: got 1000000000, expected 1 to 1,000"):
        load_model(tmp_path)


WIDTHS: dict[str, tuple[str, ...]] = {
    "native": ("text", "width"),
    "open_clip": ("model_cfg", "text_cfg", "width"),
    "hugging_face": ("text_config", "hidden_size"),
}


@pytest.mark.parametrize("width", [10**9, 10**18, 10**30])
def test_sizes_that_no_tensor_has(family: str, width: int, directory: Path):
    (directory / "checksums.json").unlink(missing_ok=True)
    change_config(directory / CONFIGS[family], width, *WIDTHS[family])
    with pytest.raises(TwinlensError, match=r"config.json: .*width: got 10+, expected 1 to 65,536"):
        load_model(directory)


@pytest.mark.parametrize("value", [[], {}, 3, None])
@pytest.mark.parametrize(
    ("layout", "keys"), [("native", ("vision", "kind")), ("hugging_face", ("model_type",))]
)
def test_a_kind_that_is_no_name(layout: str, keys: tuple[str, ...], value: object, tmp_path: Path):
    write(layout, tmp_path)
    change_config(tmp_path / "config.json", value, *keys)
    with pytest.raises(TwinlensError):
        open_checkpoint(tmp_path)
