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

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from twinlens.checkpoints.formats.hugging_face.describe import (
    architecture_name,
    config_json,
    preprocessor_json,
)
from twinlens.checkpoints.formats.hugging_face.names import (
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    PROCESSOR_FILE,
)
from twinlens.checkpoints.formats.hugging_face.tokenizer import write_plain_json, write_tokenizer
from twinlens.checkpoints.formats.key_map import Link, layer, reshaped, same, stacked, transposed
from twinlens.checkpoints.native import write_tensors
from twinlens.config import CLIPConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError
from twinlens.files import made_directory
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer
from twinlens.text.loading import AnyTokenizer

WEIGHTS_FILE = "model.safetensors"

_TEXT, _VISION = "text_model.", "vision_model."


def ignored(name: str) -> bool:
    """Whether a tensor is a buffer without weights."""
    return name.endswith("embeddings.position_ids")


def links(config: CLIPConfig, names: Collection[str]) -> list[Link]:
    """Where Hugging Face's files keep each tensor of a model.

    Args:
        config: The model's.
        names: Of the tensors in the file; they tell whether a single tower's have its prefix.
    """
    both = config.text is not None and config.vision is not None
    found: list[Link] = []
    if both or "logit_scale" in names:  # single towers have none
        found.append(_number("logit_scale", listed=config.logit_bias))
    if config.logit_bias:
        found.append(_number("logit_bias", listed=True))
    if config.text is not None:
        found += _text_links(config.text, _prefix(_TEXT, names, both))
    if isinstance(config.vision, ViTConfig):
        found += _vision_links(config.vision, _prefix(_VISION, names, both))
    return found


def _prefix(prefix: str, names: Collection[str], both: bool) -> str:
    return prefix if both or any(name.startswith(prefix) for name in names) else ""


def _number(name: str, *, listed: bool) -> Link:
    """A number; SigLIP's files hold a list of one."""
    return Link(
        name,
        (name,),
        lambda parts: parts[0].reshape(()) if parts[0].numel() == 1 else parts[0],
        lambda ours: [ours.reshape((1,) if listed else ())],
    )


def _text_links(config: TextConfig, theirs: str) -> list[Link]:
    ours = "text_tower"
    found = [
        same(f"{ours}.token_embedding.weight", f"{theirs}embeddings.token_embedding.weight"),
        same(f"{ours}.positional_embedding", f"{theirs}embeddings.position_embedding.weight"),
        *_block_links(f"{ours}.transformer", f"{theirs}encoder", config.layers),
        *layer(f"{ours}.final_norm", f"{theirs}final_layer_norm"),
    ]
    if config.projection == "linear":
        found.append(transposed(f"{ours}.projection", "text_projection.weight"))
    if config.projection == "affine":
        found.append(transposed(f"{ours}.projection", f"{theirs}head.weight"))
        found.append(same(f"{ours}.projection_bias", f"{theirs}head.bias"))
    return found


def _vision_links(config: ViTConfig, theirs: str) -> list[Link]:
    ours = "image_tower"
    size, width = config.patch_size, config.width
    found = [
        reshaped(
            f"{ours}.patch_embedding.weight",
            f"{theirs}embeddings.patch_embedding.weight",
            ours=(width, 3 * size**2),
            theirs=(width, 3, size, size),
        ),
        same(f"{ours}.positional_embedding", f"{theirs}embeddings.position_embedding.weight"),
        *_block_links(f"{ours}.transformer", f"{theirs}encoder", config.layers),
        *layer(f"{ours}.post_norm", f"{theirs}post_layernorm"),
    ]
    if config.pooling == "attention":
        found.append(
            same(f"{ours}.patch_embedding.bias", f"{theirs}embeddings.patch_embedding.bias")
        )
        return [*found, *_pool_links(f"{ours}.pool", f"{theirs}head", width)]
    found.append(same(f"{ours}.class_embedding", f"{theirs}embeddings.class_embedding"))
    found += layer(f"{ours}.pre_norm", f"{theirs}pre_layrnorm")  # their spelling
    if config.projection == "linear":
        found.append(transposed(f"{ours}.projection", "visual_projection.weight"))
    return found


def _block_links(ours: str, theirs: str, layers: int) -> list[Link]:
    found: list[Link] = []
    for i in range(layers):
        block, other = f"{ours}.blocks.{i}", f"{theirs}.layers.{i}"
        for kind in ("weight", "bias"):
            parts = (f"{other}.self_attn.{name}_proj.{kind}" for name in "qkv")
            found.append(stacked(f"{block}.attention.qkv.{kind}", *parts))
        found += [
            *layer(f"{block}.attention_norm", f"{other}.layer_norm1"),
            *layer(f"{block}.attention.out", f"{other}.self_attn.out_proj"),
            *layer(f"{block}.mlp_norm", f"{other}.layer_norm2"),
            *layer(f"{block}.mlp.expand", f"{other}.mlp.fc1"),
            *layer(f"{block}.mlp.contract", f"{other}.mlp.fc2"),
        ]
    return found


def _pool_links(ours: str, theirs: str, width: int) -> list[Link]:
    found = [reshaped(f"{ours}.query", f"{theirs}.probe", ours=(width,), theirs=(1, 1, width))]
    for kind in ("weight", "bias"):
        whole = f"{theirs}.attention.in_proj_{kind}"
        found.append(_rows(f"{ours}.query_projection.{kind}", whole, slice(None, width)))
        found.append(_rows(f"{ours}.key_value.{kind}", whole, slice(width, None)))
    return [
        *found,
        *layer(f"{ours}.out", f"{theirs}.attention.out_proj"),
        *layer(f"{ours}.norm", f"{theirs}.layernorm"),
        *layer(f"{ours}.mlp.expand", f"{theirs}.mlp.fc1"),
        *layer(f"{ours}.mlp.contract", f"{theirs}.mlp.fc2"),
    ]


def _rows(native: str, foreign: str, rows: slice) -> Link:
    """Some rows of a tensor; `_written` lays those of all its links one after the other."""
    return Link(
        native,
        (foreign,),
        lambda parts: parts[0][rows] if parts[0].ndim else parts[0],
        lambda ours: [ours],
    )


def write(model: CLIP, directory: Path, tokenizer: AnyTokenizer | None = None) -> None:
    """Write a model as a directory that transformers, diffusers and sentence-transformers open.

    Args:
        model: Its weights keep their type.
        directory: Made if it is missing.
        tokenizer: The vocabulary of its text tower; None for an image tower alone.

    Raises:
        CheckpointError: transformers has no such model, and the message says why; or the files
            cannot be written.
    """
    config = model.config
    name = architecture_name(config)
    _check_tokenizer(config, tokenizer)
    for stale in (PROCESSOR_FILE, "added_tokens.json"):
        if (directory / stale).exists():  # it would count for more than what is written here
            raise CheckpointError(f"{directory}: got a {stale} in it, expected a new directory")
    tensors = _written(links(config, (_TEXT, _VISION)), model.state_dict())
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    try:
        with made_directory(directory):
            write_tensors(tensors, directory / WEIGHTS_FILE, {"format": "pt"})
            if config.text is not None and tokenizer is not None:
                write_tokenizer(tokenizer, directory, config.text.context_length)
            if config.preprocess is not None:
                pixels = preprocessor_json(config.preprocess, name)
                write_plain_json(pixels, directory / PREPROCESSOR_FILE)
            end_id = None if tokenizer is None else tokenizer.end_id
            described = config_json(config, name, dtype=dtype, end_id=end_id)
        write_plain_json(described, directory / CONFIG_FILE)
    except OSError as error:
        raise CheckpointError(f"{directory}: the model could not be written: {error}") from error


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


def _written(links: Iterable[Link], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors by their foreign names; links to one name are its parts in their order."""
    parts: dict[str, list[Tensor]] = {}
    for link in links:
        for foreign, part in zip(link.foreign, link.write(tensors[link.native]), strict=True):
            parts.setdefault(foreign, []).append(part)
    return {
        foreign: torch.cat(found) if len(found) > 1 else found[0].contiguous()
        for foreign, found in parts.items()
    }
