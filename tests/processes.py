"""A function in several processes that form a gloo group, for tests of what ranks do together."""

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

LIMIT = 120
"""Seconds that one call may take; a hung collective ends with it."""

# A server that has torch already forks the processes: each starts in a moment, and without the
# threads that a fork of this process would lack.
_context = get_context("forkserver")
_context.set_forkserver_preload(["torch", "torch.distributed"])


def run_processes(function: Callable[..., Any], count: int, *arguments: object) -> list[Any]:
    """`function(group, *arguments)` in `count` processes at once; their answers, rank by rank.

    The group is the processes' default one. Function, arguments and answers are pickled: the
    function is one of a module.

    Raises:
        AssertionError: A process raised or died, or all took too long; says what each had to say.
    """
    with tempfile.TemporaryDirectory() as directory:
        pipes = [_context.Pipe(duplex=False) for _ in range(count)]
        processes = [
            _context.Process(target=_run, args=(directory, rank, count, end, (function, arguments)))
            for rank, (_, end) in enumerate(pipes)
        ]
        for process in processes:
            process.start()
        try:
            return _answers([ours for ours, _ in pipes], [end for _, end in pipes])
        finally:
            for process in processes:
                process.kill()
                process.join()


def _answers(pipes: list[Connection], ends: list[Connection]) -> list[Any]:
    """What each process sends, as soon as all have, or one has failed."""
    for end in ends:
        end.close()  # so that a process that dies is the end of its pipe
    answers: dict[int, Any] = {}
    while len(answers) < len(pipes):
        waiting = [pipe for rank, pipe in enumerate(pipes) if rank not in answers]
        ready = connection.wait(waiting, timeout=LIMIT)
        assert ready, f"ranks {[pipes.index(pipe) for pipe in waiting]} took over {LIMIT} s"
        for pipe in ready:
            assert isinstance(pipe, Connection)
            rank = pipes.index(pipe)
            try:
                answers[rank], failure = pickle.loads(pipe.recv_bytes())
            except EOFError:
                failure = "died"
            assert failure is None, f"rank {rank}: {failure}"
    return [answers[rank] for rank in range(len(pipes))]


def _run(directory: str, rank: int, count: int, pipe: Connection, job: tuple[Any, Any]) -> None:
    function, arguments = job
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # a machine's name need not lead to an address
    answer, failure = None, None
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{Path(directory) / 'meeting'}",
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=LIMIT / 2),
        )
        answer = function(dist.group.WORLD, *arguments)
        dist.barrier()  # no rank goes while another one still hears from it
    except BaseException:
        failure = traceback.format_exc()
    pipe.send_bytes(pickle.dumps((answer, failure)))
    if dist.is_initialized():
        dist.destroy_process_group()
