"""Random changes to training images: a crop each, then turns and colours for a whole batch.

The paper crops and nothing else (section 2.4). Drawings come in few images a concept, so small
models of them also gain from turning and recolouring; a recipe says how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from twinlens.errors import require

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """The amounts by which training images change; all zeros leave only the paper's square crop.

    Attributes:
        min_crop_side: Least side of the random square crop, as a share of the shortest side.
        max_rotation: Largest turn either way, in degrees.
        max_stretch: Largest change of either side, as a share of it.
        colour_std: Standard deviation of the random mixing of the channels.
        brightness_std: Standard deviation of the random shift, in units of the full range.
        greyscale_probability: Share of images that lose their colours.
        invert_probability: Share of images that become their negative.
    """

    min_crop_side: float = 1.0
    max_rotation: float = 0.0
    max_stretch: float = 0.0
    colour_std: float = 0.0
    brightness_std: float = 0.0
    greyscale_probability: float = 0.0
    invert_probability: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 < self.min_crop_side <= 1, "min_crop_side", self.min_crop_side, "a share in (0, 1]"
        )
        for name in ("max_rotation", "max_stretch", "colour_std", "brightness_std"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more")
        for name in ("greyscale_probability", "invert_probability"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "within [0, 1]")


def random_square_crop(
    image: Image.Image, size: int, min_side: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A random square of the image, resized: uint8 [size, size, 3].

    Args:
        image: RGB.
        size: Side of the answer in pixels.
        min_side: Least side of the square, as a share of the image's shortest side.
        rng: Decides side and place.
    """
    width, height = image.size
    side = min(width, height) * rng.uniform(min_side, 1.0)
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


_CHUNK_SIZE = 16
"""Images whose numbers fit a core's cache: many passes over them are one over memory."""


def augment(
    pixels: UInt8[Tensor, "pair 3 height width"],
    config: Augmentation,
    generator: torch.Generator,
    *,
    batch_offset: int = 0,
    batch_size: int | None = None,
) -> UInt8[Tensor, "pair 3 height width"]:
    """Turn, stretch and recolour each image of a batch by its own chance.

    Args:
        pixels: The images, or consecutive ones of a larger batch.
        config: How much.
        generator: Draws for the whole batch, so that a part of it is changed as the whole would be.
        batch_offset: The place of the first image in that batch.
        batch_size: Images in it; those given, if not said.

    Returns:
        A new tensor, or the very same one where the configuration asks for nothing.
    """
    geometric = config.max_rotation > 0 or config.max_stretch > 0
    chromatic = (
        config.colour_std > 0
        or config.brightness_std > 0
        or config.greyscale_probability > 0
        or config.invert_probability > 0
    )
    if not geometric and not chromatic:
        return pixels
    count = len(pixels) if batch_size is None else batch_size
    turns = _draw_affine_matrices(count, config, generator) if geometric else None
    colours = _draw_colour_transforms(count, config, generator) if chromatic else None
    changed = torch.empty_like(pixels)
    for start in range(0, len(pixels), _CHUNK_SIZE):
        here = slice(start, start + _CHUNK_SIZE)
        there = slice(batch_offset + start, batch_offset + min(start + _CHUNK_SIZE, len(pixels)))
        x = pixels[here].float().mul_(1 / 255)
        if turns is not None:
            x = _apply_affine(x, turns[there])
        if colours is not None:
            x = _apply_colour_transforms(x, *(draws[there] for draws in colours))
        changed[here] = x.clamp_(0, 1).mul_(255).round_()
    return changed


def _draw_affine_matrices(
    batch_size: int, config: Augmentation, generator: torch.Generator
) -> Float[Tensor, "batch 2 2"]:
    """Draw a matrix for each image, from places of the new image to places of the old one."""
    angle = (torch.rand(batch_size, generator=generator) * 2 - 1) * math.radians(
        config.max_rotation
    )
    scale = 1 + (torch.rand(batch_size, 2, generator=generator) * 2 - 1) * config.max_stretch
    cos, sin = angle.cos(), angle.sin()
    rows = [cos * scale[:, 0], -sin * scale[:, 0], sin * scale[:, 1], cos * scale[:, 1]]
    return torch.stack(rows, dim=1).view(batch_size, 2, 2)


def _apply_affine(
    x: Float[Tensor, "pair 3 height width"], matrices: Float[Tensor, "pair 2 2"]
) -> Float[Tensor, "pair 3 height width"]:
    height, width = x.shape[2:]
    # Centres of pixels in [-1, 1]. Sums, not products of matrices: in any company the same bits.
    down = ((torch.arange(height) * 2 + 1) / height - 1).view(1, height, 1)
    across = ((torch.arange(width) * 2 + 1) / width - 1).view(1, 1, width)
    m = matrices.view(-1, 4, 1, 1)
    grid = torch.stack(
        [m[:, 0] * across + m[:, 1] * down, m[:, 2] * across + m[:, 3] * down], dim=-1
    )
    # Border pixels are repeated: a turned drawing keeps its background to the corners.
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _draw_colour_transforms(
    batch_size: int, config: Augmentation, generator: torch.Generator
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3 1"]]:
    """One random 3x3 matrix and shift an image hold hue, saturation, contrast, grey, negative."""
    mix = torch.eye(3) + config.colour_std * torch.randn(batch_size, 3, 3, generator=generator)
    grey = (torch.rand(batch_size, generator=generator) < config.greyscale_probability).view(
        batch_size, 1, 1
    )
    mix = torch.where(grey, mix.mean(dim=1, keepdim=True).expand(batch_size, 3, 3), mix)
    sign = torch.where(
        torch.rand(batch_size, generator=generator) < config.invert_probability, -1.0, 1.0
    )
    shift = config.brightness_std * torch.randn(batch_size, 3, 1, generator=generator)
    return mix * sign.view(batch_size, 1, 1), shift


def _apply_colour_transforms(
    x: Float[Tensor, "pair 3 height width"],
    mix: Float[Tensor, "pair 3 3"],
    shift: Float[Tensor, "pair 3 1"],
) -> Float[Tensor, "pair 3 height width"]:
    # Around mid-grey, so that a change of contrast does not move the brightness.
    around = x.flatten(2) - 0.5
    mixed = mix[:, :, :1] * around[:, :1]
    for channel in (1, 2):
        mixed.addcmul_(mix[:, :, channel : channel + 1], around[:, channel : channel + 1])
    return mixed.add_(0.5 + shift).view_as(x)
