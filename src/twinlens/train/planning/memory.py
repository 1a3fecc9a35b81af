"""Memory of a training step on one device, part by part, before anything is allocated.

Weights and the optimiser's state are exact. Activations are what autograd keeps with a fused
attention kernel. Left out: workspaces of kernels, gaps of the allocator and the driver's own, so
that a tenth of a device is better left free.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.config import ResNetConfig, TextConfig, ViTConfig
from twinlens.model.flops import BottleneckShape, bottlenecks, patch_count, text_length
from twinlens.train.finetune.layers import first_trained
from twinlens.train.recipes.recipe import Recipe

FLOAT32 = 4
TILE = 4096
"""Assumed where a recipe has no tile of its own and the tiled form is asked about."""

_LIVE_SOFTMAX, _LIVE_SIGMOID = 4, 3
"""Matrices of similarities alive at once: logits, softmaxes by row and by column, gradient."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that one sample leaves for the backward pass."""

    whole: float
    """All of it."""
    inputs: float
    """What goes into each block, and what lies outside the blocks."""
    block: float
    """The largest block alone, which checkpointing computes again."""

    def bytes(self, checkpointed: bool) -> float:
        """With or without activation checkpointing."""
        return self.inputs + self.block if checkpointed else self.whole


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Bytes on one device; the two forms of activations and of similarities stand side by side."""

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

    def parts(self, *, checkpointed: bool, tiled: bool) -> dict[str, float]:
        """What is there at once, by name."""
        whole, again = self.activations_whole, self.activations_checkpointed
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "float32 weights": self.masters,
            "Adam's moments": self.moments,
            "moving average": self.average,
            "gathered blocks": self.gathered_blocks,
            "activations": again if checkpointed else whole,
            "similarities": self.similarities_tiled if tiled else self.similarities_dense,
            "features": self.features,
            "images": self.images,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Parameters of a model: all, those that are trained, and those of its largest block."""

    parameters: int
    trained: int
    largest_block: int


def device_memory(
    recipe: Recipe, sizes: Sizes, *, devices: int, working_bytes: int, tokens: float
) -> DeviceMemory:
    """Memory of a recipe's step on each of so many devices.

    Args:
        recipe: The run.
        sizes: Of its model.
        devices: How many share the batch, and under FSDP the weights and the optimiser.
        working_bytes: Of a number that the model computes with: 2 for bf16.
        tokens: Mean length of a caption.
    """
    compute = recipe.compute
    sharded = compute.parallel == "fsdp"
    sharing = devices if sharded else 1
    share, trained = sizes.parameters / sharing, sizes.trained / sharing
    local = recipe.batch_size / devices
    micro = local / compute.accum_freq
    image, text = _image(recipe, working_bytes), _text(recipe, working_bytes, tokens)

    def activations(checkpointed: bool) -> float:
        texts = recipe.captions * text.bytes(checkpointed)
        return micro * (image.bytes(checkpointed) + texts)

    # Sharded weights, and weights of a float32 run, are their own masters.
    own_masters = sharded or working_bytes == FLOAT32
    stored_bytes = FLOAT32 if own_masters else working_bytes
    return DeviceMemory(
        weights=share * stored_bytes,
        # bf16 gradients are gone when the optimiser has made float32 ones of them.
        gradients=trained * FLOAT32,
        masters=0 if own_masters else trained * FLOAT32,
        moments=trained * 2 * FLOAT32,
        average=trained * FLOAT32 if recipe.optim.ema_decay else 0.0,
        # Weights and gradients of the block at work, and of the next that is fetched meanwhile.
        gathered_blocks=4 * sizes.largest_block * working_bytes if sharded else 0.0,
        activations_whole=activations(False),
        activations_checkpointed=activations(True),
        similarities_dense=_similarities(recipe, local, recipe.batch_size),
        similarities_tiled=_similarities(recipe, *_tile(recipe, local)),
        features=_features(recipe, local),
        images=_images(recipe, local, micro, working_bytes),
    )


def _tile(recipe: Recipe, local: float) -> tuple[float, float]:
    side = recipe.compute.tile or TILE
    return min(side, local), min(side, recipe.batch_size)


def _similarities(recipe: Recipe, rows: float, columns: float) -> float:
    if recipe.adapt.head != "none":
        return 0.0
    alive = _LIVE_SOFTMAX if recipe.loss == "softmax" else _LIVE_SIGMOID
    return alive * rows * columns * FLOAT32


def _features(recipe: Recipe, local: float) -> float:
    """Both towers': of the whole batch for the softmax, own and a neighbour's for the sigmoid."""
    if recipe.adapt.head != "none":
        return local * recipe.model.embed_dim * FLOAT32
    rows = recipe.batch_size if recipe.loss == "softmax" else 2 * local
    return rows * (1 + recipe.captions) * recipe.model.embed_dim * FLOAT32


def _images(recipe: Recipe, local: float, micro: float, working_bytes: int) -> float:
    """This step's and the next as they come, and the part at work as numbers."""
    pixels = 3 * recipe.model.image_input.image_size**2
    return pixels * (2 * local + micro * (FLOAT32 + working_bytes))


def _image(recipe: Recipe, size: int) -> Kept:
    vision = recipe.model.vision
    assert vision is not None
    if isinstance(vision, ResNetConfig):
        depth = sum(vision.layers)
        return _resnet(vision, size, trained=_trained_blocks(recipe, "image_tower", depth))
    trained = _trained_blocks(recipe, "image_tower", vision.layers)
    patches = patch_count(vision, recipe.patch_dropout)
    cut = patches * 3 * vision.patch_size**2 * size
    if vision.pooling == "attention":  # around the blocks: a norm, keys and values
        behind = patches * 4 * vision.width * size if trained else 0
        blocks = _transformer(vision, patches, size, trained, before=cut, pooled=False)
        return Kept(blocks.whole + behind, blocks.inputs + behind, blocks.block)
    before = cut + patches * vision.width * size
    return _transformer(vision, patches + 1, size, trained, before=before)


def _text(recipe: Recipe, size: int, tokens: float) -> Kept:
    config = recipe.model.text_input
    trained = _trained_blocks(recipe, "text_tower", config.layers)
    return _transformer(config, text_length(config, tokens), size, trained, before=0)


def _trained_blocks(recipe: Recipe, tower: str, depth: int) -> int:
    """Of a tower's blocks, the last that have a gradient."""
    first = first_trained(recipe.adapt, tower, depth + 1)
    return min(depth, depth + 1 - first) if first <= depth + 1 else 0


def _transformer(
    config: ViTConfig | TextConfig,
    length: float,
    size: int,
    trained: int,
    *,
    before: float,
    pooled: bool = True,
) -> Kept:
    """Of each block: both norms' inputs and outputs, queries, keys, values, their mix, the MLP.

    Blocks that are locked keep nothing, and neither does what is before them.
    """
    if not trained:
        return Kept(0, 0, 0)
    before = before if trained == config.layers else 0
    block = _block(config, length, length, size)
    last = _block(config, length, 1 if pooled else length, size)
    stream = length * config.width * size
    whole = before + (trained - 1) * block + last
    return Kept(whole, before + trained * stream, block)


def _block(config: ViTConfig | TextConfig, length: float, asked: float, size: int) -> float:
    """Before the attention all positions; from there on those that are asked for."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    before = 5 * width * size + 2 * FLOAT32
    after = (3 * width + 2 * mlp) * size + FLOAT32 * (config.heads + 2)
    return length * before + min(asked, length) * after


def _resnet(config: ResNetConfig, size: int, *, trained: int) -> Kept:
    """Of each convolution what goes into its norm, and what its activation gives."""
    if not trained:
        return Kept(0, 0, 0)
    half, area = config.width // 2, (config.image_size // 2) ** 2
    stem = area * (4 * 3 + 2 * (half + half + config.width)) + config.width * area // 4
    places = (config.image_size // 32) ** 2 + 1
    shapes = list(bottlenecks(config))[-trained:]
    if trained < sum(config.layers):
        stem = shapes[0].inputs * shapes[0].side ** 2  # what comes out of the last locked block
    around = size * (stem + 3 * places * 32 * config.width)
    blocks = [size * _bottleneck(shape) for shape in shapes]
    inputs = size * sum(shape.inputs * shape.side**2 for shape in shapes)
    return Kept(around + sum(blocks), around + inputs, max(blocks))


def _bottleneck(shape: BottleneckShape) -> int:
    """Numbers kept by one block, its input not counted: the block before it keeps that."""
    before, after = shape.side**2, shape.pooled**2
    kept = 4 * shape.width * before + 2 * shape.outputs * after
    if shape.projects:
        kept += shape.outputs * after
    if shape.pooled != shape.side:
        kept += (shape.width + shape.inputs) * after
    return kept
