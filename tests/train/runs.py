"""A run small enough for tests: coloured squares named by their colour."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tiny import tiny_config
from twinlens.data.augment import Augmentation
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.data.left_out import LeftOut
from twinlens.data.loader import Batch, PairLoader
from twinlens.distributed.world import World
from twinlens.embed.embedder import Embedder
from twinlens.text.clip_bpe import Tokenizer, train_tokenizer
from twinlens.train.checkpoint import CheckpointWriter
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes.recipe import Recipe
from twinlens.train.state import TrainState

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 40, 220), "black": (0, 0, 0)}


def write_squares(root: Path, count: int = 24) -> Path:
    """Images with same-named captions."""
    rng = np.random.default_rng(0)
    for number in range(count):
        name = list(COLOURS)[number % len(COLOURS)]
        noise = rng.integers(-30, 30, (36, 36, 3))
        pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        root.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"{number:02d}.png")
        (root / f"{number:02d}.txt").write_text(f"a {name} square\n{name}\n")
    return root


def squares(root: Path) -> Dataset:
    """`write_squares` opened."""
    return open_dataset(str(write_squares(root)))


def tiny_recipe(kind: str = "resnet", **changes: object) -> Recipe:
    """Twelve steps of eight pairs with everything on."""
    recipe = Recipe(
        name="tiny",
        model=tiny_config(kind, vocab_size=520, text_layers=1, tokenizer="tokenizer.json"),
        batch_size=8,
        steps=12,
        optim=OptimConfig(lr=1e-2, warmup_steps=2, grad_clip_norm=1.0, ema_decay=0.9),
        augment=Augmentation(
            min_crop_side=0.8, max_rotation=10, colour_std=0.1, greyscale_probability=0.1
        ),
        checkpoint_every=4,
        eval_every=6,
        log_every=2,
    )
    return replace(recipe, **changes)  # pyright: ignore[reportArgumentType]


@dataclass
class FunctionEvaluator:
    """An evaluator made of a function of the model."""

    function: Callable[[Embedder], Mapping[str, float]]
    name: str = "function"

    def check(self, train_dataset: Dataset) -> None:
        """Nothing to refuse."""

    def run(self, embedder: Embedder, world: World) -> Mapping[str, float]:
        return self.function(embedder)


def first_batch(dataset: Dataset) -> Batch:
    captions = [caption for sample in dataset.samples for caption in sample.captions]
    return make_loader(dataset, train_tokenizer(captions, 520)).batch(0)


def make_loader(dataset: Dataset, tokenizer: Tokenizer) -> PairLoader:
    return PairLoader(
        dataset,
        tokenizer,
        batch_size=8,
        image_size=32,
        context_length=12,
        augmentation=tiny_recipe().augment,
        seed=0,
    )


def save_checkpoint(run: TrainState, directory: Path, step: int) -> None:
    writer = CheckpointWriter(directory, run.world, keep_checkpoints=2)
    writer.save(run.state_tensors(), run.checkpoint_metadata(step, LeftOut()))
    writer.wait()
