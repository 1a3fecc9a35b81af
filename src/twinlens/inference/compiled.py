"""Image towers compiled for their device, in batches of few sizes.

On GPUs a small batch is short work for many kernels, and starting them is most of its time: a
compiled tower starts them all at once (CUDA graphs). On processors the packed form is as fast (see
`bench/README.md`), and there is nothing to wait for.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from twinlens.model.clip import ImageTower

_BATCH_SIZES = (1, 4, 16, 64, 256, 1024)
"""Batches that a tower is compiled for; others are filled up to the next, or cut in parts."""


class CompiledTower(nn.Module):
    """A tower that is compiled when a batch of its bucket first comes.

    What was compiled is kept on disk, under torch's `TORCHINDUCTOR_CACHE_DIR`: the next process
    finds it there.
    """

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.image_size = tower.image_size
        if next(tower.parameters()).device.type == "cuda":
            compiled = torch.compile(tower, dynamic=False, mode="reduce-overhead")
        else:
            compiled = torch.compile(tower, dynamic=False, options={"freezing": True})
        self.compiled = compiled

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch embed"]:
        parts = images.split(_BATCH_SIZES[-1])
        return torch.cat([self._run_padded(part) for part in parts])

    def _run_padded(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch embed"]:
        count = len(images)
        bucket = next(size for size in _BATCH_SIZES if size >= count)
        filled = F.pad(images, (0, 0, 0, 0, 0, 0, 0, bucket - count))
        features = cast(Tensor, self.compiled(filled))
        return features[:count].clone()  # the next batch is written over a graph's answers


def can_compile() -> bool:
    """True if torch can compile here; warns of what is missing where it cannot."""
    _set_inductor_cache()  # importing the compiler decides where
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415  seconds of imports

    try:
        get_cpp_compiler()
    except Exception as error:  # one of torch's own, without a public name
        reason = " ".join(str(error).split())[:80]
        warnings.warn(
            f"compiled: got no C++ compiler ({reason}), expected one; towers stay as they are",
            stacklevel=2,
        )
        return False
    return True


def _set_inductor_cache() -> None:
    """Have torch keep what it compiles where it outlives a restart of the machine."""
    cache = Path.home() / ".cache" / "twinlens" / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))  # torch asks nothing else
