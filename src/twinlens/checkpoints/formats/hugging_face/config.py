"""Hugging Face's `config.json` and `preprocessor_config.json`, read as ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from twinlens.checkpoints.formats.config_reader import ConfigReader
from twinlens.checkpoints.formats.extras import EXTRAS_KEY, apply_extras
from twinlens.checkpoints.formats.hugging_face.names import (
    ACTIVATIONS,
    ARCHITECTURES,
    CONFIG_FILE,
    DEFAULT_ARCHITECTURES,
    DEFAULT_PROCESSORS,
    DEFAULT_PROJECTION_DIM,
    INTERPOLATION_BY_RESAMPLE,
    LEGACY_END_ID,
    MODEL_TYPES,
    PREPROCESSOR_FILE,
    PROCESSOR_DEFAULTS,
    PROCESSOR_FILE,
    RESCALE_FACTOR,
    TOWER_DEFAULTS,
    HuggingFaceArchitecture,
    TowerKind,
)
from twinlens.checkpoints.formats.hugging_face.tokenizer import detect_tokenizer, has_tokenizer
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.config_io import read_json_object
from twinlens.errors import CheckpointError, ConfigError
from twinlens.text.sentencepiece import read_text_cleaning

_read_json = partial(read_json_object, error_class=CheckpointError)


def is_supported_config(config: Mapping[str, Any]) -> bool:
    """True if a parsed `config.json` is of a family that this module reads."""
    model_type = config.get("model_type")
    return isinstance(model_type, str) and model_type in MODEL_TYPES


def read_config(directory: Path, *, allow_missing_files: bool = False) -> CLIPConfig:
    """Read the configuration of a directory in Hugging Face's layout.

    Args:
        directory: With its files.
        allow_missing_files: True if `config.json` may be the only file next to the weights: then a
            CLIP without other files reads pixels and texts as OpenAI's.

    Raises:
        CheckpointError: A file is missing, or says something that twinlens cannot do, or leaves
            open what a number depends on.
    """
    path = directory / CONFIG_FILE
    data = _read_json(path)
    architecture = _find_architecture(path, data)
    if data.get("quantization_config"):
        raise CheckpointError(
            f"{path}: quantization_config: got {data['quantization_config']!r}, "
            "expected none, which is weights as they were trained"
        )
    try:
        return _parse_config(directory, data, architecture, allow_missing_files=allow_missing_files)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _find_architecture(path: Path, data: Mapping[str, Any]) -> HuggingFaceArchitecture:
    model_type = data.get("model_type")
    names: Any = data.get("architectures") or [DEFAULT_ARCHITECTURES.get(str(model_type))]
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


def _parse_config(
    directory: Path,
    data: Mapping[str, Any],
    architecture: HuggingFaceArchitecture,
    *,
    allow_missing_files: bool,
) -> CLIPConfig:
    path = directory / CONFIG_FILE
    text = vision = preprocess = None
    embed_dim = 0
    allow_missing_files = allow_missing_files and architecture.family == "clip"
    if architecture.has_vision:
        vision, embed_dim = _parse_vision(
            _tower_reader(path, data, architecture, "vision"), architecture
        )
        preprocess = PreprocessConfig(image_size=vision.image_size)
        if not allow_missing_files or _has_image_processor(directory):
            preprocess = _read_preprocess(directory, architecture, vision.image_size)
    if architecture.has_text:
        text, embed_dim = _parse_text(_tower_reader(path, data, architecture, "text"), architecture)
    if architecture.model_type == "clip":  # the towers' own values are ignored
        embed_dim = ConfigReader(f"{path}: config", data).integer(
            "projection_dim", DEFAULT_PROJECTION_DIM
        )
    config = CLIPConfig(
        embed_dim=embed_dim,
        vision=vision,
        text=text,
        logit_bias=architecture.model_type == "siglip",
        preprocess=preprocess,
    )
    extras = data.get(EXTRAS_KEY)
    is_openai_s = allow_missing_files and text is not None and not has_tokenizer(directory)
    if text is not None and not is_openai_s and detect_tokenizer(directory) != "clip":
        config = replace(config, tokenizer="tokenizer.json")
        if extras is None:
            config = replace(config, text_cleaning=read_text_cleaning(directory))
    return config if extras is None else apply_extras(config, extras, str(path))


def _tower_reader(
    path: Path, data: Mapping[str, Any], architecture: HuggingFaceArchitecture, tower: TowerKind
) -> ConfigReader:
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
    section = ConfigReader(f"{path}: {name}", {**TOWER_DEFAULTS[family, tower], **given})
    expected = f"{family}_{tower}_model"
    section.require_one_of("model_type", expected, expected, family, None)
    return section


def _parse_text(
    reader: ConfigReader, architecture: HuggingFaceArchitecture
) -> tuple[TextConfig, int]:
    """The text tower, and the width of its output."""
    width = reader.integer("hidden_size", None)
    config = TextConfig(
        context_length=reader.integer("max_position_embeddings", None),
        vocab_size=reader.integer("vocab_size", None),
        width=width,
        layers=reader.integer("num_hidden_layers", None),
        heads=reader.integer("num_attention_heads", None),
        mlp_width=_parse_mlp_width(reader, width),
        activation=reader.choice("hidden_act", "", ACTIVATIONS),
        norm_eps=reader.positive_float("layer_norm_eps", math.nan),
        projection="linear" if architecture.has_projection else "none",
    )
    if architecture.family == "siglip":
        if reader.peek("projection_size") is None:
            reader.take("projection_size")
        embed_dim = reader.integer("projection_size", width)
        return replace(config, causal=False, pooling="last", projection="affine"), embed_dim
    embed_dim = reader.integer("projection_dim", None) if architecture.has_projection else width
    end = reader.integer("eos_token_id", None)
    # The last id is also the highest: both ways of pooling find the same token.
    if end not in (LEGACY_END_ID, config.vocab_size - 1):
        config = replace(config, pooling="end", end_id=end)
    return config, embed_dim


def _parse_vision(
    reader: ConfigReader, architecture: HuggingFaceArchitecture
) -> tuple[ViTConfig, int]:
    """The image tower, and the width of its output."""
    reader.require_one_of("num_channels", 3, 3)
    reader.require_one_of("vision_use_head", True, True)
    width = reader.integer("hidden_size", None)
    projects = architecture.family == "clip" and architecture.has_projection
    config = ViTConfig(
        image_size=reader.integer("image_size", None),
        patch_size=reader.integer("patch_size", None),
        width=width,
        layers=reader.integer("num_hidden_layers", None),
        heads=reader.integer("num_attention_heads", None),
        mlp_width=_parse_mlp_width(reader, width),
        activation=reader.choice("hidden_act", "", ACTIVATIONS),
        norm_eps=reader.positive_float("layer_norm_eps", math.nan),
        pooling="class" if architecture.family == "clip" else "attention",
        projection="linear" if projects else "none",
    )
    return config, reader.integer("projection_dim", None) if projects else width


def _parse_mlp_width(reader: ConfigReader, width: int) -> int | None:
    mlp_width = reader.integer("intermediate_size", None)
    return None if mlp_width == 4 * width else mlp_width


def _read_preprocess(
    directory: Path, architecture: HuggingFaceArchitecture, image_size: int
) -> PreprocessConfig:
    """The pixels that the image tower expects."""
    path, given = _read_image_processor(directory)
    named = given.get("image_processor_type") or given.get("feature_extractor_type")
    kind = str(named or DEFAULT_PROCESSORS[architecture.family])
    kind = kind.replace("FeatureExtractor", "ImageProcessor")  # as before transformers 4.25
    kind = kind.removesuffix("Fast").removesuffix("Pil")
    if kind not in PROCESSOR_DEFAULTS:
        raise CheckpointError(
            f"{path}: image_processor_type: got {named!r}, "
            f"expected one of {', '.join(PROCESSOR_DEFAULTS)}"
        )
    section = ConfigReader(f"{path}: image processor", {**PROCESSOR_DEFAULTS[kind], **given})
    for key in ("do_resize", "do_rescale", "do_normalize"):
        section.require_one_of(key, True, True)
    for key in ("do_pad", "use_square_size"):
        section.require_one_of(key, False, False, None)
    scale = section.positive_float("rescale_factor", RESCALE_FACTOR)
    if not math.isclose(scale, RESCALE_FACTOR, rel_tol=1e-6):
        raise section.error("rescale_factor", scale, "1/255")
    return PreprocessConfig(
        image_size=image_size,
        resize=_parse_resize(section, kind, image_size),
        mean=_parse_channels(section, "image_mean"),
        std=_parse_channels(section, "image_std"),
        interpolation=_parse_interpolation(section),
    )


def _has_image_processor(directory: Path) -> bool:
    return any((directory / name).is_file() for name in (PROCESSOR_FILE, PREPROCESSOR_FILE))


def _read_image_processor(directory: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file of the image processor, and its content.

    transformers 5 writes the image processor into the processor's file, and looks there first.
    """
    if (directory / PROCESSOR_FILE).is_file():
        nested = _read_json(directory / PROCESSOR_FILE).get("image_processor")
        if isinstance(nested, dict):
            return directory / PROCESSOR_FILE, cast("dict[str, Any]", nested)
    if (directory / PREPROCESSOR_FILE).is_file():
        return directory / PREPROCESSOR_FILE, read_json_object(
            directory / PREPROCESSOR_FILE, CheckpointError
        )
    raise CheckpointError(
        f"{directory}: got no {PREPROCESSOR_FILE}, expected one for the image tower, "
        "with size, crop_size, resample, image_mean and image_std"
    )


def _parse_resize(reader: ConfigReader, kind: str, image_size: int) -> Literal["crop", "squash"]:
    """Read the way of resizing to squares of `image_size`; other sizes are refused."""
    size, crop, crops = (reader.take(key) for key in ("size", "crop_size", "do_center_crop"))
    if isinstance(size, int) and kind == "CLIPImageProcessor":  # before transformers 4.25
        size = {"shortest_edge": size}
    short, square = {"shortest_edge": image_size}, {"height": image_size, "width": image_size}
    meant = f"as image_size in {CONFIG_FILE}"
    if size not in (short, square):
        raise reader.error("size", size, f"{short} or {square}, {meant}")
    if crops and crop not in (image_size, square):
        raise reader.error("crop_size", crop, f"{square}, {meant}")
    if size == square:
        return "squash"
    if not crops:
        raise reader.error("do_center_crop", crops, "true with a size for the shortest edge")
    return "crop"


def _parse_channels(reader: ConfigReader, key: str) -> tuple[float, float, float]:
    values = reader.take(key)
    numbers = [x for x in values if type(x) in (int, float)] if isinstance(values, list) else []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or len(values) != 3:
        raise reader.error(key, values, "three numbers")
    red, green, blue = map(float, numbers)
    return red, green, blue


def _parse_interpolation(reader: ConfigReader) -> Literal["bilinear", "bicubic"]:
    number = reader.take("resample")
    if type(number) is not int or number not in INTERPOLATION_BY_RESAMPLE:
        raise reader.error("resample", number, "2 (bilinear) or 3 (bicubic)")
    return INTERPOLATION_BY_RESAMPLE[number]
