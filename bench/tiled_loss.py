"""Memory and time of the losses, dense and tiled: forward and backward, each in a fresh process.

Run: python bench/tiled_loss.py [--rounds 3] [--tile 1024] [--device cuda]

A contest is one loss of one batch of random float32 features, its gradients included. Memory is the
most above the inputs: on a processor, of the process; on CUDA, of the allocator. Dense stops at
8,192 pairs: at 32,768 one matrix of similarities is 4 GiB, and it needs several.
"""

import argparse
import json
import time
from pathlib import Path

from contest import peak_mib, print_figures, race, resident_mib, save

HERE = Path(__file__).resolve()


def contest(options: argparse.Namespace) -> dict[str, float]:
    """The figures of one form at one size; runs in a process of its own."""
    import torch  # noqa: PLC0415

    from twinlens.model.loss.contrastive import contrastive_loss, sigmoid_loss  # noqa: PLC0415

    form, pairs = options.form, options.pairs
    tile = None if form == "dense" else options.tile
    generator = torch.Generator().manual_seed(0)

    def features(count: int) -> torch.Tensor:
        rows = torch.randn(count, options.width, generator=generator)
        return rows.to(options.device).requires_grad_()

    scale = torch.tensor(2.66, device=options.device, requires_grad=True)
    bias = torch.tensor(-10.0, device=options.device, requires_grad=True)

    def both_ways(images: torch.Tensor, texts: torch.Tensor) -> None:
        if options.loss == "softmax":
            contrastive_loss(images, texts, scale, tile_size=tile).backward()
        else:
            sigmoid_loss(images, texts, scale, bias, tile_size=tile).backward()
        if options.device == "cuda":
            torch.cuda.synchronize()

    both_ways(features(256), features(256))  # what is loaded or compiled once
    images, texts = features(pairs), features(pairs)
    on_cuda = options.device == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() / 2**20 if on_cuda else resident_mib()
    start = time.perf_counter()
    both_ways(images, texts)
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_cuda else peak_mib()
    return {"above_inputs_mib": peak - before, "seconds": seconds}


def contests(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Loss, form and pairs of each contest of a round."""
    small, *rest = options.sizes
    entries: list[tuple[str, str, int]] = []
    for loss in ("softmax", "sigmoid"):
        entries += [(loss, "dense", pairs) for pairs in (small, *rest[:-1])]
        entries += [(loss, "tiled", pairs) for pairs in rest]
    return entries


def words(entry: tuple[str, str, int], options: argparse.Namespace) -> list[str]:
    """The command line of one contest."""
    loss, form, pairs = entry
    shared = [f"--{key}={getattr(options, key)}" for key in ("device", "width", "tile")]
    return [f"--form={form}", f"--loss={loss}", f"--pairs={pairs}", *shared]


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
    contestants = {f"{e[0]}, {e[1]}, {e[2]:,}": words(e, options) for e in contests(options)}
    figures = race(str(HERE), contestants, options.rounds)
    print_figures(figures)
    settings = {"width": options.width, "tile": options.tile, "device": options.device, "seed": 0}
    save(figures, options.out, settings=settings)


if __name__ == "__main__":
    main()
