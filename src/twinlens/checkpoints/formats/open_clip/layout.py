"""open_clip's layout: a directory with `open_clip_config.json` beside the weights.

Its own towers keep OpenAI's names. Text tensors lie at the root, or under "text." in models with
`custom_text`; the names tell, because open_clip reads either into either. SigLIP's image tower is
timm's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from twinlens.checkpoints.formats import openai
from twinlens.checkpoints.formats.hugging_face.tokenizer import write_tokenizer
from twinlens.checkpoints.formats.key_map import Link, number, same, transposed, written
from twinlens.checkpoints.formats.open_clip import timm_siglip
from twinlens.checkpoints.formats.open_clip.config import parse
from twinlens.checkpoints.formats.open_clip.describe import describe, has_timm_tower
from twinlens.checkpoints.native import write_tensors
from twinlens.config import CLIPConfig, ResNetConfig
from twinlens.config_io import read_plain_json
from twinlens.errors import CheckpointError, ConfigError
from twinlens.files import made_directory, write_whole
from twinlens.model.clip import CLIP
from twinlens.text.loading import AnyTokenizer

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"


def read_config(directory: Path, tensors: Mapping[str, Tensor]) -> CLIPConfig:
    """The configuration of a directory.

    Args:
        directory: With `open_clip_config.json`.
        tensors: Its weights by their names there; none is read.

    Raises:
        CheckpointError: The configuration asks for what twinlens cannot do, has unknown keys, or
            its numbers do not fit together.
        ConfigError: It is missing or no JSON.
    """
    path = directory / CONFIG_FILE
    data = read_plain_json(path)
    try:
        return parse(data, tensors, str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def links(config: CLIPConfig, names: Collection[str]) -> list[Link]:
    """Where the checkpoint keeps each tensor of a model.

    Args:
        config: The model's.
        names: Those in the checkpoint.
    """
    return _links(config, openai.text_prefix_of(names))


def ignored(name: str) -> bool:
    """Whether a tensor carries no weights."""
    return openai.ignored(name)


def write(model: CLIP, directory: Path, tokenizer: AnyTokenizer | None = None) -> None:
    """Write a directory that open_clip opens as `local-dir:DIRECTORY`.

    A vocabulary other than CLIP's is read there by transformers, after open_clip has mended
    mojibake and doubled spaces, which "siglip" and "none" here leave alone.

    Args:
        model: With both towers.
        directory: Made if it is missing; weights are written first.
        tokenizer: Its vocabulary, where it is not CLIP's own.

    Raises:
        CheckpointError: open_clip has no such model, the vocabulary is missing, or a file cannot
            be written.
    """
    config = model.config
    described = describe(config)
    if tokenizer is None and config.tokenizer != "clip":
        raise CheckpointError(f"{directory}: got no tokenizer, expected the model's vocabulary")
    prefix = openai.CUSTOM_TEXT if described["model_cfg"].get("custom_text") else ""
    tensors = written(_links(config, prefix), model.state_dict())
    try:
        with made_directory(directory):
            write_tensors(tensors, directory / WEIGHTS_FILE, {"format": "pt"})
            if tokenizer is not None and config.tokenizer != "clip":
                write_tokenizer(tokenizer, directory, config.text_input.context_length)
            write_whole(json.dumps(described, indent=2) + "\n", directory / CONFIG_FILE)
    except OSError as error:
        raise CheckpointError(f"{directory}: the model could not be saved: {error}") from error


def _links(config: CLIPConfig, text_prefix: str) -> list[Link]:
    found = [number("logit_scale")]
    if config.logit_bias:
        found.append(number("logit_bias"))
    if isinstance(config.vision, ResNetConfig):
        found += openai.resnet_links(config.vision)
    elif config.vision is not None:
        is_timm = has_timm_tower(config)
        found += (timm_siglip.links if is_timm else openai.vit_links)(config.vision)
    if config.text is not None:
        found += openai.text_links(config.text, text_prefix)
        if config.text.projection == "affine":
            matrix = f"{text_prefix}text_projection"
            found.append(transposed("text_tower.projection", f"{matrix}.weight"))
            found.append(same("text_tower.projection_bias", f"{matrix}.bias"))
    return found
