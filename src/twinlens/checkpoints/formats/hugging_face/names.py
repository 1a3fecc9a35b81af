"""What Hugging Face's classes are called, what their files say, and what silence means in them.

transformers writes a configuration whole, or only where it differs from its class: a key that is
not there has the class's value, and those are the tables here (as of transformers 4 and 5). Keys
that a class does not know change nothing there, nor here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from twinlens.config import OPENAI_MEAN, OPENAI_STD, Activation

Family = Literal["clip", "siglip"]
Tower = Literal["text", "vision"]

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"

ARGMAX_END = 2
"""Configurations from before transformers 4.31 have this end token, by which the class still
knows them and pools at the highest id instead."""

ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
}
INTERPOLATIONS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""By Pillow's numbers for its filters."""

RESCALE = 1 / 255
PROJECTION_DIM = 512  # of a whole CLIPModel

TOWERS: dict[tuple[Family, Tower], dict[str, Any]] = {
    ("clip", "text"): {
        "vocab_size": 49408,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "projection_dim": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "eos_token_id": 49407,
    },
    ("clip", "vision"): {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
    ("siglip", "text"): {
        "vocab_size": 32000,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 64,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
        "projection_size": None,  # as wide as the tower
    },
    ("siglip", "vision"): {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 16,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
        "vision_use_head": True,
    },
}

_EVERY_PROCESSOR: dict[str, Any] = {
    "resample": 3,
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": RESCALE,
    "do_normalize": True,
    "do_pad": None,
    "use_square_size": False,
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": {
        **_EVERY_PROCESSOR,
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": list(OPENAI_MEAN),
        "image_std": list(OPENAI_STD),
    },
    "SiglipImageProcessor": {
        **_EVERY_PROCESSOR,
        "size": {"height": 224, "width": 224},
        "do_center_crop": False,
        "crop_size": None,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
}
PROCESSOR_OF: dict[Family, str] = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A class of transformers: which towers it has, and whether what they pool is projected."""

    family: Family
    text: bool = False
    vision: bool = False
    projects: bool = True

    @property
    def model_type(self) -> str:
        """What its configuration calls it."""
        if self.text and self.vision:
            return self.family
        return f"{self.family}_{'text' if self.text else 'vision'}_model"


ARCHITECTURES = {
    "CLIPModel": Architecture(family="clip", text=True, vision=True),
    "CLIPTextModel": Architecture(family="clip", text=True, projects=False),
    "CLIPTextModelWithProjection": Architecture(family="clip", text=True),
    "CLIPVisionModel": Architecture(family="clip", vision=True, projects=False),
    "CLIPVisionModelWithProjection": Architecture(family="clip", vision=True),
    "SiglipModel": Architecture(family="siglip", text=True, vision=True),
    "SiglipTextModel": Architecture(family="siglip", text=True),
    "SiglipVisionModel": Architecture(family="siglip", vision=True, projects=False),
}
MODEL_TYPES = {architecture.model_type for architecture in ARCHITECTURES.values()}

UNNAMED = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "siglip_text_model": "SiglipTextModel",
    "siglip_vision_model": "SiglipVisionModel",
}
"""What a file without `architectures` holds. CLIP's single towers are not here: with or without a
projection, their configurations are the same."""
