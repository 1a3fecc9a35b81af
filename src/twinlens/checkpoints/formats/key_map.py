"""Key maps: the foreign names of each of our tensors, and the conversion in both directions.

A format is a list of mappings, used for reading and for writing, so that a model that is read and
written again is equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.checkpoints.formats.storage.tensors import LazyTensors


@dataclass(frozen=True, slots=True)
class KeyMapping:
    """One of our tensors and its names in a foreign checkpoint.

    Attributes:
        native_name: Our name.
        foreign_names: The foreign names; several if the tensor is split.
        from_foreign: Converts the foreign tensors to ours.
        to_foreign: Converts ours to the foreign tensors; the inverse of `from_foreign`.
    """

    native_name: str
    foreign_names: tuple[str, ...]
    from_foreign: Callable[[Sequence[Array]], Array]
    to_foreign: Callable[[Array], Sequence[Array]]


def renamed(native: str, foreign: str) -> KeyMapping:
    """The same tensor under another name."""
    return KeyMapping(native, (foreign,), lambda parts: parts[0], lambda ours: [ours])


def transposed(native: str, foreign: str) -> KeyMapping:
    """A matrix that is stored transposed in the foreign checkpoint."""
    return KeyMapping(
        native,
        (foreign,),
        # What is no matrix is reported with all that does not fit, so it passes here unchanged.
        lambda parts: parts[0].T if parts[0].ndim == 2 else parts[0],
        lambda ours: [ours.T],
    )


def reshaped(native: str, foreign: str, ours: Sequence[int], theirs: Sequence[int]) -> KeyMapping:
    """The same numbers in another shape."""
    return KeyMapping(
        native,
        (foreign,),
        # A wrong shape is reported with all the others, so it passes here unchanged.
        lambda parts: parts[0].reshape(*ours) if parts[0].shape == tuple(theirs) else parts[0],
        lambda tensor: [tensor.reshape(*theirs)],
    )


def concatenated(native: str, *foreign: str) -> KeyMapping:
    """Parts of equal size, concatenated along the first axis."""
    return KeyMapping(native, foreign, _concatenate, lambda ours: np.split(ours, len(foreign)))


def _concatenate(parts: Sequence[Array]) -> Array:
    # If one part has another shape than the rest, that of the rest.
    usual = sorted(part.shape for part in parts)[len(parts) // 2]
    for part in parts:
        if part.shape != usual or not part.ndim:
            return part[None]  # fits nothing of ours, and is reported with all that does not
    return np.concatenate(parts)


def scalar(name: str, *, listed: bool = False) -> KeyMapping:
    """A number of the same name, which foreign files may hold as a vector of one.

    Args:
        name: In both checkpoints.
        listed: True to write it as a vector.
    """
    return KeyMapping(
        name,
        (name,),
        lambda parts: parts[0].reshape(()) if parts[0].size == 1 else parts[0],
        lambda ours: [ours.reshape((1,) if listed else ())],
    )


def module_key_map(native: str, foreign: str, *names: str) -> list[KeyMapping]:
    """Tensors of one module that have the same names in both checkpoints."""
    return [renamed(f"{native}.{name}", f"{foreign}.{name}") for name in names]


def weight_and_bias(native: str, foreign: str) -> list[KeyMapping]:
    """A linear layer's or a norm's weight and bias."""
    return module_key_map(native, foreign, "weight", "bias")


def to_native_tensors(key_map: Iterable[KeyMapping], tensors: Mapping[str, Array]) -> LazyTensors:
    """Foreign tensors by our names, converted when they are used.

    A name is present if all its foreign parts are.
    """

    def convert(mapping: KeyMapping) -> Array:
        return mapping.from_foreign([tensors[foreign] for foreign in mapping.foreign_names])

    return LazyTensors(
        {
            mapping.native_name: partial(convert, mapping)
            for mapping in key_map
            if all(name in tensors for name in mapping.foreign_names)
        }
    )


def to_foreign_tensors(
    key_map: Iterable[KeyMapping], tensors: Mapping[str, Array]
) -> dict[str, Array]:
    """Convert our tensors; those with one foreign name are concatenated in their order."""
    parts: dict[str, list[Array]] = {}
    for mapping in key_map:
        for foreign, part in zip(
            mapping.foreign_names, mapping.to_foreign(tensors[mapping.native_name]), strict=True
        ):
            parts.setdefault(foreign, []).append(part)
    return {
        foreign: np.concatenate(found) if len(found) > 1 else found[0]
        for foreign, found in parts.items()
    }
