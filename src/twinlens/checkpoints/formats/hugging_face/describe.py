"""Our configuration as Hugging Face's, where transformers computes the same."""

from __future__ import annotations

from typing import Any

from twinlens.checkpoints.formats.extras import EXTRAS_KEY, extract_extras
from twinlens.checkpoints.formats.hugging_face.names import (
    ACTIVATIONS,
    ARCHITECTURES,
    INTERPOLATION_BY_RESAMPLE,
    LEGACY_END_ID,
    RESCALE_FACTOR,
    HuggingFaceArchitecture,
    HuggingFaceFamily,
)
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError

_HIDDEN_ACTS = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
_RESAMPLE_FILTERS = {ours: theirs for theirs, ours in INTERPOLATION_BY_RESAMPLE.items()}
_CLASS_PREFIXES: dict[HuggingFaceFamily, str] = {"clip": "CLIP", "siglip": "Siglip"}


def find_architecture_name(config: CLIPConfig) -> str:
    """Find the class of transformers that computes the same as a model.

    Raises:
        CheckpointError: There is none; all reasons are listed.
    """
    text, vision = config.text, config.vision
    family = "siglip" if _is_siglip(config) else "clip"
    problems = [
        f"{what} is {got!r} instead of {' or '.join(map(repr, allowed))}"
        for what, got, allowed in _requirements(config, is_siglip=family == "siglip")
        if got not in allowed
    ]
    if problems:
        raise CheckpointError(
            f"no such {_CLASS_PREFIXES[family]}Model in transformers: {'; '.join(problems)}"
        )
    wanted = HuggingFaceArchitecture(
        family=family,
        has_text=text is not None,
        has_vision=vision is not None,
        has_projection=any(
            tower.projection != "none"
            for tower in (text, vision)
            if isinstance(tower, TextConfig | ViTConfig)
        ),
    )
    return next(name for name, known in ARCHITECTURES.items() if known == wanted)


def _is_siglip(config: CLIPConfig) -> bool:
    if isinstance(config.vision, ViTConfig):
        return config.vision.pooling == "attention"
    return config.vision is None and config.text_config.pooling == "last"


def _requirements(
    config: CLIPConfig, *, is_siglip: bool
) -> list[tuple[str, object, tuple[object, ...]]]:
    """Requirements of the classes of a family: a field, its value, and the allowed ones."""
    text, vision = config.text, config.vision
    both = text is not None and vision is not None
    projections = ("linear",) if both else ("linear", "none")
    demands: list[tuple[str, object, tuple[object, ...]]] = [
        ("logit_bias", config.logit_bias, (is_siglip and both,))
    ]
    if vision is not None:
        demands.append(("vision.kind", vision.kind, ("vit",)))
    if isinstance(vision, ViTConfig) and not is_siglip:
        demands.append(("vision.projection", vision.projection, projections))
    if text is not None:
        demands += [
            ("text.causal", text.causal, (not is_siglip,)),
            ("text.pooling", text.pooling, ("last",) if is_siglip else ("highest", "end")),
            ("text.projection", text.projection, ("affine",) if is_siglip else projections),
        ]
    if text is not None and text.end_id == LEGACY_END_ID:
        demands.append(("text.end_id", text.end_id, ("another, as that one means the highest",)))
    return demands


def config_json(config: CLIPConfig, name: str, *, dtype: str, end_id: int | None) -> dict[str, Any]:
    """Make the content of `config.json`.

    Args:
        config: The model's.
        name: The class that computes the same: see `find_architecture_name`.
        dtype: Of the weights, by torch's name.
        end_id: The end token of the model's vocabulary.
    """
    architecture = ARCHITECTURES[name]
    towers: dict[str, dict[str, Any]] = {}
    if config.text is not None:
        towers["text_config"] = _text_json(config.text, config.embed_dim, architecture, end_id)
    if isinstance(config.vision, ViTConfig):
        towers["vision_config"] = _vision_json(config.vision, config.embed_dim, architecture)
    if len(towers) == 1:
        (whole,) = towers.values()
    elif architecture.family == "clip":
        whole = {"model_type": "clip", "projection_dim": config.embed_dim, **towers}
    else:
        whole = {"model_type": "siglip", **towers}
    return {
        "architectures": [name],
        **whole,
        "torch_dtype": dtype,
        EXTRAS_KEY: extract_extras(config),
    }


def _text_json(
    config: TextConfig, embed_dim: int, architecture: HuggingFaceArchitecture, end_id: int | None
) -> dict[str, Any]:
    table = {
        "model_type": f"{architecture.family}_text_model",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        **_transformer_json(config),
    }
    if architecture.family == "siglip":
        # The class's own tokens are CLIP's, which mean nothing here.
        specials = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
        return {**table, "projection_size": embed_dim, **specials}
    last = config.vocab_size - 1
    if config.pooling == "highest":
        end_id = last if end_id == last else LEGACY_END_ID
    else:
        end_id = config.end_id
    specials = {"bos_token_id": last - 1, "eos_token_id": end_id, "pad_token_id": end_id}
    return {**table, "projection_dim": embed_dim, **specials}


def _vision_json(
    config: ViTConfig, embed_dim: int, architecture: HuggingFaceArchitecture
) -> dict[str, Any]:
    table = {
        "model_type": f"{architecture.family}_vision_model",
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": 3,
        **_transformer_json(config),
    }
    if architecture.family == "clip":
        return {**table, "projection_dim": embed_dim}
    return {**table, "vision_use_head": True}


def _transformer_json(config: TextConfig | ViTConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width or 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "hidden_act": _HIDDEN_ACTS[config.activation],
        "layer_norm_eps": config.norm_eps,
        "attention_dropout": 0.0,
    }


def preprocessor_json(config: PreprocessConfig, name: str) -> dict[str, Any]:
    """Make the content of `preprocessor_config.json` for a model of the named class."""
    architecture = ARCHITECTURES[name]
    squashes = config.resize == "squash"
    square = {"height": config.image_size, "width": config.image_size}
    # SigLIP's processor only squashes; CLIP's does both, and is the one that CLIPProcessor takes.
    kind = _CLASS_PREFIXES[architecture.family] if squashes else "CLIP"
    table: dict[str, Any] = {"image_processor_type": f"{kind}ImageProcessor"}
    if architecture.has_text:
        table["processor_class"] = f"{_CLASS_PREFIXES[architecture.family]}Processor"
    table |= {
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if squashes else {"shortest_edge": config.image_size},
        "resample": _RESAMPLE_FILTERS[config.interpolation],
    }
    if kind == "CLIP":
        table |= {"do_center_crop": not squashes, "crop_size": square}
    return table | {
        "do_rescale": True,
        "rescale_factor": RESCALE_FACTOR,
        "do_normalize": True,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
    }
