"""Hugging Face's layout: `CLIPModel`, `SiglipModel` and their single towers, read and written.

transformers 4 and 5 name a whole model's tensors alike. A single tower without a projection is
the exception: 4 wrote `text_model.embeddings...` (so are the text encoders of Stable Diffusion),
5 writes `embeddings...` and, reading, takes the prefix away. Both are read here; what is written
has the prefix, which both versions open. Files from before transformers 4.31 also hold
`position_ids`, which only count up.

transformers crops a centre that cannot be in the middle half a pixel up and left, OpenAI's
preprocessing to the nearest even pixel; twinlens does as OpenAI, so of images whose long side is
resized to 3 pixels more than a multiple of 4 beyond the crop, it sees one row or column later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from twinlens.checkpoints.formats.hugging_face.describe import (
    config_json,
    find_architecture_name,
    preprocessor_json,
)
from twinlens.checkpoints.formats.hugging_face.names import (
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    PROCESSOR_FILE,
)
from twinlens.checkpoints.formats.hugging_face.tokenizer import write_tokenizer, write_unicode_json
from twinlens.checkpoints.formats.key_map import (
    KeyMapping,
    concatenated,
    renamed,
    reshaped,
    scalar,
    to_foreign_tensors,
    transposed,
    weight_and_bias,
)
from twinlens.checkpoints.formats.storage.arrays import Array, write_arrays
from twinlens.config import CLIPConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError, os_errors_as
from twinlens.files import ensure_directory
from twinlens.text.clip_bpe import Tokenizer
from twinlens.text.loading import AnyTokenizer

WEIGHTS_FILE = "model.safetensors"

_TEXT_PREFIX, _VISION_PREFIX = "text_model.", "vision_model."


def is_ignored(name: str) -> bool:
    """True for buffers without weights."""
    return name.endswith("embeddings.position_ids")


def key_map(config: CLIPConfig, names: Collection[str]) -> list[KeyMapping]:
    """Map each tensor of a model to Hugging Face's names.

    Args:
        config: The model's.
        names: Of the tensors in the file, which show if a single tower's have its prefix.
    """
    both = config.text is not None and config.vision is not None
    found: list[KeyMapping] = []
    if both or "logit_scale" in names:  # single towers have none
        found.append(scalar("logit_scale", listed=config.logit_bias))
    if config.logit_bias:
        found.append(scalar("logit_bias", listed=True))
    if config.text is not None:
        found += _text_key_map(config.text, _find_prefix(_TEXT_PREFIX, names, both))
    if isinstance(config.vision, ViTConfig):
        found += _vision_key_map(config.vision, _find_prefix(_VISION_PREFIX, names, both))
    return found


def _find_prefix(prefix: str, names: Collection[str], both: bool) -> str:
    return prefix if both or any(name.startswith(prefix) for name in names) else ""


def _text_key_map(config: TextConfig, theirs: str) -> list[KeyMapping]:
    ours = "text_tower"
    found = [
        renamed(f"{ours}.token_embedding.weight", f"{theirs}embeddings.token_embedding.weight"),
        renamed(f"{ours}.positional_embedding", f"{theirs}embeddings.position_embedding.weight"),
        *_block_key_map(f"{ours}.transformer", f"{theirs}encoder", config.layers),
        *weight_and_bias(f"{ours}.final_norm", f"{theirs}final_layer_norm"),
    ]
    if config.projection == "linear":
        found.append(transposed(f"{ours}.projection", "text_projection.weight"))
    if config.projection == "affine":
        found.append(transposed(f"{ours}.projection", f"{theirs}head.weight"))
        found.append(renamed(f"{ours}.projection_bias", f"{theirs}head.bias"))
    return found


def _vision_key_map(config: ViTConfig, theirs: str) -> list[KeyMapping]:
    ours = "image_tower"
    size, width = config.patch_size, config.width
    found = [
        reshaped(
            f"{ours}.patch_embedding.weight",
            f"{theirs}embeddings.patch_embedding.weight",
            ours=(width, 3 * size**2),
            theirs=(width, 3, size, size),
        ),
        renamed(f"{ours}.positional_embedding", f"{theirs}embeddings.position_embedding.weight"),
        *_block_key_map(f"{ours}.transformer", f"{theirs}encoder", config.layers),
        *weight_and_bias(f"{ours}.post_norm", f"{theirs}post_layernorm"),
    ]
    if config.pooling == "attention":
        found.append(
            renamed(f"{ours}.patch_embedding.bias", f"{theirs}embeddings.patch_embedding.bias")
        )
        return [*found, *_pool_key_map(f"{ours}.pool", f"{theirs}head", width)]
    found.append(renamed(f"{ours}.class_embedding", f"{theirs}embeddings.class_embedding"))
    found += weight_and_bias(f"{ours}.pre_norm", f"{theirs}pre_layrnorm")  # their spelling
    if config.projection == "linear":
        found.append(transposed(f"{ours}.projection", "visual_projection.weight"))
    return found


def _block_key_map(ours: str, theirs: str, layers: int) -> list[KeyMapping]:
    found: list[KeyMapping] = []
    for i in range(layers):
        block, other = f"{ours}.blocks.{i}", f"{theirs}.layers.{i}"
        for kind in ("weight", "bias"):
            parts = (f"{other}.self_attn.{name}_proj.{kind}" for name in "qkv")
            found.append(concatenated(f"{block}.attention.qkv.{kind}", *parts))
        found += [
            *weight_and_bias(f"{block}.attention_norm", f"{other}.layer_norm1"),
            *weight_and_bias(f"{block}.attention.out", f"{other}.self_attn.out_proj"),
            *weight_and_bias(f"{block}.mlp_norm", f"{other}.layer_norm2"),
            *weight_and_bias(f"{block}.mlp.expand", f"{other}.mlp.fc1"),
            *weight_and_bias(f"{block}.mlp.contract", f"{other}.mlp.fc2"),
        ]
    return found


def _pool_key_map(ours: str, theirs: str, width: int) -> list[KeyMapping]:
    found = [reshaped(f"{ours}.query", f"{theirs}.probe", ours=(width,), theirs=(1, 1, width))]
    for kind in ("weight", "bias"):
        whole = f"{theirs}.attention.in_proj_{kind}"
        found.append(
            _row_slice_mapping(f"{ours}.query_projection.{kind}", whole, slice(None, width))
        )
        found.append(_row_slice_mapping(f"{ours}.key_value.{kind}", whole, slice(width, None)))
    return [
        *found,
        *weight_and_bias(f"{ours}.out", f"{theirs}.attention.out_proj"),
        *weight_and_bias(f"{ours}.norm", f"{theirs}.layernorm"),
        *weight_and_bias(f"{ours}.mlp.expand", f"{theirs}.mlp.fc1"),
        *weight_and_bias(f"{ours}.mlp.contract", f"{theirs}.mlp.fc2"),
    ]


def _row_slice_mapping(native: str, foreign: str, rows: slice) -> KeyMapping:
    """Some rows of a tensor; `to_foreign_tensors` concatenates them."""
    return KeyMapping(
        native,
        (foreign,),
        lambda parts: parts[0][rows] if parts[0].ndim else parts[0],
        lambda ours: [ours],
    )


def write_model(
    config: CLIPConfig,
    weights: Mapping[str, Array],
    directory: Path,
    tokenizer: AnyTokenizer | None = None,
) -> None:
    """Write a model as a directory that transformers, diffusers and sentence-transformers open.

    Args:
        config: The model's.
        weights: Its tensors by our names; they keep their type.
        directory: Made if it is missing.
        tokenizer: The vocabulary of its text tower; None for an image tower alone.

    Raises:
        CheckpointError: transformers has no such model, and the message says why; or the files
            cannot be written.
    """
    name = find_architecture_name(config)
    _check_tokenizer(config, tokenizer)
    for stale in (PROCESSOR_FILE, "added_tokens.json"):
        if (directory / stale).exists():  # it would count for more than what is written here
            raise CheckpointError(f"{directory}: got a {stale} in it, expected a new directory")
    arrays = to_foreign_tensors(key_map(config, (_TEXT_PREFIX, _VISION_PREFIX)), weights)
    dtype = next(iter(arrays.values())).dtype.name
    with os_errors_as(CheckpointError, directory, "the model could not be written"):
        with ensure_directory(directory):
            write_arrays(arrays, directory / WEIGHTS_FILE, {"format": "pt"})
            if config.text is not None and tokenizer is not None:
                write_tokenizer(tokenizer, directory, config.text.context_length)
            if config.preprocess is not None:
                pixels = preprocessor_json(config.preprocess, name)
                write_unicode_json(pixels, directory / PREPROCESSOR_FILE)
            end_id = None if tokenizer is None else tokenizer.end_id
            described = config_json(config, name, dtype=dtype, end_id=end_id)
        write_unicode_json(described, directory / CONFIG_FILE)


def _check_tokenizer(config: CLIPConfig, tokenizer: AnyTokenizer | None) -> None:
    if config.text is None:
        return
    if tokenizer is None:
        raise CheckpointError("tokenizer: got none, expected the one of the text tower")
    if tokenizer.vocab_size != config.text.vocab_size:
        raise CheckpointError(
            f"tokenizer: got a vocabulary of {tokenizer.vocab_size}, "
            f"expected vocab_size={config.text.vocab_size}"
        )
    if not config.text.causal and isinstance(tokenizer, Tokenizer):
        raise CheckpointError(
            "tokenizer: got one of CLIP's kind, whose padding transformers does not know, "
            "expected another for a text tower that sees it"
        )
