"""open_clip's layout.

- `layout`: the names of tensors, and writing a directory
- `config`, `describe`: its configuration read as ours, and ours as its
- `timm_siglip`: the image towers that it takes from timm
"""

from twinlens.checkpoints.formats.open_clip.layout import (
    CONFIG_FILE,
    is_ignored,
    key_map,
    read_config,
    write_model,
)

__all__ = ["CONFIG_FILE", "is_ignored", "key_map", "read_config", "write_model"]
