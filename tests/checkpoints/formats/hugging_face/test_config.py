"""What Hugging Face's files say of a model and its pixels, and what they must not say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checkpoints.formats.reference import transformers
from twinlens.checkpoints.formats import hugging_face
from twinlens.checkpoints.formats.hugging_face.describe import preprocessor_json
from twinlens.checkpoints.formats.hugging_face.names import PROCESSOR_DEFAULTS, TOWER_DEFAULTS
from twinlens.config import OPENAI_MEAN, PreprocessConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError
from twinlens.images.decode import to_pixels
from twinlens.inference.preprocess import normalize

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CLIP = {
    "architectures": ["CLIPModel"],
    "model_type": "clip",
    "projection_dim": 24,
    "text_config": {**SIZES, "intermediate_size": 256},
    "vision_config": {**SIZES, "intermediate_size": 100},
}
CLIP_PIXELS = {"image_processor_type": "CLIPImageProcessor"}
SIGLIP = {
    "architectures": ["SiglipModel"],
    "model_type": "siglip",
    "text_config": {"model_type": "siglip_text_model", "vocab_size": 256_000},
    "vision_config": {"model_type": "siglip_vision_model", "image_size": 384},
}
SIGLIP_PIXELS = {
    "image_processor_type": "SiglipImageProcessor",
    "size": {"height": 384, "width": 384},
    "resample": 2,
    "do_convert_rgb": None,
}


def directory_of(
    path: Path, config: Mapping[str, Any], pixels: Mapping[str, Any] | None, **files: object
) -> Path:
    """A directory with these files; a vocabulary of another kind than CLIP's unless given."""
    contents = {
        "config": config,
        "preprocessor_config": pixels,
        "tokenizer": {},
        "tokenizer_config": {"tokenizer_class": "SiglipTokenizer"},
        **files,
    }
    for name, content in contents.items():
        if content is not None:
            (path / f"{name}.json").write_text(json.dumps(content))
    return path


def changed(table: Mapping[str, Any], **changes: object) -> dict[str, Any]:
    """A copy with keys set: `text_config__hidden_act="relu"` sets a nested one."""
    copy = json.loads(json.dumps(table))
    for key, value in changes.items():
        outer, _, inner = key.partition("__")
        if inner:
            copy[outer][inner] = value
        else:
            copy[outer] = value
    return copy


@pytest.mark.parametrize(("family", "tower"), TOWER_DEFAULTS)
def test_what_a_file_leaves_out_is_what_the_class_says(family: str, tower: str):
    name = f"{'CLIP' if family == 'clip' else 'Siglip'}{tower.capitalize()}Config"
    theirs = getattr(transformers, name)()
    ours = TOWER_DEFAULTS[family, tower]
    known = {key: getattr(theirs, key) for key in ours if key != "projection_size"}
    assert {key: ours[key] for key in known} == known


@pytest.mark.parametrize("name", PROCESSOR_DEFAULTS)
def test_what_a_preprocessor_leaves_out_is_what_the_class_says(name: str):
    theirs = json.loads(getattr(transformers, f"{name}Pil")().to_json_string())
    said = {key: value for key, value in PROCESSOR_DEFAULTS[name].items() if value}
    assert {key: theirs.get(key) for key in said} == said
    unsaid = set(PROCESSOR_DEFAULTS[name]) - set(said)
    assert not any(theirs.get(key) for key in unsaid)


def test_a_sparse_clip(tmp_path: Path):
    config = hugging_face.read_config(directory_of(tmp_path, CLIP, CLIP_PIXELS))
    assert config.embed_dim == 24
    assert config.text == TextConfig(width=64, layers=2, heads=2, activation="quick_gelu")
    assert config.vision == ViTConfig(
        image_size=224,
        patch_size=32,
        width=64,
        layers=2,
        heads=2,
        mlp_width=100,
        activation="quick_gelu",
    )
    assert config.preprocess == PreprocessConfig(image_size=224)


def test_a_sparse_siglip_2(tmp_path: Path):
    config = hugging_face.read_config(directory_of(tmp_path, SIGLIP, SIGLIP_PIXELS))
    assert config.logit_bias
    assert config.embed_dim == 768
    assert config.text_config.pooling == "last"
    assert config.text_config.projection == "affine"
    assert config.text_config.activation == "gelu_tanh"
    assert config.preprocess == PreprocessConfig(
        image_size=384,
        resize="squash",
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def test_files_of_2022_have_a_second_table_that_counts(tmp_path: Path):
    table = changed(
        CLIP,
        text_config_dict={**SIZES, "hidden_size": 32, "intermediate_size": 128},
        text_config__hidden_act="gelu",
        vision_config_dict=None,
    )
    config = hugging_face.read_config(directory_of(tmp_path, table, CLIP_PIXELS))
    theirs = transformers.CLIPConfig(**table).text_config
    assert config.text_config.width == theirs.hidden_size == 32
    assert config.text_config.activation == theirs.hidden_act == "quick_gelu"


def test_a_single_tower_may_keep_the_whole_models_configuration(tmp_path: Path):
    table = changed(CLIP, architectures=["CLIPTextModelWithProjection"])
    table["text_config"]["projection_dim"] = 40
    config = hugging_face.read_config(directory_of(tmp_path, table, None))
    assert config.vision is None
    assert config.embed_dim == 40


def test_which_directories_match():
    assert all(
        map(hugging_face.is_supported_config, (CLIP, SIGLIP, {"model_type": "clip_text_model"}))
    )
    assert not any(
        map(hugging_face.is_supported_config, ({}, {"model_type": "bert"}, {"embed_dim": 8}))
    )


BAD_CONFIGS = {
    "two names": (
        {"architectures": ["CLIPModel", "CLIPTextModel"]},
        r"architectures: got \['CLIPModel', 'CLIPTextModel'\], expected one of CLIPModel, CLIPT",
    ),
    "another name": (
        {"architectures": ["CLIPForImageClassification"]},
        "architectures: got .'CLIPForImageClassification'., expected one of",
    ),
    "another type": (
        {"model_type": "clip_text_model"},
        "model_type: got 'clip_text_model', expected 'clip' for CLIPModel",
    ),
    "no table": ({"text_config": 3}, "text_config: got 3, expected a table"),
    "another tower": (
        {"text_config__model_type": "xlm-roberta"},
        "text_config.model_type: got 'xlm-roberta', expected 'clip_text_model'",
    ),
    "relu": (
        {"vision_config__hidden_act": "relu"},
        "vision_config.hidden_act: got 'relu', expected one of quick_gelu, gelu, gelu_pytorch_t",
    ),
    "two widths": (
        {"text_config__hidden_size": [64, 64]},
        r"text_config.hidden_size: got \[64, 64\], expected a whole number",
    ),
    "no epsilon": (
        {"text_config__layer_norm_eps": 0},
        "text_config.layer_norm_eps: got 0, expected a positive number",
    ),
    "several ends": (
        {"text_config__eos_token_id": [2, 3]},
        r"text_config.eos_token_id: got \[2, 3\], expected a whole number",
    ),
    "heads": ({"text_config__num_attention_heads": 3}, "TextConfig.heads: got 3, expected a div"),
    "grey": ({"vision_config__num_channels": 1}, "num_channels: got 1, expected 3"),
    "oblong": (
        {"vision_config__image_size": [224, 336]},
        r"vision_config.image_size: got \[224, 336\], expected a whole number",
    ),
    "quantised": (
        {"quantization_config": {"load_in_8bit": True}},
        "quantization_config: got .'load_in_8bit': True., expected none",
    ),
    "nonsense of ours": ({"twinlens": {"colour": 3}}, "config.json: twinlens: unknown key"),
    "ours as a word": ({"twinlens": "colour"}, "config.json: twinlens: got 'colour', expected a"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_what_a_configuration_must_not_say(case: str, tmp_path: Path):
    changes, message = BAD_CONFIGS[case]
    directory_of(tmp_path, changed(CLIP, **changes), CLIP_PIXELS)
    with pytest.raises(CheckpointError, match=message) as caught:
        hugging_face.read_config(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert "\n" not in str(caught.value)


def test_a_head_of_siglip_that_is_missing_is_told(tmp_path: Path):
    table = changed(SIGLIP, vision_config__vision_use_head=False)
    with pytest.raises(CheckpointError, match="vision_use_head: got False, expected True"):
        hugging_face.read_config(directory_of(tmp_path, table, SIGLIP_PIXELS))


def test_a_tower_of_clip_must_say_whether_it_projects(tmp_path: Path):
    table = {"model_type": "clip_text_model", **SIZES, "intermediate_size": 256}
    with pytest.raises(CheckpointError, match="architectures: got None, expected one of"):
        hugging_face.read_config(directory_of(tmp_path, table, None))


@pytest.mark.parametrize(
    ("table", "pixels", "width"), [(CLIP, CLIP_PIXELS, 64), (SIGLIP, SIGLIP_PIXELS, 768)]
)
def test_a_whole_model_needs_no_name(
    table: Mapping[str, Any], pixels: Mapping[str, Any], width: int, tmp_path: Path
):
    unnamed = {key: value for key, value in table.items() if key != "architectures"}
    config = hugging_face.read_config(directory_of(tmp_path, unnamed, pixels))
    assert config.text_config.width == width


def test_a_file_that_is_no_table_is_one_error(tmp_path: Path):
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="got 'list', expected a JSON object"):
        hugging_face.read_config(tmp_path)


# Pixels.


SQUARE = {"height": 224, "width": 224}


@pytest.mark.parametrize(
    ("pixels", "resize"),
    [
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224}, "crop"),
        ({"image_processor_type": "CLIPFeatureExtractor"}, "crop"),
        ({"image_processor_type": "CLIPImageProcessorFast", "do_pad": False}, "crop"),
        ({"size": SQUARE, "crop_size": SQUARE}, "squash"),
        ({"size": SQUARE, "do_center_crop": False, "crop_size": 300}, "squash"),
        ({"image_processor_type": "SiglipImageProcessor"}, "squash"),
        ({}, "crop"),
    ],
)
def test_older_and_rarer_ways_to_say_the_same(
    pixels: Mapping[str, Any], resize: str, tmp_path: Path
):
    preprocess = hugging_face.read_config(directory_of(tmp_path, CLIP, pixels)).preprocess_config
    assert preprocess.resize == resize
    assert preprocess.interpolation == "bicubic"
    siglip = "Siglip" in str(pixels.get("image_processor_type"))
    assert preprocess.mean == ((0.5, 0.5, 0.5) if siglip else OPENAI_MEAN)


def test_the_processors_file_counts_for_more(tmp_path: Path):
    other = {"image_processor": {**CLIP_PIXELS, "image_mean": [0.1, 0.2, 0.3]}}
    directory_of(tmp_path, CLIP, CLIP_PIXELS, processor_config=other)
    assert hugging_face.read_config(tmp_path).preprocess_config.mean == (0.1, 0.2, 0.3)
    directory_of(tmp_path, CLIP, CLIP_PIXELS, processor_config={"processor_class": "CLIPProcessor"})
    assert hugging_face.read_config(tmp_path).preprocess_config.mean == OPENAI_MEAN


BAD_PIXELS = {
    "another class": (
        {"image_processor_type": "ViTImageProcessor"},
        "image_processor_type: got 'ViTImageProcessor', expected one of CLIPImageP",
    ),
    "unresized": ({"do_resize": False}, "do_resize: got False, expected True"),
    "not rescaled": ({"do_rescale": False}, "do_rescale: got False, expected True"),
    "another range": (
        {"rescale_factor": 1 / 127.5},
        "rescale_factor: got 0.0078.*, expected 1/255",
    ),
    "not normalised": ({"do_normalize": False}, "do_normalize: got False, expected True"),
    "padded": ({"do_pad": True}, "do_pad: got True, expected False"),
    "nearest": ({"resample": 0}, r"resample: got 0, expected 2 \(bilinear\) or 3"),
    "resample": ({"resample": "bicubic"}, "resample: got 'bicubic', expected 2"),
    "a larger size": (
        {"size": {"shortest_edge": 256}},
        "size: got .'shortest_edge': 256., expected .*224.*, as image_size in config.json",
    ),
    "another crop": (
        {"crop_size": {"height": 336, "width": 336}},
        "crop_size: got .'height': 336, 'width': 336., expected .*224.*, as image_size in conf",
    ),
    "uncropped": ({"do_center_crop": False}, "do_center_crop: got False, expected true"),
    "two channels": ({"image_mean": [0.5, 0.5]}, r"image_mean: got \[0.5, 0.5\], expected three"),
    "words": ({"image_std": ["a", "b", "c"]}, "image_std: got .*, expected three numbers"),
    "no deviation": ({"image_std": [0.5, 0.5, 0]}, "PreprocessConfig.std: got .*, expected posit"),
}


@pytest.mark.parametrize("case", BAD_PIXELS)
def test_what_a_preprocessor_must_not_say(case: str, tmp_path: Path):
    changes, message = BAD_PIXELS[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        hugging_face.read_config(directory_of(tmp_path, CLIP, {**CLIP_PIXELS, **changes}))
    assert "\n" not in str(caught.value)


def test_a_missing_preprocessor_is_told_with_what_it_should_say(tmp_path: Path):
    message = "got no preprocessor_config.json, .* size, crop_size, resample, image_mean and image"
    with pytest.raises(CheckpointError, match=message):
        hugging_face.read_config(directory_of(tmp_path, CLIP, None))


def test_siglip_has_no_size_without_a_name(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"size: got 384, expected .*'height': 384"):
        hugging_face.read_config(directory_of(tmp_path, SIGLIP, {**SIGLIP_PIXELS, "size": 384}))


@pytest.mark.parametrize("name", ["CLIPModel", "SiglipModel"])
@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_the_processor_that_is_written(
    name: str, resize: Any, interpolation: Any, tmp_path: Path
):
    config = PreprocessConfig(
        image_size=32, resize=resize, interpolation=interpolation, mean=(0.4, 0.5, 0.6)
    )
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(preprocessor_json(config, name)))
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    for width, height in ((48, 32), (40, 57), (300, 210), (20, 31), (32, 32)):
        rng = np.random.default_rng(width)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        expected = torch.as_tensor(np.asarray(theirs(image)["pixel_values"]))
        pixels = torch.as_tensor(to_pixels(image, config)).permute(2, 0, 1)[None]
        torch.testing.assert_close(normalize(pixels, config), expected, rtol=0, atol=1e-6)


def test_where_the_middle_is_between_two_pixels_the_crop_is_openais(tmp_path: Path):
    """transformers rounds the place of the crop down, torchvision to an even number."""
    config = PreprocessConfig(image_size=32)
    written = json.dumps(preprocessor_json(config, "CLIPModel"))
    (tmp_path / "preprocessor_config.json").write_text(written)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 35, 3), dtype=np.uint8)
    ours = to_pixels(pixels, config)
    assert np.array_equal(ours, pixels[:, 2:34])
    expected = theirs(Image.fromarray(pixels[:, 1:33]))["pixel_values"][0]
    assert np.array_equal(theirs(Image.fromarray(pixels))["pixel_values"][0], expected)


# Words.


@pytest.mark.parametrize(
    ("named", "cleaning"),
    [("SiglipTokenizer", "siglip"), ("GemmaTokenizerFast", "none"), ("CLIPTokenizer", "none")],
)
def test_how_texts_are_cleaned_is_what_the_class_does(named: str, cleaning: str, tmp_path: Path):
    settings = {"tokenizer_class": named}
    directory_of(tmp_path, SIGLIP, SIGLIP_PIXELS, tokenizer_config=settings)
    config = hugging_face.read_config(tmp_path)
    assert (config.tokenizer, config.text_cleaning) == ("tokenizer.json", cleaning)


def test_a_vocabulary_without_a_class_leaves_its_cleaning_open(tmp_path: Path):
    directory_of(tmp_path, SIGLIP, SIGLIP_PIXELS, tokenizer_config=None)
    with pytest.raises(CheckpointError, match="got no tokenizer_class, expected"):
        hugging_face.read_config(tmp_path)
