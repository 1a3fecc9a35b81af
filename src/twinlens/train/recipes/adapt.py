"""Settings of fine-tuning: locked layers, layer-wise learning rates, adapters, interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from twinlens.errors import require, require_in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptConfig:
    """Fine-tuning settings: which weights of the initial model are trained, and how.

    Attributes:
        unlocked_image_layers: Number of last blocks of the image tower that are trained, with the
            norm and projection after them; 0 locks the tower (LiT, Zhai et al. 2022), None trains
            all.
        unlocked_text_layers: The same for the text tower.
        layer_decay: Factor of the learning rate from each layer to the one before it.
        lora_rank: Rank of the adapters that are trained instead of the linear layers that are not
            locked (LoRA, Hu et al. 2022); 0 trains the weights themselves.
        lora_alpha: Adapters are scaled by `lora_alpha / lora_rank`.
        lora_dropout: Dropout rate of the adapters' inputs.
        head: "none" is contrastive; else a classifier head over the image features is trained,
            initialised from the class names ("zero-shot") or by logistic regression
            ("linear-probe").
        label_smoothing: Fraction of a label that is spread over all classes.
        interpolation: Weight of the trained weights in the written model; the rest is of the
            initial weights (WiSE-FT, Wortsman et al. 2022).
    """

    unlocked_image_layers: int | None = None
    unlocked_text_layers: int | None = None
    layer_decay: float = 1.0
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    head: Literal["none", "zero-shot", "linear-probe"] = "none"
    label_smoothing: float = 0.0
    interpolation: float = 1.0

    def __post_init__(self) -> None:
        ranges = {
            "layer_decay": (0 < self.layer_decay <= 1, "above 0 and at most 1"),
            "lora_alpha": (0 < self.lora_alpha < math.inf, "above 0"),
            "lora_dropout": (0 <= self.lora_dropout < 1, "within [0, 1)"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "within [0, 1)"),
            "interpolation": (0 <= self.interpolation <= 1, "within [0, 1]"),
        }
        require_in_range("adapt.unlocked_image_layers", self.unlocked_image_layers or 0, 0, 1000)
        require_in_range("adapt.unlocked_text_layers", self.unlocked_text_layers or 0, 0, 1000)
        require_in_range("adapt.lora_rank", self.lora_rank, 0, 4096)
        for name, (holds, expected) in ranges.items():
            require(holds, f"adapt.{name}", getattr(self, name), expected)
        unused = self.label_smoothing > 0 and self.head == "none"
        require(not unused, "adapt.label_smoothing", self.label_smoothing, "0 without adapt.head")
