"""The same weights and batches in open_clip's loop and in ours: the same losses, step by step."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.checkpoints.formats.open_clip import test_layout as layout
from twinlens.data.loader import Batch
from twinlens.inference.preprocess import normalize
from twinlens.model.clip import MAX_LOGIT_SCALE
from twinlens.train.optim import OptimConfig, learning_rate
from twinlens.train.recipes.recipe import ComputeConfig, Recipe
from twinlens.train.state import TrainState

pytestmark = pytest.mark.peers

STEPS = 20
OPTIM = OptimConfig(lr=1e-3, warmup_steps=5, weight_decay=0.2)


def batches(context: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(STEPS):
        tokens = torch.zeros(1, 8, context, dtype=torch.long)
        for row in tokens[0]:
            length = int(torch.randint(3, context, (), generator=generator))
            row[:length] = torch.randint(1, layout.VOCABULARY - 2, (length,), generator=generator)
            row[length - 1] = layout.VOCABULARY - 1  # the highest id ends a text
        pixels = torch.randint(0, 256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8)
        made.append(Batch(pixels, tokens, torch.arange(8)[None], 0))
    return made


def their_losses(model: torch.nn.Module, data: list[Batch], preprocess) -> list[float]:
    """As `open_clip_train` does: its groups of weights, its loss, its clamp."""
    loss_of = layout.reference.ClipLoss()
    named = list(model.named_parameters())
    spared = [(n, p.ndim < 2 or any(k in n for k in ("bn", "ln", "bias"))) for n, p in named]
    groups = [
        {"params": [p for (n, p), (_, s) in zip(named, spared, strict=True) if s is keep],
         "weight_decay": 0.0 if keep else OPTIM.weight_decay}
        for keep in (True, False)
    ]  # fmt: skip
    adamw = torch.optim.AdamW(groups, betas=OPTIM.betas, eps=OPTIM.eps)
    losses = []
    for step, batch in enumerate(data):
        for group in adamw.param_groups:
            group["lr"] = learning_rate(step, STEPS, OPTIM)
        images = normalize(batch.pixels, preprocess)
        image_features, text_features, scale = model(images, batch.tokens[0])[:3]
        loss = loss_of(image_features, text_features, scale)
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(), ComputeConfig(accum_freq=4, loss_tile_size=3)],
    ids=["plain", "cut"],
)
def test_twenty_steps_have_the_losses_of_open_clip(compute: ComputeConfig, tmp_path: Path):
    theirs = layout.their_model(layout.TINY)
    layout.save(theirs, layout.TINY, tmp_path)
    ours = layout.our_model(tmp_path)
    data = batches(ours.config.text_config.context_length)
    recipe = Recipe(
        name="the same", model=ours.config, batch_size=8, steps=STEPS, precision="fp32",
        optim=OPTIM, compute=compute,
    )  # fmt: skip
    run = TrainState(recipe, "random", "cpu")
    run.model.load_state_dict(ours.state_dict())
    found = [run.train_step(batch, step).loss for step, batch in enumerate(data)]
    expected = their_losses(theirs.train(), data, ours.config.preprocess_config)
    assert found == pytest.approx(expected, abs=1e-4)
    # They did move: another learning rate would have been noticed.
    gap = F.l1_loss(run.model.text_tower.projection, ours.text_tower.projection)
    assert gap > 1e-3
