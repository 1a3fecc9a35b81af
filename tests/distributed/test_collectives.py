"""What ranks pass to each other, in two and three processes on gloo."""

import pytest
import torch
from torch.distributed import ProcessGroup

from tests.processes import run_processes
from twinlens.distributed.collectives import (
    all_gather,
    all_gather_with_grad,
    all_reduce_exp_sums,
    rank_and_size,
    ring_exchange,
    start_ring_exchange,
)


def in_all_ways(group: ProcessGroup) -> None:
    """Every collective once; starting processes takes longer than all of them."""
    rank, size = rank_and_size(group)
    assert (rank, size) == (torch.distributed.get_rank(), torch.distributed.get_world_size())

    mine = torch.tensor([[rank, 7], [rank, 8]])
    expected = [[each, last] for each in range(size) for last in (7, 8)]
    assert all_gather(mine, group).tolist() == expected
    assert all_gather(mine.T.contiguous().T, group).tolist() == expected

    rows = torch.full((2, 3), float(rank), requires_grad=True)
    everyones = all_gather_with_grad(rows, group)
    # This rank's loss gives row k of all the gradient k + 1, as many times as its number says.
    weights = torch.arange(1.0, 2 * size + 1)[:, None] * (rank + 1)
    (everyones * weights).sum().backward()
    total = size * (size + 1) / 2
    own = torch.tensor([2.0 * rank + 1, 2.0 * rank + 2])[:, None].expand(2, 3)
    torch.testing.assert_close(rows.grad, own * total)

    sent = [torch.tensor([float(rank)]), torch.tensor([[10 * rank]])]
    finish = start_ring_exchange(sent, group)
    assert [tensor.item() for tensor in finish()] == [(rank - 1) % size, 10 * ((rank - 1) % size)]
    for _ in range(size):
        sent = ring_exchange(sent, group)
    assert sent[1].item() == 10 * rank  # home again


def sums_of_parts(group: ProcessGroup) -> None:
    rank, size = rank_and_size(group)
    exponents = torch.linspace(-90, 90, 5 * size).view(size, 5).T
    largest, sums = all_reduce_exp_sums(exponents[:, rank].clone(), torch.ones(5), group)
    torch.testing.assert_close(largest + sums.log(), exponents.logsumexp(1))


@pytest.mark.parametrize("count", [2, 3])
def test_ranks_hear_from_each_other(count: int):
    run_processes(in_all_ways, count)


def test_sums_of_exponentials_are_relative_to_the_largest_of_all_ranks():
    run_processes(sums_of_parts, 3)


def test_one_process_is_a_group_of_itself():
    rows = torch.ones(2, 3, requires_grad=True)
    assert rank_and_size(None) == (0, 1)
    assert all_gather(rows, None) is rows
    assert all_gather_with_grad(rows, None) is rows
    first, second = rows
    assert all_reduce_exp_sums(first, second, None)[1] is second


def fails_on_rank_one(group: ProcessGroup) -> int:
    if group.rank() == 1:
        raise ValueError("no more")
    torch.distributed.barrier()  # and never comes back
    return 0


def test_a_failure_of_one_rank_is_told():
    with pytest.raises(AssertionError, match=r"rank 1.*(\n.*)*ValueError: no more"):
        run_processes(fails_on_rank_one, 2)
