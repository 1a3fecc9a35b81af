"""open_clip's layout.

- `layout`: where each tensor lies, and writing a directory
- `config`, `describe`: its configuration read as ours, and ours as its
- `timm_siglip`: the image towers that it takes from timm
"""

from twinlens.checkpoints.formats.open_clip.layout import (
    CONFIG_FILE,
    ignored,
    links,
    read_config,
    write,
)

__all__ = ["CONFIG_FILE", "ignored", "links", "read_config", "write"]
