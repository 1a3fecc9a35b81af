"""SigLIP as big_vision released it: one `.npz` of Flax parameters, and no other file.

The architecture is read from shapes: Flax stores the kernel of a linear layer [inputs, outputs]
and those of attention [width, head, head width]. Blocks are called `encoderblock_0` and so on, or
are slices of one `encoderblock` ("scan"). What no shape shows is the same in every SigLIP, by
big_vision's `models/vit.py` and `models/proj/image_text/text_transformer.py`: `nn.gelu` is the
approximation by tanh, `nn.LayerNorm` adds 1e-6, texts attend both ways and are pooled at their last
position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from twinlens.checkpoints.formats.key_map import KeyMapping
from twinlens.checkpoints.formats.shapes import shape_of
from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError

_ROOT = "params/"
_IMAGE, _TEXT = "img/Transformer/", "txt/Encoder_0/"
_ATTENTION_PREFIX = "MultiHeadDotProductAttention_0/"
_Shape: TypeAlias = tuple[int, ...]
_TensorFunction: TypeAlias = Callable[[Array], Array]
_RELEASED_IMAGE_SIZES = (224, 256, 384, 512)
_NORM_EPS = 1e-6


_require_shape = partial(shape_of, family="SigLIP's")


def matches(names: Collection[str]) -> bool:
    """True if tensors have SigLIP's names."""
    root = _find_root(names)
    return f"{root}img/MAPHead_0/probe" in names and f"{root}txt/Embed_0/embedding" in names


def infer_config(tensors: Mapping[str, Array]) -> CLIPConfig:
    """The configuration that the tensors' shapes imply.

    Images have the size that SigLIP was released for with as many patches; for the models of
    384 pixels with patches of 14 that is more than the patches cover.

    Raises:
        CheckpointError: A tensor that sizes are read from is missing or has another number of
            axes.
        ConfigError: The sizes do not fit together.
    """
    root = _find_root(tensors)
    image, text = (
        _infer_block_sizes(tensors, root + _IMAGE),
        _infer_block_sizes(tensors, root + _TEXT),
    )
    patch_size = _require_shape(tensors, f"{root}img/embedding/kernel", 4)[0]
    patches = _require_shape(tensors, f"{root}img/pos_embedding", 3)[1]
    side = math.isqrt(patches)
    if side**2 != patches:
        raise CheckpointError(f"img/pos_embedding: got {patches} patches, expected a square")
    image_size = next(
        (size for size in _RELEASED_IMAGE_SIZES if size // patch_size == side), side * patch_size
    )
    head = f"{root}txt/head/kernel"
    projects, shifts = head in tensors, f"{root}txt/head/bias" in tensors
    return CLIPConfig(
        embed_dim=_require_shape(tensors, head, 2)[1] if projects else text.width,
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
            context_length=_require_shape(tensors, f"{root}txt/pos_embedding", 3)[1],
            vocab_size=_require_shape(tensors, f"{root}txt/Embed_0/embedding", 2)[0],
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


class _BlockSizes(NamedTuple):
    layers: int
    width: int
    heads: int
    mlp_width: int | None


def _infer_block_sizes(tensors: Mapping[str, Array], encoder: str) -> _BlockSizes:
    """The sizes of a tower's blocks."""
    scanned = _is_stacked(tensors, encoder)
    block = f"{encoder}encoderblock{'' if scanned else '_0'}/"
    query = _require_shape(tensors, f"{block}{_ATTENTION_PREFIX}query/kernel", 3 + scanned)
    mlp = _require_shape(tensors, f"{block}MlpBlock_0/Dense_0/kernel", 2 + scanned)
    prefix = f"{encoder}encoderblock_"
    numbers = {name[len(prefix) :].split("/")[0] for name in tensors if name.startswith(prefix)}
    width, heads = query[-3], query[-2]
    mlp_width = None if mlp[-1] == 4 * width else mlp[-1]
    return _BlockSizes(query[0] if scanned else len(numbers), width, heads, mlp_width)


def _is_stacked(names: Collection[str], encoder: str) -> bool:
    return f"{encoder}encoderblock/LayerNorm_0/scale" in names


def _find_root(names: Collection[str]) -> str:
    return _ROOT if f"{_ROOT}t" in names else ""


def key_map(config: CLIPConfig, names: Collection[str]) -> list[KeyMapping]:
    """Map each tensor of a model to the file's names; slices of stacks are read only.

    Args:
        config: As `infer_config` gives it, or with one tower of it only.
        names: Those in the file.
    """
    root = _find_root(names)
    found = [_reshaped_mapping("logit_scale", f"{root}t", (1,), ())]
    if config.logit_bias:
        found.append(_reshaped_mapping("logit_bias", f"{root}b", (1,), ()))
    if isinstance(config.vision, ViTConfig):
        found += _image_key_map(config.vision, f"{root}img/", names)
    if config.text is not None:
        found += _text_key_map(config.text, f"{root}txt/", names, config.embed_dim)
    return found


def _image_key_map(config: ViTConfig, theirs: str, names: Collection[str]) -> list[KeyMapping]:
    ours, width, patch = "image_tower", config.width, config.patch_size
    patches = (config.image_size // patch) ** 2
    pool, head = f"{ours}.pool", f"{theirs}MAPHead_0/"
    return [
        _patch_embedding_mapping(
            f"{ours}.patch_embedding.weight", f"{theirs}embedding/kernel", width, patch
        ),
        _reshaped_mapping(f"{ours}.patch_embedding.bias", f"{theirs}embedding/bias", (width,)),
        _reshaped_mapping(
            f"{ours}.positional_embedding",
            f"{theirs}pos_embedding",
            (1, patches, width),
            (patches, width),
        ),
        *_encoder_key_map(f"{ours}.transformer", f"{theirs}Transformer/", config, names),
        *_norm_key_map(f"{ours}.post_norm", f"{theirs}Transformer/encoder_norm/", width),
        _reshaped_mapping(f"{pool}.query", f"{head}probe", (1, 1, width), (width,)),
        *_projection_key_map(
            f"{pool}.query_projection", f"{head}{_ATTENTION_PREFIX}", ("query",), config
        ),
        *_projection_key_map(
            f"{pool}.key_value", f"{head}{_ATTENTION_PREFIX}", ("key", "value"), config
        ),
        *_out_key_map(f"{pool}.out", f"{head}{_ATTENTION_PREFIX}", config),
        *_norm_key_map(f"{pool}.norm", f"{head}LayerNorm_0/", width),
        *_mlp_key_map(f"{pool}.mlp", f"{head}MlpBlock_0/", config),
    ]


def _text_key_map(
    config: TextConfig, theirs: str, names: Collection[str], embed_dim: int
) -> list[KeyMapping]:
    ours, width, length = "text_tower", config.width, config.context_length
    encoder = f"{theirs}Encoder_0/"
    found = [
        _reshaped_mapping(
            f"{ours}.token_embedding.weight",
            f"{theirs}Embed_0/embedding",
            (config.vocab_size, width),
        ),
        _reshaped_mapping(
            f"{ours}.positional_embedding",
            f"{theirs}pos_embedding",
            (1, length, width),
            (length, width),
        ),
        *_encoder_key_map(f"{ours}.transformer", encoder, config, names),
        *_norm_key_map(f"{ours}.final_norm", f"{encoder}encoder_norm/", width),
    ]
    if config.projection != "none":
        found.append(
            _reshaped_mapping(f"{ours}.projection", f"{theirs}head/kernel", (width, embed_dim))
        )
    if config.projection == "affine":
        found.append(
            _reshaped_mapping(f"{ours}.projection_bias", f"{theirs}head/bias", (embed_dim,))
        )
    return found


def _encoder_key_map(
    ours: str, theirs: str, config: ViTConfig | TextConfig, names: Collection[str]
) -> list[KeyMapping]:
    scanned = _is_stacked(names, theirs)
    found: list[KeyMapping] = []
    for i in range(config.layers):
        block = f"{theirs}encoderblock{'' if scanned else f'_{i}'}/"
        block_mappings = _block_key_map(f"{ours}.blocks.{i}", block, config)
        if scanned:
            block_mappings = [
                _layer_slice_mapping(mapping, i, config.layers) for mapping in block_mappings
            ]
        found += block_mappings
    return found


def _block_key_map(ours: str, theirs: str, config: ViTConfig | TextConfig) -> list[KeyMapping]:
    attention, parts = f"{ours}.attention", ("query", "key", "value")
    return [
        *_norm_key_map(f"{ours}.attention_norm", f"{theirs}LayerNorm_0/", config.width),
        *_projection_key_map(f"{attention}.qkv", f"{theirs}{_ATTENTION_PREFIX}", parts, config),
        *_out_key_map(f"{attention}.out", f"{theirs}{_ATTENTION_PREFIX}", config),
        *_norm_key_map(f"{ours}.mlp_norm", f"{theirs}LayerNorm_1/", config.width),
        *_mlp_key_map(f"{ours}.mlp", f"{theirs}MlpBlock_0/", config),
    ]


def _norm_key_map(ours: str, theirs: str, width: int) -> list[KeyMapping]:
    return [
        _reshaped_mapping(f"{ours}.weight", f"{theirs}scale", (width,)),
        _reshaped_mapping(f"{ours}.bias", f"{theirs}bias", (width,)),
    ]


def _mlp_key_map(ours: str, theirs: str, config: ViTConfig | TextConfig) -> list[KeyMapping]:
    width, mlp_width = config.width, config.mlp_width or 4 * config.width
    found: list[KeyMapping] = []
    for name, i, shape in (("expand", 0, (width, mlp_width)), ("contract", 1, (mlp_width, width))):
        kernel, bias = f"{theirs}Dense_{i}/kernel", f"{theirs}Dense_{i}/bias"
        found.append(_linear_mapping(f"{ours}.{name}.weight", [kernel], shape, shape[0]))
        found.append(_reshaped_mapping(f"{ours}.{name}.bias", bias, shape[1:]))
    return found


def _projection_key_map(
    ours: str, theirs: str, names: Sequence[str], config: ViTConfig | TextConfig
) -> list[KeyMapping]:
    """Input projections of attention, which are one layer here."""
    heads = (config.heads, config.width // config.heads)
    kernels = [f"{theirs}{part}/kernel" for part in names]
    biases = [f"{theirs}{part}/bias" for part in names]
    return [
        _linear_mapping(f"{ours}.weight", kernels, (config.width, *heads), config.width),
        _concatenated_mapping(
            f"{ours}.bias", biases, heads, np.ravel, lambda part: part.reshape(heads)
        ),
    ]


def _out_key_map(ours: str, theirs: str, config: ViTConfig | TextConfig) -> list[KeyMapping]:
    """Output projection of attention."""
    width, heads = config.width, config.heads
    shape = (heads, width // heads, width)
    return [
        _linear_mapping(f"{ours}.weight", [f"{theirs}out/kernel"], shape, width),
        _reshaped_mapping(f"{ours}.bias", f"{theirs}out/bias", (width,)),
    ]


def _linear_mapping(
    native: str, kernels: Sequence[str], shape: _Shape, in_features: int
) -> KeyMapping:
    """Kernels whose first axes are the inputs, as one matrix [outputs, inputs]."""
    return _concatenated_mapping(
        native,
        kernels,
        shape,
        lambda part: part.reshape(in_features, -1).T,
        lambda part: part.T.reshape(shape),
    )


def _patch_embedding_mapping(native: str, foreign: str, width: int, patch: int) -> KeyMapping:
    """A convolution's kernel [row, column, channel, width] as [width, channel x row x column]."""
    return _concatenated_mapping(
        native,
        [foreign],
        (patch, patch, 3, width),
        lambda kernel: kernel.transpose(3, 2, 0, 1).reshape(width, -1),
        lambda ours: ours.reshape(width, 3, patch, patch).transpose(2, 3, 1, 0),
    )


def _reshaped_mapping(
    native: str, foreign: str, theirs: _Shape, ours: _Shape | None = None
) -> KeyMapping:
    """The same numbers, perhaps in another shape."""
    shape = theirs if ours is None else ours
    return _concatenated_mapping(
        native,
        [foreign],
        theirs,
        lambda part: part.reshape(shape),
        lambda tensor: tensor.reshape(theirs),
    )


def _concatenated_mapping(
    native: str,
    foreign: Sequence[str],
    shape: _Shape,
    read: _TensorFunction,
    write: _TensorFunction,
) -> KeyMapping:
    """Parts of one shape, which are concatenated along the first axis here."""

    def read_parts(parts: Sequence[Array]) -> Array:
        for part in parts:
            if part.shape != shape:
                return part[None]  # fits nothing of ours, and is reported with all that does not
        return read(parts[0]) if len(parts) == 1 else np.concatenate([read(part) for part in parts])

    def write_parts(ours: Array) -> Sequence[Array]:
        return [write(part) for part in (np.split(ours, len(foreign)) if ours.ndim else [ours])]

    return KeyMapping(native, tuple(foreign), read_parts, write_parts)


def _layer_slice_mapping(mapping: KeyMapping, layer: int, layers: int) -> KeyMapping:
    """The mapping of one block among all that are stacked along the first axis."""

    def read(parts: Sequence[Array]) -> Array:
        for part in parts:
            if part.shape[:1] != (layers,):
                return part[None]
        return mapping.from_foreign([part[layer] for part in parts])

    def write(ours: Array) -> Sequence[Array]:
        raise CheckpointError(
            f"{mapping.native_name}: a block alone cannot be written into a stack"
        )

    return replace(mapping, from_foreign=read, to_foreign=write)
