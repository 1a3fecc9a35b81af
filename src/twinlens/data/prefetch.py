"""Threads that read ahead and hand out results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_NUM_PREFETCHED = 3
"""Batches prepared in advance: enough to hide the decoding, little to hold."""

_T = TypeVar("_T")


def read_in_threads(
    read: Callable[[int], _T], steps: Sequence[int], *, threads: int = 2
) -> Iterator[_T]:
    """`read` of each step in order, a few of them ahead.

    What ends it early does not wait for a thread: storage may never answer one.
    """
    pending: deque[Future[_T]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
    try:
        for step in steps:
            pending.append(pool.submit(read, step))
            if len(pending) > max(_NUM_PREFETCHED, threads):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
