"""Memory and time of the losses, dense and tiled: forward and backward, each in a fresh process.

Run: python bench/tiled_loss.py [--rounds 3] [--tile 1024] [--device cuda]

A contest is one loss of one batch of random float32 features, its gradients included. Memory is the
most above the inputs: on a processor, of the process; on CUDA, of the allocator, and there the
Triton kernel takes its turn too. Dense stops at 8,192 pairs: at 32,768 one matrix of similarities
is 4 GiB, and it needs several.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve()
Figures = dict[str, dict[str, float]]


def resident_mib(key: str) -> float:
    """This process's resident memory, MiB: `VmRSS` now, `VmHWM` at most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{key}:")[1].split()[0]) / 1024


def contest(options: argparse.Namespace) -> dict[str, float]:
    """The figures of one form at one size; runs in a process of its own."""
    import torch  # noqa: PLC0415

    from twinlens.model import tiled  # noqa: PLC0415
    from twinlens.model.loss import contrastive_loss, sigmoid_loss  # noqa: PLC0415

    form, pairs = options.form, options.pairs
    tiled.PREFER_KERNEL = "kernel" in form
    tile = None if form == "dense" else options.tile
    generator = torch.Generator().manual_seed(0)

    def features(count: int) -> torch.Tensor:
        rows = torch.randn(count, options.width, generator=generator)
        return rows.to(options.device).requires_grad_()

    scale = torch.tensor(2.66, device=options.device, requires_grad=True)
    bias = torch.tensor(-10.0, device=options.device, requires_grad=True)

    def both_ways(images: torch.Tensor, texts: torch.Tensor) -> None:
        if options.loss == "softmax":
            contrastive_loss(images, texts, scale, tile=tile).backward()
        else:
            sigmoid_loss(images, texts, scale, bias, tile=tile).backward()
        if options.device == "cuda":
            torch.cuda.synchronize()

    both_ways(features(256), features(256))  # what is loaded or compiled once
    images, texts = features(pairs), features(pairs)
    on_cuda = options.device == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() / 2**20 if on_cuda else resident_mib("VmRSS")
    start = time.perf_counter()
    both_ways(images, texts)
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_cuda else resident_mib("VmHWM")
    return {"above_inputs_mib": peak - before, "seconds": seconds}


def contests(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Loss, form and pairs of each contest of a round."""
    forms = ["tiled", "tiled, kernel"] if options.device == "cuda" else ["tiled"]
    small, *rest = options.sizes
    entries: list[tuple[str, str, int]] = []
    for loss in ("softmax", "sigmoid"):
        entries += [(loss, "dense", pairs) for pairs in (small, *rest[:-1])]
        some = forms if loss == "softmax" else forms[:1]
        entries += [(loss, form, pairs) for pairs in rest for form in some]
    return entries


def in_its_process(entry: tuple[str, str, int], options: argparse.Namespace) -> dict[str, float]:
    loss, form, pairs = entry
    command = [sys.executable, str(HERE), "--form", form, "--loss", loss, "--pairs", str(pairs)]
    command += ["--device", options.device, "--width", str(options.width)]
    command += ["--tile", str(options.tile)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def medians(rounds: list[Figures]) -> Figures:
    """Of each contest: the median of each figure, and the lowest and highest seconds."""
    answer: Figures = {}
    for name, first in rounds[0].items():
        answer[name] = {key: statistics.median(one[name][key] for one in rounds) for key in first}
        seconds = [one[name]["seconds"] for one in rounds]
        answer[name] |= {"lowest_s": min(seconds), "highest_s": max(seconds)}
    return answer


def print_figures(figures: Figures) -> None:
    table = Table(box=None)
    for column in ("", "MiB above inputs", "seconds", "lowest to highest"):
        table.add_column(column, justify="right" if column else "left")
    for name, one in figures.items():
        spread = f"{one['lowest_s']:.2f} to {one['highest_s']:.2f}"
        table.add_row(name, f"{one['above_inputs_mib']:,.0f}", f"{one['seconds']:.2f}", spread)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 8192, 32768])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("bench/results/tiled_loss.json"))
    for hidden in ("--form", "--loss"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        print(json.dumps(contest(options)))
        return
    rounds = [
        {f"{e[0]}, {e[1]}, {e[2]:,}": in_its_process(e, options) for e in contests(options)}
        for _ in range(options.rounds)
    ]
    figures = medians(rounds)
    print_figures(figures)
    settings = {"width": options.width, "tile": options.tile, "device": options.device, "seed": 0}
    machine = f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}"
    answer = {"machine": machine, "versions": {"torch": version("torch")}, "settings": settings}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(answer | {"figures": figures, "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
