"""A small index of numbered vectors, without a model."""

from pathlib import Path

import numpy as np

from twinlens.search.store import Store
from twinlens.search.writer import IndexedFile, NewImage, writing

WIDTH = 8


def vectors(*numbers: int) -> np.ndarray:
    made = np.zeros((len(numbers), WIDTH))
    for place, number in enumerate(numbers):
        made[place] = np.random.default_rng(number).standard_normal(WIDTH)
        made[place] /= np.linalg.norm(made[place])
    return made.astype(np.float32)


def new_store(directory: Path) -> Store:
    return Store.create(directory, WIDTH, {"model": "icons"})


def image(n: int) -> NewImage:
    return NewImage(hash=f"hash {n}", width=10 * n, height=20 * n)


def file(n: int) -> IndexedFile:
    return IndexedFile(path=f"{n}.png", size=n, modified=n, source="photos")


def add(store: Store, *numbers: int) -> None:
    with writing(store) as writer:
        writer.add(
            [image(n) for n in numbers],
            vectors(*numbers),
            [(file(n), f"hash {n}") for n in numbers],
        )


def content(store: Store) -> dict[str, list[float]]:
    """The vector of each file."""
    found = store.read()
    rows = [row for row in range(len(found.vectors)) if row not in found.holes]
    return {
        path: found.vectors[row].tolist()
        for row, one in zip(rows, store.describe(rows), strict=True)
        for path in one["paths"]
    }
