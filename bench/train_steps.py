"""Training steps a second and their memory: ours beside open_clip's, in turn, fresh processes.

Run: python bench/train_steps.py [--model ViT-B-32] [--batch 64] [--steps 4] [--rounds 3]
     python bench/train_steps.py --device cuda --batch 0    (the largest that fits)

Random pixels and one short caption, as a step of its own: forward, contrastive loss, backward,
AdamW. Both compute in bf16: open_clip by autocast over float32 weights, which is its `amp_bf16`,
ours on bf16 weights with float32 masters, which is what a recipe's precision "auto" picks where the
hardware multiplies bf16. The utilisation (mfu) counts the model's own products, texts as long as
they are, against the device's data sheet or, where that is not known, against a large product.
"""

import argparse
import gc
import json
import time
from importlib.util import find_spec
from pathlib import Path

from contest import peak_mib, print_figures, race, ratios, save, spread

HERE = Path(__file__).resolve()
CAPTION = "a photo of a small dog on the grass"
OURS, THEIRS = "twinlens", "open_clip"


def open_clip_step(name: str, batch: int, device: str):
    """One step of open_clip, as its own training loop takes it."""
    import open_clip  # noqa: PLC0415
    import torch  # noqa: PLC0415

    model = open_clip.create_model(name, precision="fp32", device=device).train()
    size = model.visual.image_size[0]
    pixels = torch.randn(batch, 3, size, size, device=device)
    tokens = open_clip.get_tokenizer(name)([CAPTION] * batch).to(device)
    loss_of = open_clip.ClipLoss()
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step(_: int) -> None:
        with torch.autocast(device, dtype=torch.bfloat16):
            image_features, text_features, scale = model(pixels, tokens)
            loss = loss_of(image_features, text_features, scale)
        loss.backward()
        adamw.step()
        adamw.zero_grad()

    return step


def our_step(name: str, batch: int, device: str):
    """One step of a run: the very code that `twinlens train` runs."""
    import torch  # noqa: PLC0415

    from twinlens.data.loader import Batch  # noqa: PLC0415
    from twinlens.model import presets  # noqa: PLC0415
    from twinlens.text.clip_bpe import Tokenizer  # noqa: PLC0415
    from twinlens.train.optim import OptimConfig  # noqa: PLC0415
    from twinlens.train.recipes.recipe import Recipe  # noqa: PLC0415
    from twinlens.train.state import TrainState  # noqa: PLC0415

    config = getattr(presets, name.lower().replace("-", "_"))()
    recipe = Recipe(
        name=name,
        model=config,
        batch_size=batch,
        steps=10_000,
        precision="bf16",
        optim=OptimConfig(lr=1e-5),
    )
    run = TrainState(recipe, "random pixels", device)
    size = config.preprocess.image_size
    one = Batch(
        pixels=torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8),
        tokens=Tokenizer.clip()([CAPTION] * batch)[None],
        concept_ids=torch.arange(batch)[None],
        num_truncated=0,
    )
    return lambda number: run.train_step(one, number)


def steps_of(options: argparse.Namespace, batch: int) -> list[float]:
    """Seconds of each step but the first, which has things to make."""
    import torch  # noqa: PLC0415

    make = our_step if options.contest == OURS else open_clip_step
    step = make(options.model, batch, options.device)
    times: list[float] = []
    for number in range(options.steps + 1):
        start = time.perf_counter()
        step(number)
        if options.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times[1:]


def largest_that_fits(options: argparse.Namespace) -> tuple[int, list[float]]:
    """The largest power of two that the device's memory holds, and its steps."""
    import torch  # noqa: PLC0415

    for power in range(13, 4, -1):
        try:
            return 2**power, steps_of(options, 2**power)
        except torch.cuda.OutOfMemoryError:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    raise SystemExit("train_steps: got a device that holds no batch of 32")


def contest(options: argparse.Namespace) -> dict[str, float]:
    """One contestant's figures; runs in a process of its own."""
    import torch  # noqa: PLC0415

    from twinlens.model import presets  # noqa: PLC0415
    from twinlens.text.clip_bpe import Tokenizer  # noqa: PLC0415
    from twinlens.train.planning.devices import peak_flops  # noqa: PLC0415
    from twinlens.train.planning.flops import pair_cost  # noqa: PLC0415
    from twinlens.train.recipes.recipe import Recipe  # noqa: PLC0415

    on_cuda = options.device == "cuda"
    if options.batch:
        batch, times = options.batch, steps_of(options, options.batch)
    else:
        batch, times = largest_that_fits(options)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_cuda else peak_mib()
    pairs_per_s = batch / sorted(times)[len(times) // 2]
    config = getattr(presets, options.model.lower().replace("-", "_"))()
    recipe = Recipe(name="bench", model=config, batch_size=batch, steps=1)
    tokens = float((Tokenizer.clip()([CAPTION]) != 0).sum())
    reached = pair_cost(recipe, tokens).training * pairs_per_s
    device = torch.device(options.device)
    return {
        "batch": batch,
        "pairs_per_s": pairs_per_s,
        "peak_mib": peak,
        "mfu_percent": 100 * reached / peak_flops(device, torch.bfloat16),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=64, help="0: the largest that fits (CUDA)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps, after one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/train_steps.json"))
    parser.add_argument("--contest", choices=(OURS, THEIRS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        print(json.dumps(contest(options)))
        return
    words = [f"--{key}={getattr(options, key)}" for key in ("model", "batch", "steps", "device")]
    there = [OURS, THEIRS] if find_spec("open_clip") else [OURS]
    contestants = {name: [*words, f"--contest={name}"] for name in there}
    figures = race(str(HERE), contestants, options.rounds)
    print_figures(figures)
    for key in ("pairs_per_s", "peak_mib") if len(there) > 1 else ():
        print(f"{key}: ours by theirs {spread(ratios(figures, key, OURS, THEIRS), 2)}")
    save(figures, options.out, *(["open_clip_torch"] if len(there) > 1 else []))


if __name__ == "__main__":
    main()
