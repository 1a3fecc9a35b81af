"""OpenVINO's graphs give what the torch towers give, for every architecture of a configuration."""

from dataclasses import replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from tests.checkpoints.formats.reference import shaken
from tests.tiny import tiny_clip, tiny_config
from twinlens.checkpoints.torch_arrays import to_arrays
from twinlens.config import TextConfig, ViTConfig
from twinlens.errors import ConfigError
from twinlens.inference.openvino_graph import _KNOWN_LAYERS, Graph, image_graph, text_graph
from twinlens.inference.openvino_runtime import openvino
from twinlens.model import presets
from twinlens.model.clip import CLIP

TOLERANCE = 2e-5

VIT, RESNET = tiny_config().vision, tiny_config("resnet").vision
IMAGE_TOWERS: dict[str, Any] = {
    "class token": VIT,
    "gelu": replace(VIT, activation="gelu"),
    "gelu_tanh": replace(VIT, activation="gelu_tanh"),
    "no projection": replace(VIT, projection="none"),
    "attention pooling": replace(VIT, pooling="attention", projection="none", mlp_width=40),
    "a remainder of a patch": replace(VIT, patch_size=13),
    "resnet": RESNET,
    "deep resnet": replace(RESNET, layers=(2, 1, 3, 2)),
}
TEXT = tiny_config().text_config
TEXT_TOWERS: dict[str, Any] = {
    "highest": TEXT,
    "end": replace(TEXT, pooling="end", end_id=5),
    "last, two-way": replace(TEXT, pooling="last", causal=False),
    "affine": replace(TEXT, projection="affine", activation="gelu"),
    "no projection": replace(TEXT, projection="none", mlp_width=24, norm_eps=1e-3),
}


def model_of(**changes: Any) -> CLIP:
    model = shaken(tiny_clip(**changes))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model


def run(graph: Graph, inputs: np.ndarray) -> np.ndarray:
    model = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(model([inputs])["embeddings"])


@pytest.mark.parametrize("name", IMAGE_TOWERS)
@torch.inference_mode()
def test_image_towers_equal_torch_s(name: str):
    vision = IMAGE_TOWERS[name]
    width = getattr(vision, "width", 8)
    embed_dim = width if getattr(vision, "projection", "linear") == "none" else 8
    model = model_of(vision=vision, text=None, embed_dim=embed_dim)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    got = run(image_graph(model.config, to_arrays(model.state_dict())), images.numpy())
    assert np.abs(got - model.encode_image(images, normalize=True).numpy()).max() < TOLERANCE


@pytest.mark.parametrize("length", [12, 7])
@pytest.mark.parametrize("name", TEXT_TOWERS)
@torch.inference_mode()
def test_text_towers_equal_torch_s(name: str, length: int):
    text = TEXT_TOWERS[name]
    embed_dim = text.width if text.projection == "none" else 8
    model = model_of(vision=None, preprocess=None, text=text, embed_dim=embed_dim)
    if model.text_tower.needs_full_context:
        length = text.context_length
    tokens = np.random.default_rng(4).integers(6, 60, (5, length))
    tokens[:, 0] = 62
    tokens[np.arange(5), [1, 3, 3, 4, 6]] = 63 if text.pooling == "highest" else 5
    tokens[2, 5] = tokens[2, 3]  # the first of two ends counts
    got = run(text_graph(model.config, to_arrays(model.state_dict())), tokens)
    expected = model.encode_text(torch.from_numpy(tokens), normalize=True).numpy()
    assert np.abs(got - expected).max() < TOLERANCE


@pytest.mark.parametrize("name", ["vit_b_32", "rn50", "siglip_vit_b_16"])
@torch.inference_mode()
def test_presets_equal_torch_s(name: str):
    config = getattr(presets, name)()
    vision = config.vision
    layers = (1, 1, 1, 1) if isinstance(vision.layers, tuple) else 2
    config = replace(
        config, vision=replace(vision, layers=layers), text=replace(config.text_config, layers=2)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIP(config).eval()
    weights = to_arrays(model.state_dict())
    size, text = config.preprocess_config.image_size, config.text_config
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    got = run(image_graph(config, weights), images.numpy())
    assert np.abs(got - model.encode_image(images, normalize=True).numpy()).max() < TOLERANCE
    tokens = np.random.default_rng(4).integers(1, text.vocab_size, (2, text.context_length))
    got = run(text_graph(config, weights), tokens)
    expected = model.encode_text(torch.from_numpy(tokens), normalize=True).numpy()
    assert np.abs(got - expected).max() < TOLERANCE


@pytest.mark.parametrize(
    ("tower", "field"),
    [("vision", "activation"), ("vision", "pooling"), ("text", "projection"), ("text", "pooling")],
)
def test_a_layer_that_no_graph_has_is_named(tower: str, field: str):
    config = tiny_config()
    object.__setattr__(getattr(config, tower), field, "swiglu")  # as of a later version
    build = image_graph if tower == "vision" else text_graph
    with pytest.raises(ConfigError, match=f"{field}: got 'swiglu'.*engine='torch'"):
        build(config, {})


@pytest.mark.parametrize("field", ["activation", "pooling", "projection"])
@pytest.mark.parametrize("config", [ViTConfig, TextConfig])
def test_graphs_have_all_that_configurations_may_name(config: type, field: str):
    assert set(get_args(get_type_hints(config)[field])) == set(_KNOWN_LAYERS[config][field])
