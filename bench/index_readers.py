"""One writer adds and removes images for a minute while 8 processes search: no error, no wrong row.

usage: python bench/index_readers.py FOLDER [--seconds 60] [--readers 8] [--images 4000]

Half of the images stay; the writer removes and adds the other half in parts, and compacts. A reader
searches by the ids of images that stay, and checks every answer: each result's score is the cosine
of the vector that belongs to its path, and no image that stays and scores higher is missing.
"""

import argparse
import json
import multiprocessing
import random
import sys
import time
from pathlib import Path

import numpy as np

from twinlens.search.index import Index
from twinlens.search.query import Part, Query
from twinlens.search.store import Store
from twinlens.search.writer import IndexedFile, NewImage, writing

WIDTH, K = 64, 20


def vectors_of(numbers: list[int]) -> np.ndarray:
    """The vectors of numbered images."""
    made = np.stack([np.random.default_rng(n).standard_normal(WIDTH) for n in numbers])
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def add(store: Store, numbers: list[int]) -> None:
    """Index numbered images."""
    images = [NewImage(hash=f"{n:016x}", width=n, height=1) for n in numbers]
    files = [
        (IndexedFile(path=f"/photos/{n}.png", size=n, modified=n), f"{n:016x}") for n in numbers
    ]
    with writing(store) as writer:
        writer.add(images, vectors_of(numbers), files)


def write(directory: Path, changing: list[int], seconds: float, told) -> None:
    """Remove and add the changing images in parts, and compact, until the time is over."""
    store, rng, changes = Store(directory), random.Random(0), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        part = rng.sample(changing, len(changing) // 4)
        with writing(store) as writer:
            writer.remove_files([f"/photos/{n}.png" for n in part])
        changes += 1
        if changes % 5 == 0:
            with writing(store) as writer:
                writer.compact()
        add(store, part)
        changes += 1
    told.put({"writer": "done", "changes": changes})


def read(directory: Path, number: int, counts: tuple[int, int], seconds: float, told) -> None:
    """Search until the time is over, and check every answer."""
    staying, count = counts
    index, rng = Index.open(directory), random.Random(number)
    vectors = vectors_of(list(range(count)))
    searches, problems = 0, []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        query = rng.randrange(staying)
        scores = vectors @ vectors[query]
        where = rng.choice([None, "width < 1000"])
        try:
            found = index.search(
                Query((Part("id", f"{query:016x}"),)), K, where=where, min_score=None
            )
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
            continue
        searches += 1
        numbers = [int(Path(one.image).stem) for one in found]
        wrong = [
            n for n, one in zip(numbers, found, strict=True) if abs(one.score - scores[n]) > 1e-5
        ]
        limit = 1000 if where else staying
        better = set(
            np.flatnonzero(scores[: min(limit, staying)] > found[-1].score + 1e-6).tolist()
        )
        if wrong or better - set(numbers) or len(found) < K or (where and max(numbers) >= 1000):
            problems.append(f"query {query}: wrong {wrong}, missing {better - set(numbers)}")
    told.put({"reader": number, "searches": searches, "problems": problems[:5],
              "num_problems": len(problems)})  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--images", type=int, default=4000)
    given = parser.parse_args()
    names = ("model", "model_hash", "preprocessing_hash", "precision", "engine", "probes")
    store = Store.create(given.folder, WIDTH, dict.fromkeys(names, ""))
    add(store, list(range(given.images)))
    store.close()
    staying = given.images // 2
    start = multiprocessing.get_context("spawn")
    told = start.Queue()
    changing = list(range(staying, given.images))
    jobs = [(write, (given.folder, changing, given.seconds, told))]
    jobs += [
        (read, (given.folder, n, (staying, given.images), given.seconds, told))
        for n in range(given.readers)
    ]
    processes = [start.Process(target=target, args=arguments) for target, arguments in jobs]
    for process in processes:
        process.start()
    results = [told.get(timeout=given.seconds + 120) for _ in processes]
    for process in processes:
        process.join()
    searches = sum(one.get("searches", 0) for one in results)
    problems = sum(one.get("num_problems", 0) for one in results)
    changes = sum(one.get("changes", 0) for one in results)
    print(json.dumps({"searches": searches, "changes": changes, "problems": problems,
                      "examples": [p for one in results for p in one.get("problems", [])][:5]},
                     indent=2))  # fmt: skip
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
