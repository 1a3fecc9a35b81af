"""SigLIP as big_vision released it: one `.npz` of Flax parameters, and nothing beside it.

Shapes tell the architecture: Flax keeps the kernel of a linear layer [inputs, outputs] and those of
attention [width, head, head width]. Blocks are called `encoderblock_0` and so on, or are slices of
one `encoderblock` ("scan"). What no shape tells is the same in every SigLIP, by big_vision's
`models/vit.py` and `models/proj/image_text/text_transformer.py`: `nn.gelu` is the approximation by
tanh, `nn.LayerNorm` adds 1e-6, texts attend both ways and are read at their last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from twinlens.checkpoints.formats.key_map import Link
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError

_ROOT = "params/"
_IMAGE, _TEXT = "img/Transformer/", "txt/Encoder_0/"
_ATTENTION = "MultiHeadDotProductAttention_0/"
_Shape: TypeAlias = tuple[int, ...]
_Map: TypeAlias = Callable[[Tensor], Tensor]
_RELEASED_SIZES = (224, 256, 384, 512)
_NORM_EPS = 1e-6


def matches(names: Collection[str]) -> bool:
    """Whether tensors have the names of a SigLIP's."""
    root = _root(names)
    return f"{root}img/MAPHead_0/probe" in names and f"{root}txt/Embed_0/embedding" in names


def infer_config(tensors: Mapping[str, Tensor]) -> CLIPConfig:
    """The configuration that the tensors' shapes imply.

    Images have the size that SigLIP was released for with as many patches; for the models of
    384 pixels with patches of 14 that is more than the patches cover.

    Raises:
        CheckpointError: A tensor that tells a size is missing or has an unlikely shape.
        ConfigError: The sizes do not fit together.
    """
    root = _root(tensors)
    image, text = _blocks(tensors, root + _IMAGE), _blocks(tensors, root + _TEXT)
    patch_size = _shape(tensors, f"{root}img/embedding/kernel", 4)[0]
    patches = _shape(tensors, f"{root}img/pos_embedding", 3)[1]
    side = math.isqrt(patches)
    if side**2 != patches:
        raise CheckpointError(f"img/pos_embedding: got {patches} patches, expected a square")
    image_size = next(
        (size for size in _RELEASED_SIZES if size // patch_size == side), side * patch_size
    )
    head = f"{root}txt/head/kernel"
    projects, shifts = head in tensors, f"{root}txt/head/bias" in tensors
    return CLIPConfig(
        embed_dim=_shape(tensors, head, 2)[1] if projects else text.width,
        vision=ViTConfig(
            image_size=image_size,
            patch_size=patch_size,
            width=image.width,
            layers=image.layers,
            heads=image.heads,
            mlp_width=image.mlp_width,
            activation="gelu_tanh",
            norm_eps=_NORM_EPS,
            pooling="attention",
            projection="none",
        ),
        text=TextConfig(
            context_length=_shape(tensors, f"{root}txt/pos_embedding", 3)[1],
            vocab_size=_shape(tensors, f"{root}txt/Embed_0/embedding", 2)[0],
            width=text.width,
            layers=text.layers,
            heads=text.heads,
            mlp_width=text.mlp_width,
            activation="gelu_tanh",
            norm_eps=_NORM_EPS,
            causal=False,
            pooling="last",
            projection=("affine" if shifts else "linear") if projects else "none",
        ),
        logit_bias=f"{root}b" in tensors,
        tokenizer="tokenizer.json",
        # As big_vision prepares the prompts of its zero-shot evaluation.
        text_cleaning="canonicalize",
        # `resize(SIZE)|value_range(-1, 1)` in big_vision's SigLIP_demo.ipynb: `resize` is bilinear
        # (pp/ops_image.py), without the smoothing that Pillow adds where an image shrinks.
        preprocess=PreprocessConfig(
            image_size=image_size,
            resize="squash",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            interpolation="bilinear",
        ),
    )


class _Blocks(NamedTuple):
    layers: int
    width: int
    heads: int
    mlp_width: int | None


def _blocks(tensors: Mapping[str, Tensor], encoder: str) -> _Blocks:
    """The sizes of a tower's blocks."""
    scanned = _is_scanned(tensors, encoder)
    block = f"{encoder}encoderblock{'' if scanned else '_0'}/"
    query = _shape(tensors, f"{block}{_ATTENTION}query/kernel", 3 + scanned)
    mlp = _shape(tensors, f"{block}MlpBlock_0/Dense_0/kernel", 2 + scanned)
    prefix = f"{encoder}encoderblock_"
    numbers = {name[len(prefix) :].split("/")[0] for name in tensors if name.startswith(prefix)}
    width, heads = query[-3], query[-2]
    mlp_width = None if mlp[-1] == 4 * width else mlp[-1]
    return _Blocks(query[0] if scanned else len(numbers), width, heads, mlp_width)


def _is_scanned(names: Collection[str], encoder: str) -> bool:
    return f"{encoder}encoderblock/LayerNorm_0/scale" in names


def _root(names: Collection[str]) -> str:
    return _ROOT if f"{_ROOT}t" in names else ""


def _shape(tensors: Mapping[str, Tensor], name: str, axes: int) -> Sequence[int]:
    if name not in tensors:
        raise CheckpointError(f"SigLIP: got no {name}, expected one")
    shape = tensors[name].shape
    if len(shape) != axes or min(shape) < 1:
        raise CheckpointError(f"{name}: got shape {list(shape)}, expected {axes} axes")
    return shape


def links(config: CLIPConfig, names: Collection[str]) -> list[Link]:
    """Where the file keeps each tensor of a model; links to slices are for reading only.

    Args:
        config: As `infer_config` gives it, or with one tower of it only.
        names: Those in the file.
    """
    root = _root(names)
    found = [_plain("logit_scale", f"{root}t", (1,), ())]
    if config.logit_bias:
        found.append(_plain("logit_bias", f"{root}b", (1,), ()))
    if isinstance(config.vision, ViTConfig):
        found += _image_links(config.vision, f"{root}img/", names)
    if config.text is not None:
        found += _text_links(config.text, f"{root}txt/", names, config.embed_dim)
    return found


def _image_links(config: ViTConfig, theirs: str, names: Collection[str]) -> list[Link]:
    ours, width, patch = "image_tower", config.width, config.patch_size
    patches = (config.image_size // patch) ** 2
    pool, head = f"{ours}.pool", f"{theirs}MAPHead_0/"
    return [
        _patch_link(f"{ours}.patch_embedding.weight", f"{theirs}embedding/kernel", width, patch),
        _plain(f"{ours}.patch_embedding.bias", f"{theirs}embedding/bias", (width,)),
        _plain(
            f"{ours}.positional_embedding",
            f"{theirs}pos_embedding",
            (1, patches, width),
            (patches, width),
        ),
        *_encoder_links(f"{ours}.transformer", f"{theirs}Transformer/", config, names),
        *_norm_links(f"{ours}.post_norm", f"{theirs}Transformer/encoder_norm/", width),
        _plain(f"{pool}.query", f"{head}probe", (1, 1, width), (width,)),
        *_projection_links(f"{pool}.query_projection", f"{head}{_ATTENTION}", ("query",), config),
        *_projection_links(f"{pool}.key_value", f"{head}{_ATTENTION}", ("key", "value"), config),
        *_out_links(f"{pool}.out", f"{head}{_ATTENTION}", config),
        *_norm_links(f"{pool}.norm", f"{head}LayerNorm_0/", width),
        *_mlp_links(f"{pool}.mlp", f"{head}MlpBlock_0/", config),
    ]


def _text_links(
    config: TextConfig, theirs: str, names: Collection[str], embed_dim: int
) -> list[Link]:
    ours, width, length = "text_tower", config.width, config.context_length
    encoder = f"{theirs}Encoder_0/"
    found = [
        _plain(
            f"{ours}.token_embedding.weight",
            f"{theirs}Embed_0/embedding",
            (config.vocab_size, width),
        ),
        _plain(
            f"{ours}.positional_embedding",
            f"{theirs}pos_embedding",
            (1, length, width),
            (length, width),
        ),
        *_encoder_links(f"{ours}.transformer", encoder, config, names),
        *_norm_links(f"{ours}.final_norm", f"{encoder}encoder_norm/", width),
    ]
    if config.projection != "none":
        found.append(_plain(f"{ours}.projection", f"{theirs}head/kernel", (width, embed_dim)))
    if config.projection == "affine":
        found.append(_plain(f"{ours}.projection_bias", f"{theirs}head/bias", (embed_dim,)))
    return found


def _encoder_links(
    ours: str, theirs: str, config: ViTConfig | TextConfig, names: Collection[str]
) -> list[Link]:
    scanned = _is_scanned(names, theirs)
    found: list[Link] = []
    for i in range(config.layers):
        block = f"{theirs}encoderblock{'' if scanned else f'_{i}'}/"
        block_links = _block_links(f"{ours}.blocks.{i}", block, config)
        if scanned:
            block_links = [_slice(link, i, config.layers) for link in block_links]
        found += block_links
    return found


def _block_links(ours: str, theirs: str, config: ViTConfig | TextConfig) -> list[Link]:
    attention, parts = f"{ours}.attention", ("query", "key", "value")
    return [
        *_norm_links(f"{ours}.attention_norm", f"{theirs}LayerNorm_0/", config.width),
        *_projection_links(f"{attention}.qkv", f"{theirs}{_ATTENTION}", parts, config),
        *_out_links(f"{attention}.out", f"{theirs}{_ATTENTION}", config),
        *_norm_links(f"{ours}.mlp_norm", f"{theirs}LayerNorm_1/", config.width),
        *_mlp_links(f"{ours}.mlp", f"{theirs}MlpBlock_0/", config),
    ]


def _norm_links(ours: str, theirs: str, width: int) -> list[Link]:
    return [
        _plain(f"{ours}.weight", f"{theirs}scale", (width,)),
        _plain(f"{ours}.bias", f"{theirs}bias", (width,)),
    ]


def _mlp_links(ours: str, theirs: str, config: ViTConfig | TextConfig) -> list[Link]:
    width, mlp_width = config.width, config.mlp_width or 4 * config.width
    found: list[Link] = []
    for name, i, shape in (("expand", 0, (width, mlp_width)), ("contract", 1, (mlp_width, width))):
        kernel, bias = f"{theirs}Dense_{i}/kernel", f"{theirs}Dense_{i}/bias"
        found.append(_linear(f"{ours}.{name}.weight", [kernel], shape, shape[0]))
        found.append(_plain(f"{ours}.{name}.bias", bias, shape[1:]))
    return found


def _projection_links(
    ours: str, theirs: str, parts: Sequence[str], config: ViTConfig | TextConfig
) -> list[Link]:
    """What goes into attention: parts that we keep in one layer."""
    heads = (config.heads, config.width // config.heads)
    kernels = [f"{theirs}{part}/kernel" for part in parts]
    biases = [f"{theirs}{part}/bias" for part in parts]
    return [
        _linear(f"{ours}.weight", kernels, (config.width, *heads), config.width),
        _parts(f"{ours}.bias", biases, heads, Tensor.flatten, lambda part: part.reshape(heads)),
    ]


def _out_links(ours: str, theirs: str, config: ViTConfig | TextConfig) -> list[Link]:
    """What comes out of attention."""
    width, heads = config.width, config.heads
    shape = (heads, width // heads, width)
    return [
        _linear(f"{ours}.weight", [f"{theirs}out/kernel"], shape, width),
        _plain(f"{ours}.bias", f"{theirs}out/bias", (width,)),
    ]


def _linear(native: str, kernels: Sequence[str], shape: _Shape, inputs: int) -> Link:
    """Kernels whose first axes are the inputs, as one matrix [outputs, inputs]."""
    return _parts(
        native,
        kernels,
        shape,
        lambda part: part.reshape(inputs, -1).T,
        lambda part: part.T.reshape(shape),
    )


def _patch_link(native: str, foreign: str, width: int, patch: int) -> Link:
    """A convolution's kernel [row, column, channel, width] as [width, channel x row x column]."""
    return _parts(
        native,
        [foreign],
        (patch, patch, 3, width),
        lambda kernel: kernel.permute(3, 2, 0, 1).flatten(1),
        lambda ours: ours.reshape(width, 3, patch, patch).permute(2, 3, 1, 0),
    )


def _plain(native: str, foreign: str, theirs: _Shape, ours: _Shape | None = None) -> Link:
    """The same numbers, perhaps in another shape."""
    shape = theirs if ours is None else ours
    return _parts(
        native,
        [foreign],
        theirs,
        lambda part: part.reshape(shape),
        lambda tensor: tensor.reshape(theirs),
    )


def _parts(native: str, foreign: Sequence[str], shape: _Shape, read: _Map, write: _Map) -> Link:
    """Parts of one shape, which we keep one after the other along the first axis."""

    def read_parts(parts: Sequence[Tensor]) -> Tensor:
        for part in parts:
            if part.shape != shape:
                return part[None]  # fits nothing of ours, and is reported with all that does not
        return read(parts[0]) if len(parts) == 1 else torch.cat([read(part) for part in parts])

    def write_parts(ours: Tensor) -> Sequence[Tensor]:
        return [write(part) for part in (ours.chunk(len(foreign)) if ours.ndim else [ours])]

    return Link(native, tuple(foreign), read_parts, write_parts)


def _slice(link: Link, i: int, layers: int) -> Link:
    """The link to a block among all those stacked along the first axis."""

    def read(parts: Sequence[Tensor]) -> Tensor:
        for part in parts:
            if part.shape[:1] != (layers,):
                return part[None]
        return link.read([part[i] for part in parts])

    def write(ours: Tensor) -> Sequence[Tensor]:
        raise CheckpointError(f"{link.native}: a block alone cannot be written into a stack")

    return replace(link, read=read, write=write)
