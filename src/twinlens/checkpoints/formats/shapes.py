"""The sizes of a model, read from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.errors import CheckpointError


def shape_of(tensors: Mapping[str, Array], name: str, axes: int, *, family: str) -> Sequence[int]:
    """The shape of a tensor from which sizes are read.

    Args:
        tensors: All tensors of a file.
        name: The tensor's.
        axes: The number of axes it must have.
        family: The library that uses these names, in the genitive, for messages.

    Raises:
        CheckpointError: The tensor is missing, or has another number of axes or an empty one.
    """
    if name not in tensors:
        raise CheckpointError(f"got no {name}, expected one among {family} names")
    shape = tensors[name].shape
    if len(shape) != axes or min(shape) < 1:
        raise CheckpointError(f"{name}: got shape {list(shape)}, expected {axes} axes")
    return shape


def count_numbered(names: Iterable[str], prefix: str) -> int:
    """Count the numbered modules whose names begin with a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})
