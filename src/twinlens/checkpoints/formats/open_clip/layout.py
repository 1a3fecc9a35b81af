"""open_clip's layout: a directory with `open_clip_config.json` and the weights.

Its own towers have OpenAI's names. Text tensors are at the root, or under "text." in models with
`custom_text`; the names decide, because open_clip reads either into either. SigLIP's image tower is
timm's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from twinlens.checkpoints.formats import openai
from twinlens.checkpoints.formats.hugging_face.tokenizer import write_tokenizer
from twinlens.checkpoints.formats.key_map import (
    KeyMapping,
    renamed,
    scalar,
    to_foreign_tensors,
    transposed,
)
from twinlens.checkpoints.formats.open_clip import timm_siglip
from twinlens.checkpoints.formats.open_clip.config import parse_config
from twinlens.checkpoints.formats.open_clip.describe import config_json, is_timm_tower
from twinlens.checkpoints.formats.storage.arrays import Array, write_arrays
from twinlens.config import CLIPConfig, ResNetConfig
from twinlens.config_io import read_json_object
from twinlens.errors import CheckpointError, ConfigError, os_errors_as
from twinlens.files import atomic_write_text, ensure_directory
from twinlens.text.loading import AnyTokenizer

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"

is_ignored = openai.is_ignored


def read_config(directory: Path, tensors: Mapping[str, Array]) -> CLIPConfig:
    """Read the configuration of a directory.

    Args:
        directory: With `open_clip_config.json`.
        tensors: Its weights by their names there; none is read.

    Raises:
        CheckpointError: The configuration asks for what twinlens cannot do, has unknown keys, or
            its numbers do not fit together.
        ConfigError: It is missing or no JSON.
    """
    path = directory / CONFIG_FILE
    data = read_json_object(path)
    try:
        return parse_config(data, tensors, str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def key_map(config: CLIPConfig, names: Collection[str]) -> list[KeyMapping]:
    """Map each tensor of a model to the checkpoint's names; OpenAI's own files have them too.

    Args:
        config: The model's.
        names: Of the tensors in the checkpoint, which show if those of texts have a prefix.
    """
    return _key_map(config, openai.find_text_prefix(names))


def write_model(
    config: CLIPConfig,
    weights: Mapping[str, Array],
    directory: Path,
    tokenizer: AnyTokenizer | None = None,
) -> None:
    """Write a directory that open_clip opens as `local-dir:DIRECTORY`.

    A vocabulary other than CLIP's is read there by transformers, after open_clip has mended
    mojibake and doubled spaces, which "siglip" and "none" here leave alone.

    Args:
        config: The model's, with both towers.
        weights: Its tensors by our names; they keep their type.
        directory: Made if it is missing; weights are written first.
        tokenizer: Its vocabulary, where it is not CLIP's own.

    Raises:
        CheckpointError: open_clip has no such model, the vocabulary is missing, or a file cannot
            be written.
    """
    described = config_json(config)
    if tokenizer is None and config.tokenizer != "clip":
        raise CheckpointError(f"{directory}: got no tokenizer, expected the model's vocabulary")
    prefix = openai.CUSTOM_TEXT_PREFIX if described["model_cfg"].get("custom_text") else ""
    arrays = to_foreign_tensors(_key_map(config, prefix), weights)
    with (
        os_errors_as(CheckpointError, directory, "the model could not be saved"),
        ensure_directory(directory),
    ):
        write_arrays(arrays, directory / WEIGHTS_FILE, {"format": "pt"})
        if tokenizer is not None and config.tokenizer != "clip":
            write_tokenizer(tokenizer, directory, config.text_config.context_length)
        atomic_write_text(json.dumps(described, indent=2) + "\n", directory / CONFIG_FILE)


def _key_map(config: CLIPConfig, text_prefix: str) -> list[KeyMapping]:
    found = [scalar("logit_scale")]
    if config.logit_bias:
        found.append(scalar("logit_bias"))
    if isinstance(config.vision, ResNetConfig):
        found += openai.resnet_key_map(config.vision)
    elif config.vision is not None:
        is_timm = is_timm_tower(config)
        found += (timm_siglip.key_map if is_timm else openai.vit_key_map)(config.vision)
    if config.text is not None:
        found += openai.text_key_map(config.text, text_prefix)
        if config.text.projection == "affine":
            matrix = f"{text_prefix}text_projection"
            found.append(transposed("text_tower.projection", f"{matrix}.weight"))
            found.append(renamed("text_tower.projection_bias", f"{matrix}.bias"))
    return found
