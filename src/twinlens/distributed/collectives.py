"""Collectives inside a loss: gathering rows, and passing rows round a ring.

Everything here is called by all ranks of the group, in the same order and with tensors of the same
shape. It works on gloo and on NCCL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

# The names of torch 2.13 and, before, of 2.10.
_all_gather_into_tensor: Callable[..., object] = (
    getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # pyright: ignore[reportDeprecated]
)
_reduce_scatter_tensor: Callable[..., object] = (
    getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor  # pyright: ignore[reportDeprecated]
)


def rank_and_size(group: ProcessGroup | None) -> tuple[int, int]:
    """The rank of this process in a group and the group's size; (0, 1) without a group."""
    return (0, 1) if group is None else (group.rank(), group.size())


def all_gather(
    rows: Shaped[Tensor, "row ..."], group: ProcessGroup | None
) -> Shaped[Tensor, "all ..."]:
    """The rows of all ranks, rank by rank, on every rank; the rows themselves without a group.

    No gradient flows through it: see `all_gather_with_grad`.
    """
    if group is None:
        return rows
    gathered = rows.new_empty(group.size() * len(rows), *rows.shape[1:])
    _all_gather_into_tensor(gathered, rows.detach().contiguous(), group=group)
    return gathered


def all_gather_with_grad(
    rows: Float[Tensor, "row ..."], group: ProcessGroup | None
) -> Float[Tensor, "all ..."]:
    """Gather rows as `all_gather` does; a row's gradient is the sum of those it gets on all ranks.

    That is the gradient of the sum of all ranks' losses. Where parameters' gradients are then
    averaged over the ranks, as data parallelism does, the result is that of the mean loss.
    """
    return rows if group is None else _AllGather.apply(rows, group)  # pyright: ignore[reportReturnType]


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return all_gather(rows, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        own = gradient.new_empty(len(gradient) // ctx.group.size(), *gradient.shape[1:])
        _reduce_scatter_tensor(own, gradient.contiguous(), group=ctx.group)
        return own, None


def start_ring_exchange(
    tensors: Sequence[Shaped[Tensor, "..."]], group: ProcessGroup
) -> Callable[[], list[Tensor]]:
    """Start to send tensors to the next rank of the ring and to receive the previous rank's.

    Sending and receiving run at once, so that no rank waits until another one receives. The tensors
    must not change before the returned function, which waits for both, has returned.

    Returns:
        A function that waits and returns the previous rank's tensors.
    """
    rank, size = group.rank(), group.size()
    received = [torch.empty_like(tensor) for tensor in tensors]
    operations: list[dist.P2POp] = []
    for tag, (sent, target) in enumerate(zip(tensors, received, strict=True)):
        destination, source = (rank + 1) % size, (rank - 1) % size
        operations += [
            dist.P2POp(dist.isend, sent, group=group, tag=tag, group_peer=destination),
            dist.P2POp(dist.irecv, target, group=group, tag=tag, group_peer=source),
        ]
    works = dist.batch_isend_irecv(operations)

    def finish() -> list[Tensor]:
        for work in works:
            work.wait()
        return received

    return finish


def ring_exchange(tensors: Sequence[Shaped[Tensor, "..."]], group: ProcessGroup) -> list[Tensor]:
    """Send tensors to the next rank of the ring; returns the previous rank's."""
    return start_ring_exchange(tensors, group)()


def all_reduce_exp_sums(
    max_logit: Float[Tensor, " row"], exp_sum: Float[Tensor, " row"], group: ProcessGroup | None
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """Sums of exponentials over all ranks, each rank's being relative to its own largest term.

    Args:
        max_logit: The largest exponent of each sum on this rank.
        exp_sum: The sum of exp(exponent - largest) on this rank.
        group: The ranks that each saw a part of every sum.

    Returns:
        The largest exponents of all ranks, and the sums relative to them.
    """
    if group is None:
        return max_logit, exp_sum
    global_max = max_logit.clone()
    dist.all_reduce(global_max, dist.ReduceOp.MAX, group=group)
    exp_sum = exp_sum * (max_logit - global_max).exp()
    dist.all_reduce(exp_sum, dist.ReduceOp.SUM, group=group)
    return global_max, exp_sum
