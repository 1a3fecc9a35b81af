"""Hugging Face's `config.json` and `preprocessor_config.json`, read as ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from twinlens.checkpoints.formats.config_reader import Section
from twinlens.checkpoints.formats.extras import EXTRAS, with_extras
from twinlens.checkpoints.formats.hugging_face.names import (
    ACTIVATIONS,
    ARCHITECTURES,
    ARGMAX_END,
    CONFIG_FILE,
    INTERPOLATIONS,
    MODEL_TYPES,
    PREPROCESSOR_FILE,
    PROCESSOR_FILE,
    PROCESSOR_OF,
    PROCESSORS,
    PROJECTION_DIM,
    RESCALE,
    TOWERS,
    UNNAMED,
    Architecture,
    Tower,
)
from twinlens.checkpoints.formats.hugging_face.tokenizer import has_tokenizer, tokenizer_kind
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.config_io import read_plain_json
from twinlens.errors import CheckpointError, ConfigError
from twinlens.text.sentencepiece import stated_cleaning


def matches(config: Mapping[str, Any]) -> bool:
    """Whether a parsed `config.json` is of a family that this module reads."""
    model_type = config.get("model_type")
    return isinstance(model_type, str) and model_type in MODEL_TYPES


def read_config(directory: Path, *, alone: bool = False) -> CLIPConfig:
    """The configuration of a directory in Hugging Face's layout.

    Args:
        directory: With its files.
        alone: Whether `config.json` may be alone beside the weights: then a CLIP without other
            files reads pixels and texts as OpenAI's.

    Raises:
        CheckpointError: A file is missing, or says something that twinlens cannot do, or leaves
            open what a number depends on.
    """
    path = directory / CONFIG_FILE
    data = _read(path)
    architecture = _architecture(path, data)
    if data.get("quantization_config"):
        raise CheckpointError(
            f"{path}: quantization_config: got {data['quantization_config']!r}, "
            "expected none, which is weights as they were trained"
        )
    try:
        return _clip_config(directory, data, architecture, alone=alone)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_plain_json(path)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _architecture(path: Path, data: Mapping[str, Any]) -> Architecture:
    model_type = data.get("model_type")
    names: Any = data.get("architectures") or [UNNAMED.get(str(model_type))]
    name = names[0] if isinstance(names, list) and len(cast("list[Any]", names)) == 1 else None
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise CheckpointError(
            f"{path}: architectures: got {data.get('architectures')!r}, "
            f"expected one of {', '.join(ARCHITECTURES)}"
        )
    found = ARCHITECTURES[name]
    # A single tower may have kept the configuration of the whole model that it was taken from.
    if model_type not in (found.model_type, found.family):
        raise CheckpointError(
            f"{path}: model_type: got {model_type!r}, expected {found.model_type!r} for {name}"
        )
    return found


def _clip_config(
    directory: Path, data: Mapping[str, Any], architecture: Architecture, *, alone: bool
) -> CLIPConfig:
    path = directory / CONFIG_FILE
    text = vision = preprocess = None
    embed_dim = 0
    alone = alone and architecture.family == "clip"
    if architecture.vision:
        vision, embed_dim = _vision(_tower(path, data, architecture, "vision"), architecture)
        preprocess = PreprocessConfig(image_size=vision.image_size)
        if not alone or _has_image_processor(directory):
            preprocess = _preprocess(directory, architecture, vision.image_size)
    if architecture.text:
        text, embed_dim = _text(_tower(path, data, architecture, "text"), architecture)
    if architecture.model_type == "clip":  # its towers may say otherwise: they are not asked
        embed_dim = Section(f"{path}: config", data).whole("projection_dim", PROJECTION_DIM)
    config = CLIPConfig(
        embed_dim=embed_dim,
        vision=vision,
        text=text,
        logit_bias=architecture.model_type == "siglip",
        preprocess=preprocess,
    )
    extras = data.get(EXTRAS)
    is_openai_s = alone and text is not None and not has_tokenizer(directory)
    if text is not None and not is_openai_s and tokenizer_kind(directory) != "clip":
        config = replace(config, tokenizer="tokenizer.json")
        if extras is None:
            config = replace(config, text_cleaning=stated_cleaning(directory))
    return config if extras is None else with_extras(config, extras, str(path))


def _tower(
    path: Path, data: Mapping[str, Any], architecture: Architecture, tower: Tower
) -> Section:
    """One tower's table, with its class's values where it has none."""
    family, name = architecture.family, "config"
    given: Any = data
    if data.get("model_type") == family:
        # Files of 2022 have both, and transformers reads `..._dict` where it is.
        name = f"{tower}_config"
        name = f"{name}_dict" if data.get(f"{name}_dict") is not None else name
        given = data.get(name)
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise CheckpointError(f"{path}: {name}: got {given!r}, expected a table")
    section = Section(f"{path}: {name}", {**TOWERS[family, tower], **given})
    expected = f"{family}_{tower}_model"
    section.only("model_type", expected, expected, family, None)
    return section


def _text(section: Section, architecture: Architecture) -> tuple[TextConfig, int]:
    """The text tower, and how wide its answer is."""
    width = section.whole("hidden_size", None)
    config = TextConfig(
        context_length=section.whole("max_position_embeddings", None),
        vocab_size=section.whole("vocab_size", None),
        width=width,
        layers=section.whole("num_hidden_layers", None),
        heads=section.whole("num_attention_heads", None),
        mlp_width=_mlp_width(section, width),
        activation=section.choice("hidden_act", "", ACTIVATIONS),
        norm_eps=section.real("layer_norm_eps", math.nan),
        projection="linear" if architecture.projects else "none",
    )
    if architecture.family == "siglip":
        if section.peek("projection_size") is None:
            section.take("projection_size")
        embed_dim = section.whole("projection_size", width)
        return replace(config, causal=False, pooling="last", projection="affine"), embed_dim
    embed_dim = section.whole("projection_dim", None) if architecture.projects else width
    end = section.whole("eos_token_id", None)
    # The last id is also the highest: both ways of pooling find the same token.
    if end not in (ARGMAX_END, config.vocab_size - 1):
        config = replace(config, pooling="end", end_id=end)
    return config, embed_dim


def _vision(section: Section, architecture: Architecture) -> tuple[ViTConfig, int]:
    """The image tower, and how wide its answer is."""
    section.only("num_channels", 3, 3)
    section.only("vision_use_head", True, True)
    width = section.whole("hidden_size", None)
    projects = architecture.family == "clip" and architecture.projects
    config = ViTConfig(
        image_size=section.whole("image_size", None),
        patch_size=section.whole("patch_size", None),
        width=width,
        layers=section.whole("num_hidden_layers", None),
        heads=section.whole("num_attention_heads", None),
        mlp_width=_mlp_width(section, width),
        activation=section.choice("hidden_act", "", ACTIVATIONS),
        norm_eps=section.real("layer_norm_eps", math.nan),
        pooling="class" if architecture.family == "clip" else "attention",
        projection="linear" if projects else "none",
    )
    return config, section.whole("projection_dim", None) if projects else width


def _mlp_width(section: Section, width: int) -> int | None:
    mlp_width = section.whole("intermediate_size", None)
    return None if mlp_width == 4 * width else mlp_width


def _preprocess(directory: Path, architecture: Architecture, image_size: int) -> PreprocessConfig:
    """The pixels that the image tower expects."""
    path, given = _image_processor(directory)
    named = given.get("image_processor_type") or given.get("feature_extractor_type")
    kind = str(named or PROCESSOR_OF[architecture.family])
    kind = kind.replace("FeatureExtractor", "ImageProcessor")  # as before transformers 4.25
    kind = kind.removesuffix("Fast").removesuffix("Pil")
    if kind not in PROCESSORS:
        raise CheckpointError(
            f"{path}: image_processor_type: got {named!r}, expected one of {', '.join(PROCESSORS)}"
        )
    section = Section(f"{path}: image processor", {**PROCESSORS[kind], **given})
    for key in ("do_resize", "do_rescale", "do_normalize"):
        section.only(key, True, True)
    for key in ("do_pad", "use_square_size"):
        section.only(key, False, False, None)
    scale = section.real("rescale_factor", RESCALE)
    if not math.isclose(scale, RESCALE, rel_tol=1e-6):
        raise section.error("rescale_factor", scale, "1/255")
    return PreprocessConfig(
        image_size=image_size,
        resize=_resize(section, kind, image_size),
        mean=_channels(section, "image_mean"),
        std=_channels(section, "image_std"),
        interpolation=_interpolation(section),
    )


def _has_image_processor(directory: Path) -> bool:
    return any((directory / name).is_file() for name in (PROCESSOR_FILE, PREPROCESSOR_FILE))


def _image_processor(directory: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file that says how images become pixels, and what it says.

    transformers 5 writes the image processor into the processor's file, and looks there first.
    """
    if (directory / PROCESSOR_FILE).is_file():
        nested = _read(directory / PROCESSOR_FILE).get("image_processor")
        if isinstance(nested, dict):
            return directory / PROCESSOR_FILE, cast("dict[str, Any]", nested)
    if (directory / PREPROCESSOR_FILE).is_file():
        return directory / PREPROCESSOR_FILE, _read(directory / PREPROCESSOR_FILE)
    raise CheckpointError(
        f"{directory}: got no {PREPROCESSOR_FILE}, expected one for the image tower, "
        "with size, crop_size, resample, image_mean and image_std"
    )


def _resize(section: Section, kind: str, image_size: int) -> Literal["crop", "squash"]:
    """How images become squares of `image_size`; squares of any other side are refused."""
    size, crop, crops = (section.take(key) for key in ("size", "crop_size", "do_center_crop"))
    if isinstance(size, int) and kind == "CLIPImageProcessor":  # before transformers 4.25
        size = {"shortest_edge": size}
    short, square = {"shortest_edge": image_size}, {"height": image_size, "width": image_size}
    meant = f"as image_size in {CONFIG_FILE}"
    if size not in (short, square):
        raise section.error("size", size, f"{short} or {square}, {meant}")
    if crops and crop not in (image_size, square):
        raise section.error("crop_size", crop, f"{square}, {meant}")
    if size == square:
        return "squash"
    if not crops:
        raise section.error("do_center_crop", crops, "true with a size for the shortest edge")
    return "crop"


def _channels(section: Section, key: str) -> tuple[float, float, float]:
    values = section.take(key)
    numbers = [x for x in values if type(x) in (int, float)] if isinstance(values, list) else []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or len(values) != 3:
        raise section.error(key, values, "three numbers")
    red, green, blue = map(float, numbers)
    return red, green, blue


def _interpolation(section: Section) -> Literal["bilinear", "bicubic"]:
    number = section.take("resample")
    if type(number) is not int or number not in INTERPOLATIONS:
        raise section.error("resample", number, "2 (bilinear) or 3 (bicubic)")
    return INTERPOLATIONS[number]
