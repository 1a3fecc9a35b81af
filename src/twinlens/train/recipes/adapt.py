"""Settings of fine-tuning: locked layers, layer-wise learning rates, adapters, interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from twinlens.errors import ConfigError, require_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapt:
    """How a run changes the model that it starts from.

    Attributes:
        unlocked_image_layers: The last blocks of the image tower that are trained, with the norm
            and projection behind them; 0 locks the tower (LiT, Zhai et al. 2022), None trains all.
        unlocked_text_layers: The same of the text tower.
        layer_decay: Each layer learns by this share of the learning rate of the one behind it.
        lora_rank: Of the adapters that are trained in place of the linear layers of what is not
            locked (LoRA, Hu et al. 2022); 0 trains the weights themselves.
        lora_alpha: The adapters count `lora_alpha / lora_rank` times.
        lora_dropout: Share of an adapter's inputs that a step does not see.
        head: "none" is contrastive; else a classifier over the image's features is trained,
            from the names of its classes ("zero-shot") or a logistic regression ("linear-probe").
        label_smoothing: Share of a label that is spread over all classes.
        keep: Share of the trained weights in what is shipped; the rest is of the weights that
            the run started from (WiSE-FT, Wortsman et al. 2022).
    """

    unlocked_image_layers: int | None = None
    unlocked_text_layers: int | None = None
    layer_decay: float = 1.0
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    head: Literal["none", "zero-shot", "linear-probe"] = "none"
    label_smoothing: float = 0.0
    keep: float = 1.0

    def __post_init__(self) -> None:
        ranges = {
            "layer_decay": (0 < self.layer_decay <= 1, "above 0 and at most 1"),
            "lora_alpha": (0 < self.lora_alpha < math.inf, "above 0"),
            "lora_dropout": (0 <= self.lora_dropout < 1, "within [0, 1)"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "within [0, 1)"),
            "keep": (0 <= self.keep <= 1, "within [0, 1]"),
        }
        require_within("adapt.unlocked_image_layers", self.unlocked_image_layers or 0, 0, 1000)
        require_within("adapt.unlocked_text_layers", self.unlocked_text_layers or 0, 0, 1000)
        require_within("adapt.lora_rank", self.lora_rank, 0, 4096)
        for name, (holds, expected) in ranges.items():
            if not holds:
                raise ConfigError(f"adapt.{name}: got {getattr(self, name)}, expected {expected}")
        if self.label_smoothing and self.head == "none":
            raise ConfigError(
                f"adapt.label_smoothing: got {self.label_smoothing}, expected 0 without adapt.head"
            )
