"""One batch in one process or spread over several, whole or in parts: the same gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.processes import run_processes
from tests.tiny import tiny_clip
from tests.train.test_objective import a_batch, assert_same, gradients, task_of
from twinlens.distributed.world import World
from twinlens.train.objective import ContrastiveObjective, average_gradients, backward, split_batch
from twinlens.train.parallel import ParallelTowers, parallelise
from twinlens.train.recipes.recipe import ComputeConfig


def share(group: Any, kind: str, parts: int, tile: int) -> dict[str, Tensor]:
    """The gradients that a process ends up with, of its half of the batch."""
    world = World(group.rank(), group.size(), 0, group)
    sigmoid = tile < 0  # a ring instead of a gather
    model = tiny_clip(logit_bias=sigmoid)
    towers = parallelise(
        ParallelTowers(model), world, torch.device("cpu"), kind=kind, dtype=torch.float32
    )
    task = ContrastiveObjective(
        model, towers, world, ComputeConfig(loss_tile_size=max(tile, 0)), torch.float32
    )
    half = split_batch(a_batch(kept=True), world.world_size)[world.rank]
    backward(task, half, parts, (0, 0))
    outside = [p for p in (model.logit_scale, model.logit_bias) if p is not None]
    average_gradients(outside, world)
    return {
        name: gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
        for name, gradient in gradients(model).items()
    }


@pytest.mark.parametrize(
    ("kind", "parts", "tile"),
    [("ddp", 1, 0), ("ddp", 4, 3), ("fsdp", 2, 0), ("ddp", 2, -1)],
    ids=["ddp", "ddp in parts and tiles", "fsdp in parts", "sigmoid in parts"],
)
def test_two_processes_have_the_gradients_of_one(kind: str, parts: int, tile: int):
    model = tiny_clip(logit_bias=tile < 0)
    backward(task_of(model), a_batch(kept=True), 1, (0, 0))
    expected = gradients(model)
    for found in run_processes(share, 2, kind, parts, tile):
        assert_same(found, expected)
