"""The papers' runs at full scale: CLIP's nine models, and SigLIP's.

Radford et al. 2021, sections 2.4 and 2.5 and tables 18 to 20: 32 epochs of 400 million pairs in
batches of 32,768. Zhai et al. 2023 ("Sigmoid Loss for Language Image Pre-Training"), section 4.
Both shuffle their pairs and crop or resize the images, and change nothing else about them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from twinlens.config import CLIPConfig, ResNetConfig
from twinlens.model import presets
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes.recipe import Compute, Recipe

PAIRS = 400_000_000
EPOCHS = 32
BATCH_SIZE = 32_768

SIGLIP_PAIRS = 9_000_000_000
"""Pairs seen in the runs that the paper compares losses with."""

SAVED_EVERY, LOGGED_EVERY = 500, 20
"""Ours: a quarter of an hour of a large machine is lost at most."""


def _steps(pairs: int) -> int:
    """Whole batches that see at least so many pairs."""
    return math.ceil(pairs / BATCH_SIZE)


def _openai(name: str, model: CLIPConfig, lr: float, *, epochs: int = EPOCHS) -> Recipe:
    """The paper's settings, the same for all models but for the rate and Adam's constants.

    Large batches on few devices are computed in tiles and with checkpointed activations; the
    paper's own run did the like (section 2.5).
    """
    resnet = isinstance(model.vision, ResNetConfig)
    return Recipe(
        name=name,
        model=model,
        batch_size=BATCH_SIZE,
        steps=_steps(epochs * PAIRS),
        optim=OptimConfig(
            lr=lr,
            betas=(0.9, 0.999) if resnet else (0.9, 0.98),
            eps=1e-8 if resnet else 1e-6,
            weight_decay=0.2,
            warmup_steps=2000,
        ),
        compute=Compute(tile=4096, checkpoint_activations=True),
        checkpoint_every=SAVED_EVERY,
        eval_every=10 * SAVED_EVERY,
        log_every=LOGGED_EVERY,
    )


def openai_rn50() -> Recipe:
    """ResNet-50."""
    return _openai("openai-rn50", presets.rn50(), 5e-4)


def openai_rn101() -> Recipe:
    """ResNet-101."""
    return _openai("openai-rn101", presets.rn101(), 5e-4)


def openai_rn50x4() -> Recipe:
    """ResNet-50 with four times the compute."""
    return _openai("openai-rn50x4", presets.rn50x4(), 5e-4)


def openai_rn50x16() -> Recipe:
    """ResNet-50 with 16 times the compute."""
    return _openai("openai-rn50x16", presets.rn50x16(), 4e-4)


def openai_rn50x64() -> Recipe:
    """ResNet-50 with 64 times the compute: 18 days on 592 V100 in the paper."""
    return _openai("openai-rn50x64", presets.rn50x64(), 3.6e-4)


def openai_vit_b_32() -> Recipe:
    """ViT-B/32."""
    return _openai("openai-vit-b-32", presets.vit_b_32(), 5e-4)


def openai_vit_b_16() -> Recipe:
    """ViT-B/16."""
    return _openai("openai-vit-b-16", presets.vit_b_16(), 5e-4)


def openai_vit_l_14() -> Recipe:
    """ViT-L/14: 12 days on 256 V100 in the paper."""
    return _openai("openai-vit-l-14", presets.vit_l_14(), 4e-4)


def openai_vit_l_14_336() -> Recipe:
    """One epoch more for ViT-L/14, with images of 336 pixels: start it from that model."""
    return _openai("openai-vit-l-14-336", presets.vit_l_14_336(), 2e-5, epochs=1)


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
        steps=_steps(SIGLIP_PAIRS),
        loss="sigmoid",
        optim=OptimConfig(
            lr=1e-3,
            betas=(0.9, 0.95),
            eps=1e-8,
            weight_decay=0.1,
            warmup_steps=20_000,
            clip_norm=1.0,
        ),
        compute=Compute(tile=4096, checkpoint_activations=True),
        checkpoint_every=SAVED_EVERY,
        eval_every=10 * SAVED_EVERY,
        log_every=LOGGED_EVERY,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "openai-rn50": openai_rn50,
    "openai-rn101": openai_rn101,
    "openai-rn50x4": openai_rn50x4,
    "openai-rn50x16": openai_rn50x16,
    "openai-rn50x64": openai_rn50x64,
    "openai-vit-b-32": openai_vit_b_32,
    "openai-vit-b-16": openai_vit_b_16,
    "openai-vit-l-14": openai_vit_l_14,
    "openai-vit-l-14-336": openai_vit_l_14_336,
    "siglip-vit-b-16": siglip_vit_b_16,
}
