"""`open_clip_config.json` as a `CLIPConfig`.

What the file leaves out has open_clip's defaults; what it says and twinlens has no part for is
refused by its key and value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

from twinlens.checkpoints.formats.config_reader import Section
from twinlens.checkpoints.formats.extras import EXTRAS, with_extras
from twinlens.checkpoints.formats.open_clip import timm_siglip
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
_BLOCKS: dict[str, tuple[object, ...]] = {
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
_VISION: dict[str, tuple[object, ...]] = {
    "attentional_pool": (False,),
    "no_ln_pre": (False,),
    "pos_embed_type": ("learnable",),
    "pool_type": ("tok",),
    **_BLOCKS,
}
_TEXT: dict[str, tuple[object, ...]] = {
    "hf_model_name": (None,),
    "embed_cls": (False,),
    "tokenizer_mode": (None, ""),
    **_BLOCKS,
}
# Keys that change training only, or nothing while the parts above are left out.
_IDLE = ("custom_text", "init_logit_scale", "nonscalar_logit_scale", "output_dict")
_IDLE_TEXT = ("pad_id", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type")
_IDLE_VISION = (
    "patch_dropout",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "timm_model_pretrained",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
)
_IDLE_OWN = ("timm_model_name", "timm_pool", "timm_proj")  # in a tower that is open_clip's own
_IDLE_TIMM = (
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
RESIZES: dict[str, Literal["crop", "squash"]] = {"shortest": "crop", "squash": "squash"}
_INTERPOLATIONS: dict[str, Literal["bicubic", "bilinear"]] = {
    "bicubic": "bicubic",
    "bilinear": "bilinear",
    "random": "bicubic",  # it is random in training only
}
CLEANINGS: dict[str, TextCleaning] = {
    name: name for name in ("lower", "whitespace", "canonicalize")
}
NORM_EPS = 1e-5
"""Of torch's norms, which are open_clip's."""


def parse(data: Mapping[str, Any], names: Collection[str], where: str) -> CLIPConfig:
    """The configuration of a parsed file.

    Args:
        data: The whole file.
        names: Of the tensors; they tell how many blocks timm's tower has.
        where: What messages begin with.

    Raises:
        CheckpointError: A key is unknown, or asks for what twinlens cannot do.
        ConfigError: The numbers do not fit together.
    """
    if "model_cfg" not in data:
        raise CheckpointError(f"{where}: got no model_cfg, expected open_clip's configuration")
    model = Section(f"{where}: model_cfg", data["model_cfg"])
    model.only("multimodal_cfg", None, None)
    quick_gelu = model.flag("quick_gelu")
    vision = _parse_vision(model.section("vision_cfg"), quick_gelu, names)
    text = model.section("text_cfg")
    tokenizer, cleaning = _parse_tokenizer(text)
    config = CLIPConfig(
        embed_dim=model.whole("embed_dim", None),
        vision=vision,
        text=_parse_text(text, quick_gelu),
        logit_bias=model.take("init_logit_bias") is not None,
        tokenizer=tokenizer,
        text_cleaning=cleaning,
        preprocess=_parse_preprocess(where, data.get("preprocess_cfg"), vision.image_size),
    )
    model.finish(*_IDLE)
    return config if data.get(EXTRAS) is None else with_extras(config, data[EXTRAS], where)


def _parse_vision(
    section: Section, quick_gelu: bool, names: Collection[str]
) -> ViTConfig | ResNetConfig:
    for key, allowed in _VISION.items():
        section.only(key, allowed[0], *allowed)
    if section.peek("timm_model_name"):
        return _parse_timm(section, names)
    image_size = section.square("image_size", 224)
    width = section.whole("width", 768)
    head_width = section.whole("head_width", 64)
    if isinstance(section.peek("layers"), list):
        stages = _parse_stages(section)
        section.finish(*_IDLE_VISION, *_IDLE_OWN, "mlp_ratio", "patch_size")
        return ResNetConfig(
            image_size=image_size, width=width, layers=stages, heads=width * 32 // head_width
        )
    tower = ViTConfig(
        image_size=image_size,
        patch_size=section.square("patch_size", 16),
        width=width,
        layers=section.whole("layers", 12),
        heads=width // head_width,
        mlp_width=_parse_mlp_width(section, width),
        activation=_parse_activation(section, quick_gelu),
        norm_eps=_parse_norm_eps(section),
    )
    section.finish(*_IDLE_VISION, *_IDLE_OWN)
    return tower


def _parse_timm(section: Section, names: Collection[str]) -> ViTConfig:
    name = str(section.take("timm_model_name")).partition(".")[0]  # the rest names its weights
    if name not in timm_siglip.NAMES:
        raise section.error(
            "timm_model_name", name, f"one of SigLIP's towers: {', '.join(timm_siglip.NAMES)}"
        )
    section.only("timm_pool", "avg", "map")
    section.only("timm_proj", "linear", "none")
    tower = timm_siglip.tower(name)
    section.only("image_size", 224, tower.image_size)
    section.finish(*_IDLE_VISION, *_IDLE_TIMM)
    return replace(tower, layers=timm_siglip.count_blocks(names) or tower.layers)


def _parse_stages(section: Section) -> tuple[int, int, int, int]:
    stages = section.take("layers")
    if len(stages) != 4 or any(type(depth) is not int for depth in stages):
        raise section.error("layers", stages, "four whole numbers")
    one, two, three, four = stages
    return one, two, three, four


def _parse_text(section: Section, quick_gelu: bool) -> TextConfig:
    for key, allowed in _TEXT.items():
        section.only(key, allowed[0], *allowed)
    width = section.whole("width", 512)
    pooling = section.choice("pool_type", "argmax", POOLINGS)
    end_id = section.whole("eos_id", 2, least=0)
    shifts = section.flag("proj_bias")
    projects = section.choice("proj_type", "linear", {"linear": True, "none": False})
    config = TextConfig(
        context_length=section.whole("context_length", 77),
        vocab_size=section.whole("vocab_size", 49408),
        width=width,
        layers=section.whole("layers", 12),
        heads=section.whole("heads", 8),
        mlp_width=_parse_mlp_width(section, width),
        activation=_parse_activation(section, quick_gelu),
        norm_eps=_parse_norm_eps(section),
        causal=not section.flag("no_causal_mask"),
        pooling=pooling,
        end_id=end_id if pooling == "end" else None,
        projection=("affine" if shifts else "linear") if projects else "none",
    )
    section.finish(*_IDLE_TEXT)
    return config


def _parse_tokenizer(section: Section) -> tuple[Literal["clip", "tokenizer.json"], TextCleaning]:
    """Whose vocabulary texts are read with, and what happens to them before."""
    named = bool(section.take("hf_tokenizer_name"))
    settings = section.section("tokenizer_kwargs")
    settings.only("strip_sep_token", False, False)
    settings.only("reduction_mask", "", "")
    cleaning = settings.choice("clean", "whitespace" if named else "lower", CLEANINGS)
    settings.finish()
    if not named and cleaning != "lower":
        raise settings.error("clean", cleaning, "'lower' with CLIP's own vocabulary")
    return "tokenizer.json" if named else "clip", cleaning


def _parse_mlp_width(section: Section, width: int) -> int | None:
    mlp_width = int(width * section.real("mlp_ratio", 4.0))
    return None if mlp_width == 4 * width else mlp_width


def _parse_activation(section: Section, quick_gelu: bool) -> Activation:
    settings = section.section("act_kwargs")
    if quick_gelu:
        settings.finish()
        return "quick_gelu"
    activations: dict[str, Activation] = {"none": "gelu", "tanh": "gelu_tanh"}
    activation = settings.choice("approximate", "none", activations)
    settings.finish()
    return activation


def _parse_norm_eps(section: Section) -> float:
    settings = section.section("norm_kwargs")
    eps = settings.real("eps", NORM_EPS)
    settings.finish()
    return eps


def _parse_preprocess(where: str, data: object, image_size: int) -> PreprocessConfig:
    name = f"{where}: preprocess_cfg"
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if value is not None}
    section = Section(name, {} if data is None else data)
    section.only("mode", "RGB", "RGB")
    section.only("size", image_size, image_size, [image_size, image_size])
    config = PreprocessConfig(
        image_size=image_size,
        resize=section.choice("resize_mode", "shortest", RESIZES),
        mean=_parse_channels(section, "mean", OPENAI_MEAN),
        std=_parse_channels(section, "std", OPENAI_STD),
        interpolation=section.choice("interpolation", "bicubic", _INTERPOLATIONS),
    )
    section.finish("fill_color")  # of what "longest" leaves empty
    return config


def _parse_channels(
    section: Section, key: str, default: tuple[float, float, float]
) -> tuple[float, float, float]:
    value = section.take(key, list(default))
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3 or any(type(channel) not in (int, float) for channel in values):
        raise section.error(key, value, "three numbers")
    red, green, blue = map(float, values)
    return red, green, blue
