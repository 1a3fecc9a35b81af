"""Estimate the memory of a training step on one device before anything is allocated.

Weights and optimiser state are exact. Activations are what autograd stores with a fused attention
kernel. Not counted: kernel workspaces, fragmentation of the allocator and the driver's own memory,
so that a tenth of a device should be left free.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.config import ResNetConfig, TextConfig, ViTConfig
from twinlens.model.flops import BottleneckShape, iter_bottlenecks, num_patches, num_text_positions
from twinlens.train.finetune.layers import first_trainable_layer
from twinlens.train.recipes.recipe import Recipe

FLOAT32_BYTES = 4
DEFAULT_TILE_SIZE = 4096
"""Tile size for the tiled estimate if the recipe sets none."""

_SOFTMAX_LIVE_MATRICES, _SIGMOID_LIVE_MATRICES = 4, 3
"""Similarity matrices in memory at once: logits, softmaxes by row and by column, gradient."""


@dataclass(frozen=True, slots=True)
class ActivationBytes:
    """Bytes of activations that one sample stores for the backward pass."""

    full: float
    """Without activation checkpointing."""
    block_inputs: float
    """The inputs of each block, and activations outside the blocks."""
    largest_block: float
    """The largest block, which checkpointing computes again."""

    def total(self, is_checkpointed: bool) -> float:
        """Bytes with or without activation checkpointing."""
        return self.block_inputs + self.largest_block if is_checkpointed else self.full


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Bytes on one device, with both forms of activations and of similarities."""

    weights: float
    gradients: float
    masters: float
    moments: float
    average: float
    gathered_blocks: float
    activations_whole: float
    activations_checkpointed: float
    similarities_dense: float
    similarities_tiled: float
    features: float
    images: float

    def breakdown(self, *, is_checkpointed: bool, is_tiled: bool) -> dict[str, float]:
        """Bytes in memory at once, by name."""
        whole, again = self.activations_whole, self.activations_checkpointed
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "float32 weights": self.masters,
            "Adam's moments": self.moments,
            "moving average": self.average,
            "gathered blocks": self.gathered_blocks,
            "activations": again if is_checkpointed else whole,
            "similarities": self.similarities_tiled if is_tiled else self.similarities_dense,
            "features": self.features,
            "images": self.images,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCounts:
    """Parameter counts of a model: all, trained ones, and those of its largest block."""

    total: int
    trained: int
    largest_block: int


def estimate_device_memory(
    recipe: Recipe,
    parameter_counts: ParameterCounts,
    *,
    num_devices: int,
    bytes_per_element: int,
    caption_tokens: float,
) -> DeviceMemory:
    """Estimate the memory of a recipe's step on each device.

    Args:
        recipe: The recipe.
        parameter_counts: Parameter counts of its model.
        num_devices: Devices that share the batch, and under FSDP weights and optimiser state.
        bytes_per_element: Bytes of a number that the model computes with: 2 for bf16.
        caption_tokens: Mean caption length.
    """
    compute = recipe.compute
    sharded = compute.parallel == "fsdp"
    sharing = num_devices if sharded else 1
    share, trained = parameter_counts.total / sharing, parameter_counts.trained / sharing
    local = recipe.batch_size / num_devices
    micro = local / compute.accum_freq
    image, text = (
        _image_activations(recipe, bytes_per_element),
        _text_activations(recipe, bytes_per_element, caption_tokens),
    )

    def activations(checkpointed: bool) -> float:
        texts = recipe.captions_per_image * text.total(checkpointed)
        return micro * (image.total(checkpointed) + texts)

    # Sharded weights, and weights of a float32 run, are their own masters.
    own_masters = sharded or bytes_per_element == FLOAT32_BYTES
    stored_bytes = FLOAT32_BYTES if own_masters else bytes_per_element
    return DeviceMemory(
        weights=share * stored_bytes,
        # bf16 gradients are freed when the optimiser has made float32 copies.
        gradients=trained * FLOAT32_BYTES,
        masters=0 if own_masters else trained * FLOAT32_BYTES,
        moments=trained * 2 * FLOAT32_BYTES,
        average=trained * FLOAT32_BYTES if recipe.optim.ema_decay else 0.0,
        # Weights and gradients of the current block, and of the next, which is prefetched.
        gathered_blocks=4 * parameter_counts.largest_block * bytes_per_element if sharded else 0.0,
        activations_whole=activations(False),
        activations_checkpointed=activations(True),
        similarities_dense=_similarity_bytes(recipe, local, recipe.batch_size),
        similarities_tiled=_similarity_bytes(recipe, *_tile_shape(recipe, local)),
        features=_feature_bytes(recipe, local),
        images=_pixel_bytes(recipe, local, micro, bytes_per_element),
    )


def _tile_shape(recipe: Recipe, local: float) -> tuple[float, float]:
    side = recipe.compute.loss_tile_size or DEFAULT_TILE_SIZE
    return min(side, local), min(side, recipe.batch_size)


def _similarity_bytes(recipe: Recipe, rows: float, columns: float) -> float:
    if not recipe.needs_captions:
        return 0.0
    alive = _SOFTMAX_LIVE_MATRICES if recipe.loss == "softmax" else _SIGMOID_LIVE_MATRICES
    return alive * rows * columns * FLOAT32_BYTES


def _feature_bytes(recipe: Recipe, local: float) -> float:
    """Features of both towers: the whole batch for softmax, own and a neighbour's for sigmoid."""
    if not recipe.needs_captions:
        return local * recipe.model.embed_dim * FLOAT32_BYTES
    rows = recipe.batch_size if recipe.loss == "softmax" else 2 * local
    return rows * (1 + recipe.captions_per_image) * recipe.model.embed_dim * FLOAT32_BYTES


def _pixel_bytes(recipe: Recipe, local: float, micro: float, working_bytes: int) -> float:
    """Images of this step and the next as uint8, and the current chunk as floats."""
    pixels = 3 * recipe.model.preprocess_config.image_size**2
    return pixels * (2 * local + micro * (FLOAT32_BYTES + working_bytes))


def _image_activations(recipe: Recipe, size: int) -> ActivationBytes:
    vision = recipe.model.vision
    assert vision is not None
    if isinstance(vision, ResNetConfig):
        depth = sum(vision.layers)
        return _resnet_activations(
            vision, size, trained=_num_trained_blocks(recipe, "image_tower", depth)
        )
    trained = _num_trained_blocks(recipe, "image_tower", vision.layers)
    patches = num_patches(vision, recipe.patch_dropout)
    cut = patches * 3 * vision.patch_size**2 * size
    if vision.pooling == "attention":  # after the blocks: a norm, keys and values
        pooling = patches * 4 * vision.width * size if trained else 0
        blocks = _transformer_activations(vision, patches, size, trained, before=cut, pooled=False)
        return ActivationBytes(
            blocks.full + pooling, blocks.block_inputs + pooling, blocks.largest_block
        )
    before = cut + patches * vision.width * size
    return _transformer_activations(vision, patches + 1, size, trained, before=before)


def _text_activations(recipe: Recipe, size: int, tokens: float) -> ActivationBytes:
    config = recipe.model.text_config
    trained = _num_trained_blocks(recipe, "text_tower", config.layers)
    return _transformer_activations(
        config, num_text_positions(config, tokens), size, trained, before=0
    )


def _num_trained_blocks(recipe: Recipe, tower: str, depth: int) -> int:
    """Number of a tower's last blocks that have a gradient."""
    first = first_trainable_layer(recipe.adapt, tower, depth + 1)
    return min(depth, depth + 1 - first) if first <= depth + 1 else 0


def _transformer_activations(
    config: ViTConfig | TextConfig,
    length: float,
    size: int,
    trained: int,
    *,
    before: float,
    pooled: bool = True,
) -> ActivationBytes:
    """Activations of a transformer.

    Each block stores inputs and outputs of both norms, queries, keys, values, the attention output
    and the MLP. Locked blocks, and everything before them, store nothing.
    """
    if not trained:
        return ActivationBytes(0, 0, 0)
    before = before if trained == config.layers else 0
    block = _block_bytes(config, length, length, size)
    last = _block_bytes(config, length, 1 if pooled else length, size)
    stream = length * config.width * size
    whole = before + (trained - 1) * block + last
    return ActivationBytes(whole, before + trained * stream, block)


def _block_bytes(
    config: ViTConfig | TextConfig, length: float, num_queries: float, size: int
) -> float:
    """Bytes of a block: all positions before the attention, from there on the queried ones."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    before = 5 * width * size + 2 * FLOAT32_BYTES
    after = (3 * width + 2 * mlp) * size + FLOAT32_BYTES * (config.heads + 2)
    return length * before + min(num_queries, length) * after


def _resnet_activations(config: ResNetConfig, size: int, *, trained: int) -> ActivationBytes:
    """Activations of a ResNet: inputs of each norm and outputs of each activation."""
    if not trained:
        return ActivationBytes(0, 0, 0)
    half, area = config.width // 2, (config.image_size // 2) ** 2
    stem = area * (4 * 3 + 2 * (half + half + config.width)) + config.width * area // 4
    places = (config.image_size // 32) ** 2 + 1
    shapes = list(iter_bottlenecks(config))[-trained:]
    if trained < sum(config.layers):
        stem = shapes[0].in_channels * shapes[0].input_size ** 2  # output of the last locked block
    around = size * (stem + 3 * places * 32 * config.width)
    blocks = [size * _bottleneck_elements(shape) for shape in shapes]
    inputs = size * sum(shape.in_channels * shape.input_size**2 for shape in shapes)
    return ActivationBytes(around + sum(blocks), around + inputs, max(blocks))


def _bottleneck_elements(shape: BottleneckShape) -> int:
    """Numbers stored by one block without its input, which the block before it stores."""
    before, after = shape.input_size**2, shape.output_size**2
    kept = 4 * shape.width * before + 2 * shape.out_channels * after
    if shape.has_projection:
        kept += shape.out_channels * after
    if shape.output_size != shape.input_size:
        kept += (shape.width + shape.in_channels) * after
    return kept
