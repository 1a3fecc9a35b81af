"""Models of transformers, read from the files that it writes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.formats.reference import (
    assert_same_answers,
    assert_same_direction,
    opened,
    shaken,
    transformers,
)
from twinlens.checkpoints.formats import hugging_face
from twinlens.checkpoints.formats.key_map import to_native_tensors
from twinlens.checkpoints.torch_arrays import to_arrays
from twinlens.errors import CheckpointError

END = 98
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = {**SIZES, "vocab_size": END + 1, "bos_token_id": END - 1, "eos_token_id": END}
VISION = {**SIZES, "image_size": 32, "patch_size": 8}
SIGLIP_TEXT = {**TEXT, "max_position_embeddings": 16}

REFERENCES = {
    "CLIPModel": lambda: transformers.CLIPConfig(
        text_config=TEXT, vision_config={**VISION, "hidden_size": 48}, projection_dim=24
    ),
    "CLIPTextModel": lambda: transformers.CLIPTextConfig(**TEXT),
    "CLIPTextModelWithProjection": lambda: transformers.CLIPTextConfig(**TEXT, projection_dim=24),
    "CLIPVisionModel": lambda: transformers.CLIPVisionConfig(**VISION),
    "CLIPVisionModelWithProjection": lambda: transformers.CLIPVisionConfig(
        **VISION, projection_dim=24
    ),
    "SiglipModel": lambda: transformers.SiglipConfig(text_config=SIGLIP_TEXT, vision_config=VISION),
    "SiglipTextModel": lambda: transformers.SiglipTextConfig(**SIGLIP_TEXT, projection_size=24),
    "SiglipVisionModel": lambda: transformers.SiglipVisionConfig(**VISION),
}


def reference(name: str, config: Any = None) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return shaken(getattr(transformers, name)(config or REFERENCES[name]()))


def saved(model: Any, directory: Path) -> Path:
    """What transformers writes, with the files that tell about pixels and words."""
    model.save_pretrained(directory)
    kind = "Siglip" if "Siglip" in type(model).__name__ else "CLIP"
    pixels = getattr(transformers, f"{kind}ImageProcessorPil")(
        size={"height": 32, "width": 32} if kind == "Siglip" else {"shortest_edge": 32},
        **({} if kind == "Siglip" else {"crop_size": {"height": 32, "width": 32}}),
    )
    pixels.save_pretrained(directory)
    (directory / "tokenizer.json").write_text("{}")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    return directory


@pytest.mark.parametrize("name", REFERENCES)
def test_a_model_of_transformers_gives_its_numbers(name: str, tmp_path: Path):
    theirs = reference(name)
    assert_same_answers(opened(saved(theirs, tmp_path)), theirs)


@pytest.mark.parametrize("name", REFERENCES)
def test_files_of_transformers_4_have_prefixes_and_position_ids(name: str, tmp_path: Path):
    theirs = reference(name)
    path = saved(theirs, tmp_path) / "model.safetensors"
    tensors = load_file(path)
    if not any("_model." in tensor for tensor in tensors):
        prefix = "text_model." if "Text" in name else "vision_model."
        tensors = {prefix + tensor: value for tensor, value in tensors.items()}
    for tower in {tensor.split(".")[0] for tensor in tensors if "_model." in tensor}:
        tensors[f"{tower}.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(tensors, path)
    assert_same_answers(opened(tmp_path), theirs)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_pytorch_tanh"},
        {"layer_norm_eps": 1e-2},
        {"eos_token_id": 2},  # means the highest id
    ],
)
def test_a_configuration_is_obeyed(changes: dict[str, object], tmp_path: Path):
    config = transformers.CLIPConfig(
        text_config=TEXT | changes,
        vision_config=VISION | {key: changes[key] for key in changes if "token" not in key},
        projection_dim=24,
    )
    theirs = reference("CLIPModel", config)
    assert_same_answers(opened(saved(theirs, tmp_path)), theirs)


def test_another_end_token_is_found_at_its_first_place(tmp_path: Path):
    theirs = reference("CLIPTextModel", transformers.CLIPTextConfig(**TEXT | {"eos_token_id": 7}))
    ours = opened(saved(theirs, tmp_path))
    assert ours.config.text_config.pooling == "end"
    tokens = torch.tensor([[5, 98, 7, 3, 7, 98], [7, 98, 98, 7, 7, 7], [1, 2, 3, 4, 5, 7]])
    with torch.no_grad():
        assert_same_direction(ours.encode_text(tokens), theirs(tokens).pooler_output)


@pytest.mark.parametrize("name", ["CLIPVisionModel", "SiglipVisionModel"])
def test_what_is_left_over_after_whole_patches_is_not_seen(name: str, tmp_path: Path):
    """As in SigLIP's best known model: 384 pixels in patches of 14."""
    config = type(REFERENCES[name]())(**VISION | {"patch_size": 7})
    theirs = reference(name, config)
    assert_same_answers(opened(saved(theirs, tmp_path)), theirs)


def test_towers_of_siglip_that_answer_in_other_widths_are_refused(tmp_path: Path):
    config = transformers.SiglipConfig(
        text_config={**SIGLIP_TEXT, "projection_size": 24}, vision_config=VISION
    )
    with pytest.raises(CheckpointError, match="embed_dim: got 24, expected vision"):
        hugging_face.read_config(saved(reference("SiglipModel", config), tmp_path))


def test_tensors_of_another_shape_pass_the_links(tmp_path: Path):
    """Whoever loads them lists all that do not fit; reading must not stop at the first."""
    path = saved(reference("SiglipVisionModel"), tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["head.attention.in_proj_weight"] = torch.tensor(1.0)
    tensors["head.probe"] = torch.ones(3)
    config = hugging_face.read_config(tmp_path)
    linked = to_native_tensors(hugging_face.key_map(config, tensors), to_arrays(tensors))
    assert linked["image_tower.pool.key_value.weight"].shape == ()
    assert linked["image_tower.pool.query"].shape == (3,)
