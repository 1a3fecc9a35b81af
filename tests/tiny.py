"""The tiny models of all tests: small enough to train, both kinds of image tower."""

import torch

from twinlens.config import CLIPConfig, PreprocessConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.model.clip import CLIP

CLIP_VOCABULARY = 49408


def tiny_config(
    kind: str = "vit",
    *,
    vocab_size: int = 64,
    context_length: int = 12,
    text_layers: int = 2,
    **changes: object,
) -> CLIPConfig:
    """A CLIP of 32-pixel images; `kind` is "vit" or "resnet", `changes` are of `CLIPConfig`."""
    vision = (
        ViTConfig(
            image_size=32, patch_size=16, width=32, layers=2, heads=2, activation="quick_gelu"
        )
        if kind == "vit"
        else ResNetConfig(image_size=32, width=4, layers=(1, 1, 1, 1), heads=4)
    )
    text = TextConfig(
        context_length=context_length,
        vocab_size=vocab_size,
        width=16,
        layers=text_layers,
        heads=2,
        activation="quick_gelu",
    )
    settings = {
        "embed_dim": 8,
        "vision": vision,
        "text": text,
        "preprocess": PreprocessConfig(image_size=32),
    }
    return CLIPConfig(**(settings | changes))  # pyright: ignore[reportArgumentType]


def tiny_clip(kind: str = "vit", **changes: object) -> CLIP:
    """`tiny_config` as a seeded model; torch's random state stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLIP(tiny_config(kind, **changes)).eval()  # pyright: ignore[reportArgumentType]
