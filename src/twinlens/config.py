"""The configuration of a model: frozen dataclasses, in which nothing is guessed.

`CLIPConfig` holds everything that is needed to use a directory of weights correctly: the sizes of
both towers, the preprocessing of images, the vocabulary and the provenance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from twinlens.errors import ConfigError, require, require_in_range

Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
"""Activation of the MLPs: weights are silently worse under another, so there is no default.

QuickGELU is OpenAI's, "gelu" the exact one, "gelu_tanh" its approximation that SigLIP uses.
"""

TextCleaning = Literal["lower", "whitespace", "canonicalize", "siglip", "none"]
"""Cleaning of texts before the vocabulary; see `clean_text`.

The first three are open_clip's names: "lower" is CLIP's own. "siglip" is that of Hugging Face's
SigLIP, and "none" leaves the text to the vocabulary's own rules.
"""

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
"""The paper's initial temperature (section 2.5)."""

INITIAL_SIGLIP_LOGIT_SCALE, INITIAL_LOGIT_BIAS = math.log(10.0), -10.0
"""SigLIP's initial temperature and bias of the logits (section 3.2 of its paper)."""


_MAX_SIZES = {
    "image_size": 16_384,
    "patch_size": 16_384,
    "width": 65_536,
    "layers": 1000,
    "heads": 65_536,
    "mlp_width": 2**20,
    "context_length": 65_536,
    "vocab_size": 10**7,
    "embed_dim": 65_536,
}
"""Several times the largest published sizes: more is a mistake, and would exhaust memory."""


def _require_sizes(config: object, *names: str) -> None:
    """Check sizes: whole numbers, tuples of them, or None for a default."""
    for name in names:
        value = getattr(config, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                require_in_range(f"{type(config).__name__}.{name}", one, 1, _MAX_SIZES[name])


def _require_transformer(config: ViTConfig | TextConfig) -> None:
    """Check the fields that both towers' transformers have."""
    name = type(config).__name__
    _require_sizes(config, "width", "layers", "heads", "mlp_width")
    eps, heads = config.norm_eps, config.heads
    require(0 < eps < math.inf, f"{name}.norm_eps", eps, "a positive number")
    expected = f"a divisor of width={config.width}"
    require(config.width % heads == 0, f"{name}.heads", heads, expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViTConfig:
    """A vision transformer (paper section 2.4), or SigLIP's.

    Attributes:
        image_size: Side of the images in pixels. A remainder after whole patches, at the right
            and the bottom, is ignored: a few published models have one.
        patch_size: Side of a patch in pixels.
        width: Width of the residual stream.
        layers: Number of blocks.
        heads: Number of attention heads; a divisor of `width`.
        mlp_width: Hidden width of each MLP; four times `width` if not given.
        activation: Activation of the MLPs.
        norm_eps: Value added to the variance in each layer norm.
        pooling: "class" uses a class token. "attention" is SigLIP's: patches have a bias, there
            is no class token and no norm before the blocks, and a learned query attends to all
            patches.
        projection: "linear" maps the pooled vector into the shared space; with "none", which
            attention pooling needs, the shared space is as wide as the tower.
    """

    kind: Literal["vit"] = "vit"
    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_width: int | None = None
    activation: Activation
    norm_eps: float = 1e-5
    pooling: Literal["class", "attention"] = "class"
    projection: Literal["linear", "none"] = "linear"

    def __post_init__(self) -> None:
        _require_sizes(self, "image_size", "patch_size")
        _require_transformer(self)
        require(
            self.pooling == "class" or self.projection == "none",
            "ViTConfig.projection",
            self.projection,
            "'none' where pooling is 'attention'",
        )
        require(
            self.patch_size <= self.image_size,
            "ViTConfig.patch_size",
            self.patch_size,
            f"at most image_size={self.image_size}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNetConfig:
    """A ResNet-D with anti-aliased strides and attention pooling (paper section 2.4)."""

    kind: Literal["resnet"] = "resnet"
    image_size: int
    width: int
    layers: tuple[int, int, int, int]
    heads: int

    def __post_init__(self) -> None:
        _require_sizes(self, "image_size", "width", "heads", "layers")
        require(
            self.image_size % 32 == 0,
            "ResNetConfig.image_size",
            self.image_size,
            "a multiple of 32",
        )
        require(
            self.width * 32 % self.heads == 0,
            "ResNetConfig.heads",
            self.heads,
            f"a divisor of the output width {self.width * 32}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """The text transformer.

    Attributes:
        context_length: Maximum number of tokens of a text, start and end included.
        vocab_size: Rows of the token embedding.
        width: Width of the residual stream.
        layers: Number of blocks.
        heads: Number of attention heads; a divisor of `width`.
        mlp_width: Hidden width of each MLP; four times `width` if not given.
        activation: Activation of the MLPs.
        norm_eps: Value added to the variance in each layer norm.
        causal: True if a token attends only to those before it.
        pooling: Position at which a text is pooled: "highest" is the token with the highest id,
            CLIP's end token; "end" the first `end_id`; "last" the last position of the context.
        end_id: The end token's id if `pooling` is "end".
        projection: "linear" is a matrix into the shared space, "affine" one with a bias; with
            "none" the shared space is as wide as the tower.
    """

    context_length: int = 77
    vocab_size: int = 49408
    width: int
    layers: int
    heads: int
    mlp_width: int | None = None
    activation: Activation
    norm_eps: float = 1e-5
    causal: bool = True
    pooling: Literal["highest", "end", "last"] = "highest"
    end_id: int | None = None
    projection: Literal["linear", "affine", "none"] = "linear"

    def __post_init__(self) -> None:
        _require_sizes(self, "context_length", "vocab_size")
        _require_transformer(self)
        if self.end_id is not None:
            require_in_range("TextConfig.end_id", self.end_id, 0, _MAX_SIZES["vocab_size"])
        require(
            (self.end_id is not None) == (self.pooling == "end"),
            "TextConfig.end_id",
            self.end_id,
            "an id where pooling is 'end', and none elsewhere",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessConfig:
    """Preprocessing of images: resize, crop to a square, normalise.

    Attributes:
        image_size: Side of the square in pixels.
        resize: "crop" resizes the shortest side and crops the centre; "squash" resizes both
            sides, ignoring the aspect ratio.
        mean: Per channel, for pixels in [0, 1].
        std: Per channel, for pixels in [0, 1].
        interpolation: Filter of the resize.
        background: Colour under transparent images, 0..255.
    """

    image_size: int
    resize: Literal["crop", "squash"] = "crop"
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    background: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self) -> None:
        _require_sizes(self, "image_size")
        require(min(self.std) > 0, "PreprocessConfig.std", self.std, "positive numbers")
        require(
            all(0 <= value <= 255 for value in self.background),
            "PreprocessConfig.background",
            self.background,
            "three numbers in 0..255",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The origin of weights, for readers of a directory."""

    name: str = ""
    source: str = ""
    licence: str = ""
    recipe: str = ""
    data: str = ""
    samples_seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CLIPConfig:
    """One CLIP: its towers, their shared space, pixels, vocabulary and provenance.

    Attributes:
        embed_dim: Width of the shared space.
        vision: The image tower; None for a text encoder alone.
        text: The text tower; None for an image encoder alone.
        logit_bias: True if the logits have a learned bias, as sigmoid losses need.
        tokenizer: "clip" for CLIP's own 49,408 entries, or "tokenizer.json" for the file of
            that name in the directory of the weights.
        text_cleaning: Cleaning of texts before the vocabulary.
        preprocess: Preprocessing of images; None without an image tower.
        templates: Prompts for labels, with `{}` for the label.
        provenance: The origin of the weights.
    """

    embed_dim: int
    vision: ViTConfig | ResNetConfig | None
    text: TextConfig | None
    logit_bias: bool = False
    tokenizer: Literal["clip", "tokenizer.json"] = "clip"
    text_cleaning: TextCleaning = "lower"
    preprocess: PreprocessConfig | None
    templates: tuple[str, ...] = ("a photo of a {}.",)
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def initial_logits(self) -> dict[str, float]:
        """Initial values of `logit_scale`, and of `logit_bias` if there is one."""
        if not self.logit_bias:
            return {"logit_scale": INITIAL_LOGIT_SCALE}
        return {"logit_scale": INITIAL_SIGLIP_LOGIT_SCALE, "logit_bias": INITIAL_LOGIT_BIAS}

    def __post_init__(self) -> None:
        _require_sizes(self, "embed_dim")
        require(
            bool(self.templates) and all("{}" in template for template in self.templates),
            "CLIPConfig.templates",
            self.templates,
            "at least one sentence, each with {}",
        )
        require(
            self.tokenizer != "clip" or self.text_cleaning == "lower",
            "CLIPConfig.text_cleaning",
            self.text_cleaning,
            "'lower' where tokenizer is 'clip'",
        )
        require(
            self.vision is not None or self.text is not None,
            "CLIPConfig",
            "neither vision nor text",
            "at least one tower",
        )
        require(
            (self.vision is None) == (self.preprocess is None),
            "CLIPConfig.preprocess",
            self.preprocess,
            "one for an image tower, and none without",
        )
        if self.vision is not None and self.preprocess is not None:
            require(
                self.preprocess.image_size == self.vision.image_size,
                "CLIPConfig.preprocess.image_size",
                self.preprocess.image_size,
                f"vision.image_size={self.vision.image_size}",
            )
        for name, tower in (("vision", self.vision), ("text", self.text)):
            if isinstance(tower, ViTConfig | TextConfig) and tower.projection == "none":
                require(
                    self.embed_dim == tower.width,
                    "CLIPConfig.embed_dim",
                    self.embed_dim,
                    f"{name}.width={tower.width}, which no projection changes",
                )

    @property
    def preprocess_config(self) -> PreprocessConfig:
        """The preprocessing of images.

        Raises:
            ConfigError: The model has no image tower.
        """
        if self.preprocess is None:
            raise ConfigError("images: the model has no image tower, expected one with both")
        return self.preprocess

    @property
    def text_config(self) -> TextConfig:
        """The text tower's configuration.

        Raises:
            ConfigError: The model has no text tower.
        """
        if self.text is None:
            raise ConfigError("texts: the model has no text tower, expected one with both")
        return self.text
