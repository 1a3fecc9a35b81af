"""What the ranks of a run pass to each other inside a loss: rows gathered, and rows round a ring.

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
_all_gather: Callable[..., object] = (
    getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # pyright: ignore[reportDeprecated]
)
_reduce_scatter: Callable[..., object] = (
    getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor  # pyright: ignore[reportDeprecated]
)


def rank_and_size(group: ProcessGroup | None) -> tuple[int, int]:
    """Our place in a group and the number of its ranks; (0, 1) without one."""
    return (0, 1) if group is None else (group.rank(), group.size())


def gather(
    rows: Shaped[Tensor, "row ..."], group: ProcessGroup | None
) -> Shaped[Tensor, "all ..."]:
    """The rows of all ranks, rank by rank, on every rank; the rows themselves without a group.

    No gradient flows through it: see `gather_with_gradient`.
    """
    if group is None:
        return rows
    everyones = rows.new_empty(group.size() * len(rows), *rows.shape[1:])
    _all_gather(everyones, rows.detach().contiguous(), group=group)
    return everyones


def gather_with_gradient(
    rows: Float[Tensor, "row ..."], group: ProcessGroup | None
) -> Float[Tensor, "all ..."]:
    """`gather`; a row's gradient is the sum of those it gets on all ranks.

    That is the gradient of the sum of all ranks' losses. Where parameters' gradients are then
    averaged over the ranks, as data parallelism does, the result is that of the mean loss.
    """
    return rows if group is None else _Gather.apply(rows, group)  # pyright: ignore[reportReturnType]


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return gather(rows, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        own = gradient.new_empty(len(gradient) // ctx.group.size(), *gradient.shape[1:])
        _reduce_scatter(own, gradient.contiguous(), group=ctx.group)
        return own, None


def start_passing(
    tensors: Sequence[Shaped[Tensor, "..."]], group: ProcessGroup
) -> Callable[[], list[Tensor]]:
    """Begin to send tensors to the next rank of the ring, and to receive the previous rank's.

    Both directions are under way at once, so that no rank waits for another one's receiving. What
    is sent must not change before the returned function, which waits for the end, has returned.

    Returns:
        A function that gives the previous rank's tensors.
    """
    rank, size = group.rank(), group.size()
    received = [torch.empty_like(tensor) for tensor in tensors]
    operations: list[dist.P2POp] = []
    for tag, (mine, theirs) in enumerate(zip(tensors, received, strict=True)):
        to, source = (rank + 1) % size, (rank - 1) % size
        operations += [
            dist.P2POp(dist.isend, mine, group=group, tag=tag, group_peer=to),
            dist.P2POp(dist.irecv, theirs, group=group, tag=tag, group_peer=source),
        ]
    works = dist.batch_isend_irecv(operations)

    def finish() -> list[Tensor]:
        for work in works:
            work.wait()
        return received

    return finish


def pass_on(tensors: Sequence[Shaped[Tensor, "..."]], group: ProcessGroup) -> list[Tensor]:
    """The previous rank's tensors, while ours go to the next rank."""
    return start_passing(tensors, group)()


def reduce_sums(
    largest: Float[Tensor, " row"], sums: Float[Tensor, " row"], group: ProcessGroup | None
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """Sums of exponentials over all ranks, each rank's being relative to its own largest term.

    Args:
        largest: The largest exponent of each sum on this rank.
        sums: What exp(exponent - largest) adds up to on this rank.
        group: The ranks that each saw a part of every sum.

    Returns:
        The largest exponents of all ranks, and the sums relative to them.
    """
    if group is None:
        return largest, sums
    overall = largest.clone()
    dist.all_reduce(overall, dist.ReduceOp.MAX, group=group)
    sums = sums * (largest - overall).exp()
    dist.all_reduce(sums, dist.ReduceOp.SUM, group=group)
    return overall, sums
