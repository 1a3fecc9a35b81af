"""The exam of search's cut-off: off-topic queries find nothing, names of what is there find it.

Run: python bench/search_exam.py CORPUS [--queries development] [--vectors FILE.npy] [--out FILE]

CORPUS is what `twinlens data icons --out CORPUS` built, or any directory of captioned shards.
`bench/search_exam/off_topic.txt` has 200 queries that no icon shows and `on_topic.txt` 200 names
that icons show. Both were written before the code, and nothing was fitted to them; the code was
developed on `development_off_topic.txt` and `development_on_topic.txt`.

A result is right if all words of the query are among the words of its image's captions.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens import load
from twinlens.cli.output import print_table
from twinlens.data.datasets import open_dataset
from twinlens.search.calibrate import Cutoff, calibrate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Sample
    from twinlens.embed.embedder import Embedder

QUERIES = Path(__file__).parent / "search_exam"
SHOWN = 10
SEED = 0


@dataclass(frozen=True, slots=True)
class Collection:
    """Images with their captions.

    Attributes:
        vectors: Unit vectors, float32 [image, width].
        captions: A name for each.
        words: All words of all captions of each.
        categories: A category for each; "" where it has none.
        styles: The set of icons that each is from.
    """

    vectors: NDArray[np.float32]
    captions: list[str]
    words: list[set[str]]
    categories: list[str]
    styles: list[str]

    def part(self, rows: Sequence[int]) -> Collection:
        """Some of the images."""
        return Collection(
            self.vectors[list(rows)],
            [self.captions[row] for row in rows],
            [self.words[row] for row in rows],
            [self.categories[row] for row in rows],
            [self.styles[row] for row in rows],
        )


def read_collection(lens: Embedder, corpus: Path, vectors: Path | None) -> Collection:
    """Every part of a corpus as one collection; its vectors are read if they are there."""
    parts = sorted({shard.parent for shard in corpus.rglob("*.tar")})
    samples = [sample for part in parts for sample in open_dataset(part).samples]
    if vectors and vectors.exists():
        embedded = np.load(vectors)
    else:
        embedded = embed(lens, samples)
        if vectors:
            np.save(vectors, embedded)
    if len(embedded) != len(samples):
        sys.exit(f"{vectors}: got {len(embedded)} vectors, expected {len(samples)}")
    return Collection(
        embedded,
        [sample.label or sample.captions[0] for sample in samples],
        [words_of(*sample.captions, sample.label or "") for sample in samples],
        [str(sample.metadata.get("category") or "") for sample in samples],
        [str(sample.metadata.get("style") or "") for sample in samples],
    )


def embed(lens: Embedder, samples: Sequence[Sample]) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(samples), 2048):
        images = [sample.image_bytes() for sample in samples[start : start + 2048]]
        parts.append(lens.embed_images(images))
        print(f"{start + len(images):,} of {len(samples):,}", file=sys.stderr)
    return np.concatenate(parts)


def words_of(*texts: str) -> set[str]:
    """Words without a plural's s."""
    return {word.rstrip("s") for text in texts for word in re.findall(r"\w+", text.lower())}


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to some queries.

    Attributes:
        queries: How many there are.
        returned: Those that got a result.
        first: Those of the returned whose first result is right.
        shown: Share of the shown results that are right; None without results.
        probability: Mean probability of the shown results.
    """

    queries: int
    returned: int
    first: int
    shown: float | None
    probability: float | None

    def in_words(self) -> list[str]:
        """Cells of the table."""
        share = f"{self.returned / max(1, self.queries):.1%}"
        if self.shown is None or self.probability is None:
            return [f"{self.queries}", share, "", "", ""]
        first = f"{self.first / self.returned:.1%}"
        return [f"{self.queries}", share, first, f"{self.shown:.1%}", f"{self.probability:.1%}"]


def answer(
    collection: Collection,
    queries: NDArray[np.float32],
    cutoff_of: Callable[[NDArray[np.float32]], Cutoff],
    is_right: Callable[[int, int], bool],
) -> Answers:
    """Search for each query, at most `SHOWN` results; `is_right` takes a query and a row."""
    firsts: list[bool] = []
    shown: list[bool] = []
    probabilities: list[float] = []
    for number, query in enumerate(queries):
        scores = collection.vectors @ query
        cutoff = cutoff_of(query)
        best = np.argpartition(-scores, min(SHOWN, len(scores) - 1))[:SHOWN]
        best = best[np.argsort(-scores[best])]
        kept = best[scores[best] >= cutoff.cosine]
        right = [is_right(number, row) for row in kept.tolist()]
        probabilities += cutoff.probability(scores[kept]).tolist()
        shown += right
        firsts += right[:1]
    return Answers(
        len(queries),
        len(firsts),
        sum(firsts),
        float(np.mean(shown)) if shown else None,
        float(np.mean(probabilities)) if shown else None,
    )


def check(
    lens: Embedder,
    name: str,
    collection: Collection,
    questions: dict[str, Sequence[str]],
    captions: Sequence[str] | None,
) -> list[dict[str, Any]]:
    """Calibrate a collection and ask it."""
    calibration = calibrate(collection.vectors, lens, captions, seed=SEED)
    print(
        f"{name}: cosine {calibration.text_slope:.1f}, known {calibration.text_known:.1f}, "
        f"bias {calibration.text_bias:.1f}, dropped below log-odds {calibration.text_odds:.2f}",
        file=sys.stderr,
    )
    rows: list[dict[str, Any]] = []
    for kind, queries in questions.items():
        words = [words_of(query) for query in queries]
        found = answer(
            collection,
            lens.embed_texts(queries, truncate=True),
            calibration.text_cutoff,
            lambda query, row, words=words: words[query] <= collection.words[row],
        )
        rows.append({"index": name, "images": len(collection.captions), "queries": kind})
        rows[-1]["answers"] = found
    return rows


def text_checks(
    lens: Embedder, whole: Collection, off: Sequence[str], on: Sequence[str]
) -> list[dict[str, Any]]:
    """The exam itself, and the same for parts of the collection and without captions."""
    both = {"off-topic": off, "on-topic": on}
    animals = whole.part([n for n, one in enumerate(whole.categories) if "animal" in one.lower()])
    drawn = np.random.default_rng(SEED).choice(len(whole.captions), 50, replace=False)
    few = whole.part(drawn.tolist())
    rows = check(lens, "whole", whole, both, whole.captions)
    rows += check(lens, "whole, no captions", whole, both, None)
    for name, some in (("animals", animals), ("50 images", few)):
        there = [query for query in on if any(words_of(query) <= one for one in some.words)]
        own = {"its own names": there} if name == "animals" else {"its captions": some.captions}
        asked = own | {"other names": sorted(set(on) - set(there)), "off-topic": off}
        rows += check(lens, name, some, asked, some.captions)
        rows += check(lens, f"{name}, no captions", some, asked, None)
    return rows


def image_checks(lens: Embedder, whole: Collection) -> list[dict[str, Any]]:
    """Images of a style that the index does not have: of the index's kind, and of others."""
    animal = np.array(["animal" in one.lower() for one in whole.categories])
    style = np.array(whole.styles) == "twemoji"
    index = whole.part(np.flatnonzero(animal & ~style).tolist())
    calibration = calibrate(index.vectors, lens, index.captions, seed=SEED)
    rows: list[dict[str, Any]] = []
    for kind, queries in (("images of animals", animal & style), ("others", ~animal & style)):
        numbers = np.flatnonzero(queries).tolist()
        names = [whole.captions[number] for number in numbers]
        found = answer(
            index,
            whole.vectors[numbers],
            calibration.image_cutoff,
            lambda query, row, names=names: names[query] == index.captions[row],
        )
        rows.append({"index": "animals, other styles", "images": len(index.captions)})
        rows[-1] |= {"queries": kind, "answers": found}
    return rows


COLUMNS = (
    "Index", "Images", "Queries", "Number", "Returned", "First right", "Shown right", "Probability"
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", default="icons")
    parser.add_argument("--queries", choices=("exam", "development"), default="exam")
    parser.add_argument("--vectors", type=Path, help="embedded images: read, or written if missing")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    lens = load(given.model)
    collection = read_collection(lens, given.corpus, given.vectors)
    prefix = "" if given.queries == "exam" else "development_"
    off, on = (
        (QUERIES / f"{prefix}{name}.txt").read_text(encoding="utf-8").splitlines()
        for name in ("off_topic", "on_topic")
    )
    started = time.perf_counter()
    calibration = calibrate(collection.vectors, lens, collection.captions, seed=SEED)
    print(f"calibrated in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    vector = lens.embed_texts(off[:1])[0]
    times: list[float] = []
    for _ in range(200):
        started = time.perf_counter()
        calibration.text_cutoff(vector)
        times.append(1000 * (time.perf_counter() - started))
    print(f"{np.median(times):.2f} ms a query, the median", file=sys.stderr)
    rows = text_checks(lens, collection, off, on) + image_checks(lens, collection)
    cells = [
        [row["index"], str(row["images"]), row["queries"], *row["answers"].in_words()]
        for row in rows
    ]
    print_table(COLUMNS, cells)
    if given.out:
        figures = [row | {"answers": asdict(row["answers"])} for row in rows]
        given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
