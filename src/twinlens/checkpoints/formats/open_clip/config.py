"""`open_clip_config.json` as a `CLIPConfig`.

What the file leaves out has open_clip's defaults; what it says and twinlens has no part for is
refused by its key and value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

from twinlens.checkpoints.formats.config_reader import ConfigReader
from twinlens.checkpoints.formats.extras import EXTRAS_KEY, apply_extras
from twinlens.checkpoints.formats.open_clip import timm_siglip
from twinlens.checkpoints.formats.shapes import count_numbered
from twinlens.config import (
    OPENAI_MEAN,
    OPENAI_STD,
    Activation,
    CLIPConfig,
    PreprocessConfig,
    ResNetConfig,
    TextCleaning,
    TextConfig,
    ViTConfig,
)
from twinlens.errors import CheckpointError

# Parts that there are none of here: open_clip's default, and other values that leave them out.
_BLOCK_VALUES: dict[str, tuple[object, ...]] = {
    "block_type": (None, "default"),
    "ls_init_value": (None,),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
    "scale_heads": (False,),
    "scale_attn_inner": (False,),
    "scale_attn": (False,),
    "scale_fc": (False,),
    "final_ln_after_pool": (False,),
    "output_tokens": (False,),
}
_VISION_VALUES: dict[str, tuple[object, ...]] = {
    "attentional_pool": (False,),
    "no_ln_pre": (False,),
    "pos_embed_type": ("learnable",),
    "pool_type": ("tok",),
    **_BLOCK_VALUES,
}
_TEXT_VALUES: dict[str, tuple[object, ...]] = {
    "hf_model_name": (None,),
    "embed_cls": (False,),
    "tokenizer_mode": (None, ""),
    **_BLOCK_VALUES,
}
# Keys that change training only, or nothing while the parts above are left out.
_IGNORED = ("custom_text", "init_logit_scale", "nonscalar_logit_scale", "output_dict")
_IGNORED_TEXT = ("pad_id", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type")
_IGNORED_VISION = (
    "patch_dropout",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "timm_model_pretrained",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
)
_IGNORED_NATIVE = (
    "timm_model_name",
    "timm_pool",
    "timm_proj",
)  # in a tower that is open_clip's own
_IGNORED_TIMM = (
    "layers",
    "width",
    "head_width",
    "mlp_ratio",
    "patch_size",
    "act_kwargs",
    "norm_kwargs",
)

POOLINGS: dict[str, Literal["highest", "end", "last"]] = {
    "argmax": "highest",
    "eos": "end",
    "last": "last",
}
RESIZE_MODES: dict[str, Literal["crop", "squash"]] = {"shortest": "crop", "squash": "squash"}
_INTERPOLATIONS: dict[str, Literal["bicubic", "bilinear"]] = {
    "bicubic": "bicubic",
    "bilinear": "bilinear",
    "random": "bicubic",  # it is random in training only
}
TEXT_CLEANINGS: dict[str, TextCleaning] = {
    name: name for name in ("lower", "whitespace", "canonicalize")
}
NORM_EPS = 1e-5
"""Default of torch's norms, which open_clip uses."""


def parse_config(data: Mapping[str, Any], names: Collection[str], where: str) -> CLIPConfig:
    """The configuration of a parsed file.

    Args:
        data: The whole file.
        names: Of the tensors, from which the blocks of timm's tower are counted.
        where: The beginning of messages.

    Raises:
        CheckpointError: A key is unknown, or asks for what twinlens cannot do.
        ConfigError: The numbers do not fit together.
    """
    if "model_cfg" not in data:
        raise CheckpointError(f"{where}: got no model_cfg, expected open_clip's configuration")
    model = ConfigReader(f"{where}: model_cfg", data["model_cfg"])
    model.require_one_of("multimodal_cfg", None, None)
    quick_gelu = model.boolean("quick_gelu")
    vision = _parse_vision(model.table("vision_cfg"), quick_gelu, names)
    text = model.table("text_cfg")
    tokenizer, cleaning = _parse_tokenizer(text)
    config = CLIPConfig(
        embed_dim=model.integer("embed_dim", None),
        vision=vision,
        text=_parse_text(text, quick_gelu),
        logit_bias=model.take("init_logit_bias") is not None,
        tokenizer=tokenizer,
        text_cleaning=cleaning,
        preprocess=_parse_preprocess(where, data.get("preprocess_cfg"), vision.image_size),
    )
    model.require_all_read(*_IGNORED)
    return config if data.get(EXTRAS_KEY) is None else apply_extras(config, data[EXTRAS_KEY], where)


def _parse_vision(
    reader: ConfigReader, quick_gelu: bool, names: Collection[str]
) -> ViTConfig | ResNetConfig:
    for key, allowed in _VISION_VALUES.items():
        reader.require_one_of(key, allowed[0], *allowed)
    if reader.peek("timm_model_name"):
        return _parse_timm(reader, names)
    image_size = reader.square_side("image_size", 224)
    width = reader.integer("width", 768)
    head_width = reader.integer("head_width", 64)
    if isinstance(reader.peek("layers"), list):
        stages = _parse_stages(reader)
        reader.require_all_read(*_IGNORED_VISION, *_IGNORED_NATIVE, "mlp_ratio", "patch_size")
        return ResNetConfig(
            image_size=image_size, width=width, layers=stages, heads=width * 32 // head_width
        )
    tower = ViTConfig(
        image_size=image_size,
        patch_size=reader.square_side("patch_size", 16),
        width=width,
        layers=reader.integer("layers", 12),
        heads=width // head_width,
        mlp_width=_parse_mlp_width(reader, width),
        activation=_parse_activation(reader, quick_gelu),
        norm_eps=_parse_norm_eps(reader),
    )
    reader.require_all_read(*_IGNORED_VISION, *_IGNORED_NATIVE)
    return tower


def _parse_timm(reader: ConfigReader, names: Collection[str]) -> ViTConfig:
    name = str(reader.take("timm_model_name")).partition(".")[0]  # the rest names its weights
    if name not in timm_siglip.TOWER_NAMES:
        raise reader.error(
            "timm_model_name", name, f"one of SigLIP's towers: {', '.join(timm_siglip.TOWER_NAMES)}"
        )
    reader.require_one_of("timm_pool", "avg", "map")
    reader.require_one_of("timm_proj", "linear", "none")
    tower = timm_siglip.tower_config(name)
    reader.require_one_of("image_size", 224, tower.image_size)
    reader.require_all_read(*_IGNORED_VISION, *_IGNORED_TIMM)
    blocks = count_numbered(names, f"{timm_siglip.TRUNK_PREFIX}.blocks.")
    return replace(tower, layers=blocks or tower.layers)


def _parse_stages(reader: ConfigReader) -> tuple[int, int, int, int]:
    stages = reader.take("layers")
    if len(stages) != 4 or any(type(depth) is not int for depth in stages):
        raise reader.error("layers", stages, "four whole numbers")
    one, two, three, four = stages
    return one, two, three, four


def _parse_text(reader: ConfigReader, quick_gelu: bool) -> TextConfig:
    for key, allowed in _TEXT_VALUES.items():
        reader.require_one_of(key, allowed[0], *allowed)
    width = reader.integer("width", 512)
    pooling = reader.choice("pool_type", "argmax", POOLINGS)
    end_id = reader.integer("eos_id", 2, minimum=0)
    shifts = reader.boolean("proj_bias")
    projects = reader.choice("proj_type", "linear", {"linear": True, "none": False})
    config = TextConfig(
        context_length=reader.integer("context_length", 77),
        vocab_size=reader.integer("vocab_size", 49408),
        width=width,
        layers=reader.integer("layers", 12),
        heads=reader.integer("heads", 8),
        mlp_width=_parse_mlp_width(reader, width),
        activation=_parse_activation(reader, quick_gelu),
        norm_eps=_parse_norm_eps(reader),
        causal=not reader.boolean("no_causal_mask"),
        pooling=pooling,
        end_id=end_id if pooling == "end" else None,
        projection=("affine" if shifts else "linear") if projects else "none",
    )
    reader.require_all_read(*_IGNORED_TEXT)
    return config


def _parse_tokenizer(
    reader: ConfigReader,
) -> tuple[Literal["clip", "tokenizer.json"], TextCleaning]:
    """Read the vocabulary and the cleaning of texts."""
    named = bool(reader.take("hf_tokenizer_name"))
    settings = reader.table("tokenizer_kwargs")
    settings.require_one_of("strip_sep_token", False, False)
    settings.require_one_of("reduction_mask", "", "")
    cleaning = settings.choice("clean", "whitespace" if named else "lower", TEXT_CLEANINGS)
    settings.require_all_read()
    if not named and cleaning != "lower":
        raise settings.error("clean", cleaning, "'lower' with CLIP's own vocabulary")
    return "tokenizer.json" if named else "clip", cleaning


def _parse_mlp_width(reader: ConfigReader, width: int) -> int | None:
    mlp_width = int(width * reader.positive_float("mlp_ratio", 4.0))
    return None if mlp_width == 4 * width else mlp_width


def _parse_activation(reader: ConfigReader, quick_gelu: bool) -> Activation:
    settings = reader.table("act_kwargs")
    if quick_gelu:
        settings.require_all_read()
        return "quick_gelu"
    activations: dict[str, Activation] = {"none": "gelu", "tanh": "gelu_tanh"}
    activation = settings.choice("approximate", "none", activations)
    settings.require_all_read()
    return activation


def _parse_norm_eps(reader: ConfigReader) -> float:
    settings = reader.table("norm_kwargs")
    eps = settings.positive_float("eps", NORM_EPS)
    settings.require_all_read()
    return eps


def _parse_preprocess(where: str, data: object, image_size: int) -> PreprocessConfig:
    name = f"{where}: preprocess_cfg"
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if value is not None}
    section = ConfigReader(name, {} if data is None else data)
    section.require_one_of("mode", "RGB", "RGB")
    section.require_one_of("size", image_size, image_size, [image_size, image_size])
    config = PreprocessConfig(
        image_size=image_size,
        resize=section.choice("resize_mode", "shortest", RESIZE_MODES),
        mean=_parse_channels(section, "mean", OPENAI_MEAN),
        std=_parse_channels(section, "std", OPENAI_STD),
        interpolation=section.choice("interpolation", "bicubic", _INTERPOLATIONS),
    )
    section.require_all_read("fill_color")  # of what "longest" leaves empty
    return config


def _parse_channels(
    reader: ConfigReader, key: str, default: tuple[float, float, float]
) -> tuple[float, float, float]:
    value = reader.take(key, list(default))
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3 or any(type(channel) not in (int, float) for channel in values):
        raise reader.error(key, value, "three numbers")
    red, green, blue = map(float, values)
    return red, green, blue
