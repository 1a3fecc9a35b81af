"""Presets: the nine architectures of the paper's release, SigLIP's, and small ones for icons.

Each is a function that returns a `CLIPConfig`; the nine have the sizes of the paper's tables 19
and 20.
"""

from __future__ import annotations

from twinlens.config import CLIPConfig, PreprocessConfig, ResNetConfig, TextConfig, ViTConfig

ICON_MEAN = (0.5, 0.5, 0.5)
ICON_STD = (0.5, 0.5, 0.5)
ICON_TEMPLATES = ("{}", "an emoji of {}", "a picture of {}")


def _openai_clip(
    embed_dim: int, vision: ViTConfig | ResNetConfig, text_width: int, text_heads: int
) -> CLIPConfig:
    return CLIPConfig(
        embed_dim=embed_dim,
        vision=vision,
        text=TextConfig(width=text_width, layers=12, heads=text_heads, activation="quick_gelu"),
        preprocess=PreprocessConfig(image_size=vision.image_size),
    )


def _vit(image_size: int, patch_size: int, width: int, layers: int) -> ViTConfig:
    return ViTConfig(
        image_size=image_size,
        patch_size=patch_size,
        width=width,
        layers=layers,
        heads=width // 64,
        activation="quick_gelu",
    )


def rn50() -> CLIPConfig:
    """ResNet-50, 224 px, 102,007,137 parameters."""
    vision = ResNetConfig(image_size=224, width=64, layers=(3, 4, 6, 3), heads=32)
    return _openai_clip(1024, vision, 512, 8)


def rn101() -> CLIPConfig:
    """ResNet-101, 224 px, 119,688,033 parameters."""
    vision = ResNetConfig(image_size=224, width=64, layers=(3, 4, 23, 3), heads=32)
    return _openai_clip(512, vision, 512, 8)


def rn50x4() -> CLIPConfig:
    """Four times ResNet-50's compute, 288 px, 178,300,601 parameters."""
    vision = ResNetConfig(image_size=288, width=80, layers=(4, 6, 10, 6), heads=40)
    return _openai_clip(640, vision, 640, 10)


def rn50x16() -> CLIPConfig:
    """Sixteen times ResNet-50's compute, 384 px, 290,979,217 parameters."""
    vision = ResNetConfig(image_size=384, width=96, layers=(6, 8, 18, 8), heads=48)
    return _openai_clip(768, vision, 768, 12)


def rn50x64() -> CLIPConfig:
    """64 times ResNet-50's compute, 448 px, 623,258,305 parameters."""
    vision = ResNetConfig(image_size=448, width=128, layers=(3, 15, 36, 10), heads=64)
    return _openai_clip(1024, vision, 1024, 16)


def vit_b_32() -> CLIPConfig:
    """ViT-B/32, 224 px, 151,277,313 parameters."""
    vision = _vit(224, 32, 768, 12)
    return _openai_clip(512, vision, 512, 8)


def vit_b_16() -> CLIPConfig:
    """ViT-B/16, 224 px, 149,620,737 parameters."""
    vision = _vit(224, 16, 768, 12)
    return _openai_clip(512, vision, 512, 8)


def vit_l_14() -> CLIPConfig:
    """ViT-L/14, 224 px, 427,616,513 parameters."""
    vision = _vit(224, 14, 1024, 24)
    return _openai_clip(768, vision, 768, 12)


def vit_l_14_336() -> CLIPConfig:
    """ViT-L/14 at 336 px, 427,944,193 parameters."""
    vision = _vit(336, 14, 1024, 24)
    return _openai_clip(768, vision, 768, 12)


def siglip_vit_b_16() -> CLIPConfig:
    """SigLIP's ViT-B/16, 224 px, with CLIP's vocabulary: 216,525,314 parameters.

    The vocabulary that it was released with, 32,000 pieces learned from C4, is not part of the
    package.
    """
    vision = ViTConfig(
        image_size=224,
        patch_size=16,
        width=768,
        layers=12,
        heads=12,
        activation="gelu_tanh",
        norm_eps=1e-6,
        pooling="attention",
        projection="none",
    )
    text = TextConfig(
        context_length=64,
        width=768,
        layers=12,
        heads=12,
        activation="gelu_tanh",
        norm_eps=1e-6,
        causal=False,
        pooling="last",
        projection="affine",
    )
    grey = (0.5, 0.5, 0.5)
    return CLIPConfig(
        embed_dim=768,
        vision=vision,
        text=text,
        logit_bias=True,
        preprocess=PreprocessConfig(image_size=224, resize="squash", mean=grey, std=grey),
    )


def _icons_clip(vision: ViTConfig | ResNetConfig, text: TextConfig, embed_dim: int) -> CLIPConfig:
    """Build the configuration of a small model of icons: own vocabulary, pixels centred on grey."""
    return CLIPConfig(
        embed_dim=embed_dim,
        vision=vision,
        text=text,
        tokenizer="tokenizer.json",
        templates=ICON_TEMPLATES,
        preprocess=PreprocessConfig(image_size=vision.image_size, mean=ICON_MEAN, std=ICON_STD),
    )


def _icons_text_tower(vocab_size: int, width: int, layers: int) -> TextConfig:
    return TextConfig(
        context_length=32,
        vocab_size=vocab_size,
        width=width,
        layers=layers,
        heads=width // 64,
        activation="gelu",
    )


def icons_demo() -> CLIPConfig:
    """A model for three minutes of training on a laptop; English only."""
    return _icons_clip(
        ResNetConfig(image_size=64, width=24, layers=(1, 1, 1, 1), heads=12),
        _icons_text_tower(2048, 128, 2),
        embed_dim=192,
    )


def icons_tiny() -> CLIPConfig:
    """A model for half an hour of training on a laptop."""
    return _icons_clip(
        ResNetConfig(image_size=64, width=32, layers=(1, 1, 1, 1), heads=16),
        _icons_text_tower(8192, 192, 3),
        embed_dim=256,
    )


def icons_small() -> CLIPConfig:
    """The architecture of the embedded model."""
    return _icons_clip(
        ResNetConfig(image_size=64, width=32, layers=(2, 2, 2, 2), heads=16),
        _icons_text_tower(8192, 192, 3),
        embed_dim=256,
    )
