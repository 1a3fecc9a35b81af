"""Hugging Face's layout.

- `layout`: where each tensor lies, and writing a directory
- `config`, `describe`: its configuration read as ours, and ours as its
- `infer`: the architecture of weights without a configuration
- `tokenizer`: vocabularies, likewise
- `names`: what transformers calls things, and what its classes take for granted
"""

from twinlens.checkpoints.formats.hugging_face.config import matches, read_config
from twinlens.checkpoints.formats.hugging_face.infer import infer_config, is_siglip, named
from twinlens.checkpoints.formats.hugging_face.layout import ignored, links, write

__all__ = [
    "ignored",
    "infer_config",
    "is_siglip",
    "links",
    "matches",
    "named",
    "read_config",
    "write",
]
