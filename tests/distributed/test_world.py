"""What the processes of a run tell each other, and how they learn that one of them failed."""

import pytest
from torch.distributed import ProcessGroup

from tests.processes import run_processes
from twinlens.distributed.world import World
from twinlens.errors import DataError, DistributedError


def world_of(group: ProcessGroup) -> World:
    return World(group.rank(), group.size(), group.rank(), group)


def work(world: World, fails: dict[int, int]) -> str:
    """Meet twice; the processes named fail before that meeting, 2 being after both."""
    try:
        with world.propagate_errors():
            for meeting in range(3):
                if fails.get(world.rank) == meeting:
                    raise DataError(f"image {world.rank}\nis bad")
                if meeting < 2:
                    assert world.all_gather((world.rank, meeting)) == [
                        (rank, meeting) for rank in range(world.world_size)
                    ]
    except (DataError, DistributedError) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def all_endings(group: ProcessGroup, cases: list[dict[int, int]]) -> list[str]:
    return [work(world_of(group), fails) for fails in cases]


@pytest.mark.parametrize("size", [2, 3])
def test_an_error_in_one_process_reaches_all(size: int):
    last = size - 1
    cases = [{}, {last: 0}, {last: 1}, {last: 2}, {0: 1}, {0: 1, last: 1}, {}]
    by_rank = run_processes(all_endings, size, cases)
    for number, fails in enumerate(cases):
        for rank, endings in enumerate(by_rank):
            if rank in fails:
                expected = f"DataError: image {rank}\nis bad"
            elif fails:
                first = min(fails)
                expected = (
                    f"DistributedError: process {first} failed: DataError: image {first} is bad"
                )
            else:
                expected = "done"  # and what went wrong before has left nothing behind
            assert endings[number] == expected


def test_alone_nothing_is_told():
    world = World()
    assert world.all_gather("mine") == ["mine"]
    assert list(world.shard([1, 2, 3])) == [1, 2, 3]
    with pytest.raises(DataError, match="bad"), world.propagate_errors():
        raise DataError("bad")


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_all_items_once(size: int):
    shares = [World(rank, size).shard(range(7)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
