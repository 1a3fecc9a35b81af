"""open_clip, timm and torchvision, which tests compare with in an environment of their own.

`install.sh` makes it. Tests marked `peers` run there and nowhere else, and no other test does: what
lies in `.venv` is what users have.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

ARE_HERE = find_spec("torchvision_operators") is not None
"""Whether this is their environment; there a package that is missing is an error."""


class Elsewhere:
    """In the place of a module that is not in this environment."""

    def __init__(self, name: str) -> None:
        self.module = name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.module}.{name}: mark the test with `peers`")


def peer(name: str) -> Any:
    """A module of a peer, for the top of a file of which at least some tests are marked `peers`."""
    return import_module(name) if ARE_HERE else Elsewhere(name)
