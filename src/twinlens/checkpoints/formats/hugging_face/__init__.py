"""Hugging Face's layout.

- `layout`: the names of tensors, and writing a directory
- `config`, `describe`: its configuration read as ours, and ours as its
- `infer`: the architecture of weights without a configuration
- `tokenizer`: vocabularies, likewise
- `names`: names in transformers, and the defaults of its classes
"""

from twinlens.checkpoints.formats.hugging_face.config import is_supported_config, read_config
from twinlens.checkpoints.formats.hugging_face.infer import (
    has_hugging_face_names,
    infer_config,
    is_siglip,
)
from twinlens.checkpoints.formats.hugging_face.layout import is_ignored, key_map, write_model

__all__ = [
    "has_hugging_face_names",
    "infer_config",
    "is_ignored",
    "is_siglip",
    "is_supported_config",
    "key_map",
    "read_config",
    "write_model",
]
