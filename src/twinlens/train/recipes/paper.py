"""Full-scale recipes of the papers: CLIP's nine models, and SigLIP's.

Radford et al. 2021, sections 2.4 and 2.5 and tables 18 to 20: 32 epochs of 400 million pairs in
batches of 32,768. Zhai et al. 2023 ("Sigmoid Loss for Language Image Pre-Training"), section 4.
Both shuffle the pairs and crop or resize the images, without other augmentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from twinlens.config import CLIPConfig, ResNetConfig
from twinlens.model import presets
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes.recipe import ComputeConfig, Recipe

CLIP_PAIRS = 400_000_000
CLIP_EPOCHS = 32
BATCH_SIZE = 32_768

SIGLIP_PAIRS = 9_000_000_000
"""Pairs seen in the runs with which the paper compares losses."""

CHECKPOINT_EVERY, LOG_EVERY = 500, 20
"""Not from the papers: at most a quarter of an hour of a large machine is lost."""


def _num_steps(pairs: int) -> int:
    """Number of batches that have at least so many pairs."""
    return math.ceil(pairs / BATCH_SIZE)


def _openai_recipe(
    name: str, preset: Callable[[], CLIPConfig], lr: float, epochs: int = CLIP_EPOCHS
) -> Recipe:
    """The CLIP paper's settings; models differ in learning rate and Adam's constants only.

    The loss is computed in tiles and activations are checkpointed, so that large batches fit on few
    devices; the paper's own runs did similar (section 2.5).
    """
    model = preset()
    resnet = isinstance(model.vision, ResNetConfig)
    return Recipe(
        name=name,
        model=model,
        batch_size=BATCH_SIZE,
        steps=_num_steps(epochs * CLIP_PAIRS),
        optim=OptimConfig(
            lr=lr,
            betas=(0.9, 0.999) if resnet else (0.9, 0.98),
            eps=1e-8 if resnet else 1e-6,
            weight_decay=0.2,
            warmup_steps=2000,
        ),
        compute=ComputeConfig(loss_tile_size=4096, checkpoint_activations=True),
        checkpoint_every=CHECKPOINT_EVERY,
        eval_every=10 * CHECKPOINT_EVERY,
        log_every=LOG_EVERY,
    )


def siglip_vit_b_16() -> Recipe:
    """SigLIP's ViT-B/16 with the sigmoid loss.

    From the paper: 9 billion pairs in batches of 32,768; a second moment that forgets at 0.95,
    which large batches need to be stable; a scale of 10 and a bias of -10 at first; images
    of 224 pixels. From SigLIP 2 (Tschannen et al. 2025, section 2), which spells out the rest: a
    rate of 1e-3 after 20,000 steps of warm-up, the gradient clipped at norm 1, and a decay of 1e-4
    that their library does not multiply by the rate: 0.1 in AdamW, which does.

    Ours: CLIP's vocabulary, texts of 64 tokens as in the released models (16 in the paper's
    comparisons), and a random square crop where theirs squashes the whole image.
    """
    return Recipe(
        name="siglip-vit-b-16",
        model=presets.siglip_vit_b_16(),
        batch_size=BATCH_SIZE,
        steps=_num_steps(SIGLIP_PAIRS),
        loss="sigmoid",
        optim=OptimConfig(
            lr=1e-3,
            betas=(0.9, 0.95),
            eps=1e-8,
            weight_decay=0.1,
            warmup_steps=20_000,
            grad_clip_norm=1.0,
        ),
        compute=ComputeConfig(loss_tile_size=4096, checkpoint_activations=True),
        checkpoint_every=CHECKPOINT_EVERY,
        eval_every=10 * CHECKPOINT_EVERY,
        log_every=LOG_EVERY,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    name: partial(_openai_recipe, name, *settings)
    for name, settings in {
        "openai-rn50": (presets.rn50, 5e-4),
        "openai-rn101": (presets.rn101, 5e-4),
        "openai-rn50x4": (presets.rn50x4, 5e-4),
        "openai-rn50x16": (presets.rn50x16, 4e-4),
        # 18 days on 592 V100 in the paper.
        "openai-rn50x64": (presets.rn50x64, 3.6e-4),
        "openai-vit-b-32": (presets.vit_b_32, 5e-4),
        "openai-vit-b-16": (presets.vit_b_16, 5e-4),
        # 12 days on 256 V100 in the paper.
        "openai-vit-l-14": (presets.vit_l_14, 4e-4),
        # One more epoch of ViT-L/14 at 336 pixels: start it from that model.
        "openai-vit-l-14-336": (presets.vit_l_14_336, 2e-5, 1),
    }.items()
} | {"siglip-vit-b-16": siglip_vit_b_16}
