"""Preprocessing of decoded images on the model's device: resizing, cropping, normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from twinlens.images.resize import crop_start, resized_size

if TYPE_CHECKING:
    from twinlens.config import PreprocessConfig


def resize_batch(
    pixels: UInt8[Tensor, "n 3 height width"], config: PreprocessConfig
) -> UInt8[Tensor, "n 3 size size"]:
    """Images of one size to the model's squares where they lie, such as a film's on a GPU.

    Within 1 of 255 levels of Pillow's on average.
    """
    size = config.image_size
    whole_height, whole_width = pixels.shape[2:]
    if whole_height == whole_width == size:
        return pixels
    squash = config.resize == "squash"
    width, height = (size, size) if squash else resized_size((whole_width, whole_height), size)
    resized = F.interpolate(
        pixels.float(), (height, width), mode=config.interpolation, antialias=True
    )
    top, left = crop_start(height, size), crop_start(width, size)
    square = resized[:, :, top : top + size, left : left + size]
    return square.round().clamp(0, 255).to(torch.uint8)


def normalize(
    pixels: UInt8[Tensor, "n 3 height width"], config: PreprocessConfig
) -> Float32[Tensor, "n 3 height width"]:
    """Pixels in 0..255 to float32 with the model's mean and deviation taken out.

    The same operations in the same order as torchvision's `ToTensor` and `Normalize`, on any
    device.
    """

    def channels(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=pixels.device).view(1, -1, 1, 1)

    # 255 is a tensor because GPUs divide by a plain number through its rounded reciprocal.
    # Contiguous: arrays come channels last, and a channel at a time is twice as fast.
    planes = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    scaled = planes.div_(channels((255.0,)))
    return scaled.sub_(channels(config.mean)).div_(channels(config.std))
