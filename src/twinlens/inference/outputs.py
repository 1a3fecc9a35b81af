"""The outputs of a tower: embeddings, patch tokens, hidden states."""

from __future__ import annotations

import re
from typing import Literal

from twinlens.config import CLIPConfig, ResNetConfig, ViTConfig
from twinlens.errors import ConfigError

_HIDDEN = re.compile(r"hidden:(-?\d{1,4})")


def hidden_block(output: str, layers: int) -> int | None:
    """The number of blocks before hidden states: 0 to `layers`; None for other outputs.

    "hidden:0" is the input of the first block, "hidden:-1" the output of the last, "hidden:-2"
    the penultimate states; none is normalised. The numbers are those of transformers'
    `hidden_states`.

    Raises:
        ConfigError: The transformer has no such state.

    Example:
        >>> hidden_block("hidden:-2", 12), hidden_block("patches", 12)
        (11, None)
    """
    found = _HIDDEN.fullmatch(output)
    if found is None:
        return None
    number = int(found[1])
    if not -layers - 1 <= number <= layers:
        raise ConfigError(
            f"output: got {output!r}, expected hidden:{-layers - 1} to hidden:{layers}: "
            f"the tower has {layers} blocks"
        )
    return number % (layers + 1)


def require_output(tower: Literal["image", "text"], output: str, config: CLIPConfig) -> None:
    """Make sure that a tower has an output.

    Raises:
        ConfigError: It has not.
    """
    sizes = config.vision if tower == "image" else config.text
    assert sizes is not None
    if output in (("embedding", "features", "patches") if tower == "image" else ("embedding",)):
        return
    if isinstance(sizes, ResNetConfig):
        expected = "'embedding' or 'patches' of a ResNet"
    elif hidden_block(output, sizes.layers) is not None:
        return
    elif tower == "image":
        expected = "'embedding', 'patches' or hidden states as 'hidden:-2'"
    else:
        expected = "'embedding' or hidden states as 'hidden:-2' of texts"
    raise ConfigError(f"output: got {output!r}, expected {expected}")


def image_output_shape(config: CLIPConfig, output: str) -> tuple[int, ...]:
    """The shape of an image's output."""
    vision = config.vision
    if output == "embedding" or (output == "features" and not has_own_features(config)):
        return (config.embed_dim,)
    if isinstance(vision, ResNetConfig):
        return ((config.preprocess_config.image_size // 32) ** 2, 32 * vision.width)
    assert vision is not None
    if output == "features":
        return (vision.width,)
    patches = (vision.image_size // vision.patch_size) ** 2
    has_class_token = vision.pooling == "class" and output != "patches"
    return (patches + has_class_token, vision.width)


def has_own_features(config: CLIPConfig) -> bool:
    """True if a linear probe reads features of the tower's width, before the projection."""
    return isinstance(config.vision, ViTConfig) and config.vision.pooling == "class"
