"""Links: where a foreign checkpoint keeps each of our tensors, read in both directions.

A format is a list of links. Reading follows them one way, writing the other, so that what is
written is what was read, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Link:
    """One of our tensors and its place in a foreign checkpoint.

    Attributes:
        native: Its name here.
        foreign: Its names there; several where it is cut in parts.
        read: The foreign tensors as ours.
        write: Ours as the foreign tensors; the inverse of `read`.
    """

    native: str
    foreign: tuple[str, ...]
    read: Callable[[Sequence[Tensor]], Tensor]
    write: Callable[[Tensor], Sequence[Tensor]]


def same(native: str, foreign: str) -> Link:
    """The same tensor under another name."""
    return Link(native, (foreign,), lambda parts: parts[0], lambda ours: [ours])


def transposed(native: str, foreign: str) -> Link:
    """A matrix that the other stores the other way round."""
    return Link(
        native,
        (foreign,),
        # What is no matrix is reported with all that does not fit, so it passes here unchanged.
        lambda parts: parts[0].T if parts[0].ndim == 2 else parts[0],
        lambda ours: [ours.T],
    )


def reshaped(native: str, foreign: str, ours: Sequence[int], theirs: Sequence[int]) -> Link:
    """The same numbers in another shape."""
    return Link(
        native,
        (foreign,),
        # A wrong shape is reported with all the others, so it passes here unchanged.
        lambda parts: parts[0].reshape(*ours) if parts[0].shape == tuple(theirs) else parts[0],
        lambda tensor: [tensor.reshape(*theirs)],
    )


def stacked(native: str, *foreign: str) -> Link:
    """Parts of equal size, laid one after the other along the first axis."""
    return Link(native, foreign, _in_one, lambda ours: ours.chunk(len(foreign)))


def _in_one(parts: Sequence[Tensor]) -> Tensor:
    shapes = sorted(part.shape for part in parts)
    usual = shapes[len(shapes) // 2]  # where one part alone is odd, that of the others
    for part in parts:
        if part.shape != usual or not part.ndim:
            return part[None]  # fits nothing of ours, and is reported with all that does not
    return torch.cat(list(parts))


def number(name: str) -> Link:
    """A number of the same name, which may lie in a vector of one there."""
    return Link(
        name,
        (name,),
        lambda parts: parts[0].reshape(()) if parts[0].numel() == 1 else parts[0],
        lambda ours: [ours],
    )


def module(native: str, foreign: str, *names: str) -> list[Link]:
    """Tensors of one module that are called the same on both sides."""
    return [same(f"{native}.{name}", f"{foreign}.{name}") for name in names]


def layer(native: str, foreign: str) -> list[Link]:
    """A linear layer's or a norm's weight and bias."""
    return module(native, foreign, "weight", "bias")


class Linked(Mapping[str, Tensor]):
    """Foreign tensors seen by our names; each is read when it is asked for.

    A name is there if all its foreign parts are.
    """

    def __init__(self, links: Iterable[Link], tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._links = {
            link.native: link for link in links if all(name in tensors for name in link.foreign)
        }

    def __getitem__(self, name: str) -> Tensor:
        link = self._links[name]
        return link.read([self._tensors[foreign] for foreign in link.foreign])

    def __iter__(self):
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)


def written(links: Iterable[Link], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors by their foreign names, each contiguous."""
    return {
        foreign: part.contiguous()
        for link in links
        for foreign, part in zip(link.foreign, link.write(tensors[link.native]), strict=True)
    }
