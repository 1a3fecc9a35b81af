"""Names of Hugging Face's classes and files, and the default values of their configurations.

transformers writes a configuration whole, or only where it differs from its class: a key that is
not there has the class's value, and those are the tables here (as of transformers 4 and 5). Keys
that a class does not know change nothing there, nor here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from twinlens.config import OPENAI_MEAN, OPENAI_STD, Activation

HuggingFaceFamily = Literal["clip", "siglip"]
TowerKind = Literal["text", "vision"]

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"

LEGACY_END_ID = 2
"""Configurations from before transformers 4.31 have this end token, by which the class still
knows them and pools at the highest id instead."""

ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
}
INTERPOLATION_BY_RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""Filters by Pillow's numbers."""

RESCALE_FACTOR = 1 / 255
DEFAULT_PROJECTION_DIM = 512  # of a whole CLIPModel

TOWER_DEFAULTS: dict[tuple[HuggingFaceFamily, TowerKind], dict[str, Any]] = {
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

_COMMON_PROCESSOR_DEFAULTS: dict[str, Any] = {
    "resample": 3,
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": RESCALE_FACTOR,
    "do_normalize": True,
    "do_pad": None,
    "use_square_size": False,
}
PROCESSOR_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": {
        **_COMMON_PROCESSOR_DEFAULTS,
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": list(OPENAI_MEAN),
        "image_std": list(OPENAI_STD),
    },
    "SiglipImageProcessor": {
        **_COMMON_PROCESSOR_DEFAULTS,
        "size": {"height": 224, "width": 224},
        "do_center_crop": False,
        "crop_size": None,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
}
DEFAULT_PROCESSORS: dict[HuggingFaceFamily, str] = {
    "clip": "CLIPImageProcessor",
    "siglip": "SiglipImageProcessor",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceArchitecture:
    """A class of transformers: its towers, and True in `projects` if their output is projected."""

    family: HuggingFaceFamily
    has_text: bool = False
    has_vision: bool = False
    has_projection: bool = True

    @property
    def model_type(self) -> str:
        """The `model_type` in its configuration."""
        if self.has_text and self.has_vision:
            return self.family
        return f"{self.family}_{'text' if self.has_text else 'vision'}_model"


ARCHITECTURES = {
    "CLIPModel": HuggingFaceArchitecture(family="clip", has_text=True, has_vision=True),
    "CLIPTextModel": HuggingFaceArchitecture(family="clip", has_text=True, has_projection=False),
    "CLIPTextModelWithProjection": HuggingFaceArchitecture(family="clip", has_text=True),
    "CLIPVisionModel": HuggingFaceArchitecture(
        family="clip", has_vision=True, has_projection=False
    ),
    "CLIPVisionModelWithProjection": HuggingFaceArchitecture(family="clip", has_vision=True),
    "SiglipModel": HuggingFaceArchitecture(family="siglip", has_text=True, has_vision=True),
    "SiglipTextModel": HuggingFaceArchitecture(family="siglip", has_text=True),
    "SiglipVisionModel": HuggingFaceArchitecture(
        family="siglip", has_vision=True, has_projection=False
    ),
}
MODEL_TYPES = {architecture.model_type for architecture in ARCHITECTURES.values()}

DEFAULT_ARCHITECTURES = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "siglip_text_model": "SiglipTextModel",
    "siglip_vision_model": "SiglipVisionModel",
}
"""Architectures of files without `architectures`. CLIP's single towers are not here: their
configurations are the same with and without a projection."""
