"""The data set card and the attribution file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinlens.data.icons.iconify import IconSet


def write_card(out: Path, manifest: Mapping[str, Any], sets: Mapping[str, IconSet]) -> None:
    """Write `README.md` and `ATTRIBUTION.md`."""
    (out / "README.md").write_text("# Open icon corpus\n")
