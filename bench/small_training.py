"""Training a small model of drawings on a processor: pairs a second, and where the time goes.

Run: python bench/small_training.py [--batch 512] [--steps 12] [--rounds 3] [--patch-dropout 0.5]

The embedded model's case with a transformer: 64 pixels, 16-pixel patches, some eight million
parameters, the package's own shards, augmentation as in the recipes for drawings. Each round is a
fresh process; the first two steps are not timed. The ceiling is a large bf16 product, measured in
the same process.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from contest import peak_mib, print_figures, race, save

HERE = Path(__file__).resolve()
SHARDS = HERE.parent.parent / "src" / "twinlens" / "assets" / "shards" / "train"
WARM = 2


def contest(options: argparse.Namespace) -> dict[str, float]:
    """One round, in a process of its own."""
    import torch  # noqa: PLC0415

    from twinlens.config import CLIPConfig, TextConfig, ViTConfig  # noqa: PLC0415
    from twinlens.data.datasets import open_dataset  # noqa: PLC0415
    from twinlens.data.loader import PairLoader  # noqa: PLC0415
    from twinlens.inference.device import measure_peak_flops  # noqa: PLC0415
    from twinlens.model.flops import num_patches  # noqa: PLC0415
    from twinlens.model.presets import icons_demo  # noqa: PLC0415
    from twinlens.text.clip_bpe import train_tokenizer  # noqa: PLC0415
    from twinlens.train.planning.flops import pair_cost  # noqa: PLC0415
    from twinlens.train.recipes.builtin import find_recipe  # noqa: PLC0415
    from twinlens.train.state import TrainState  # noqa: PLC0415

    vision = ViTConfig(
        image_size=64, patch_size=16, width=256, layers=6, heads=4, activation="quick_gelu"
    )
    text = TextConfig(
        context_length=32, vocab_size=2048, width=256, layers=4, heads=4, activation="quick_gelu"
    )
    model: CLIPConfig = replace(icons_demo(), embed_dim=256, vision=vision, text=text)
    recipe = replace(
        find_recipe("icons-demo"),
        model=model,
        batch_size=options.batch,
        captions=1,
        steps=10_000,
        patch_dropout=options.patch_dropout,
    )
    seen = num_patches(vision, options.patch_dropout)
    dataset = open_dataset(str(SHARDS))
    captions = [caption for sample in dataset.samples for caption in sample.captions]
    loader = PairLoader(
        dataset,
        train_tokenizer(captions, text.vocab_size),
        batch_size=recipe.batch_size,
        image_size=64,
        context_length=text.context_length,
        augmentation=recipe.augment,
        seed=0,
        patch_counts=(num_patches(vision), seen) if options.patch_dropout else None,
    )
    run = TrainState(recipe, "shards", "cpu")
    steps, waited, tokens, start = WARM + options.steps, 0.0, 0.0, 0.0
    batches = loader.batches(0, steps, workers=options.workers)
    for step in range(steps):
        if step == WARM:
            start, waited, tokens = time.perf_counter(), 0.0, 0.0
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        tokens += float((batch.tokens != 0).sum()) / recipe.batch_size
        run.train_step(batch, step)
    took = time.perf_counter() - start
    rate = options.steps * recipe.batch_size / took
    flops = pair_cost(recipe, tokens / options.steps).training * rate
    return {
        "parameters_m": sum(p.numel() for p in run.model.parameters()) / 1e6,
        "pairs_per_s": rate,
        "wait_percent": 100 * waited / took,
        "gflops": flops / 1e9,
        "mfu_percent": 100 * flops / measure_peak_flops(torch.device("cpu"), torch.bfloat16),
        "peak_mib": peak_mib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Small models on a processor: pairs a second.")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--patch-dropout", type=float, default=0.0, help="share left out (FLIP)")
    parser.add_argument("--out", type=Path, default=Path("bench/results/small_training.json"))
    parser.add_argument("--contest", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        print(json.dumps(contest(options)))
        return
    keys = ("batch", "steps", "workers", "patch_dropout")
    words = [f"--{key.replace('_', '-')}={getattr(options, key)}" for key in keys]
    figures = race(str(HERE), {"small ViT": [*words, "--contest"]}, options.rounds)
    print_figures(figures)
    save(figures, options.out)


if __name__ == "__main__":
    main()
