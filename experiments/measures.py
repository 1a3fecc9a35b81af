"""What trained objectives are asked, on parts of the corpus that no training image is like."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import Objective, Part, only_names, read_part, right, score_names
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from runs import Run, Runs

from twinlens.files import atomic_write_text

NAMES, SEED = 1000, 0
"""Names of unseen concepts that are told apart, and how they are drawn, as in `bench/icons.py`."""

FEW = 100
"""As many names are told apart where the question is to be easier."""

Right = dict[str, Bool[np.ndarray, " image"]]


@dataclass(frozen=True, slots=True)
class Question:
    """Which of these names is this?"""

    part: Part
    names: list[str]


def unseen_style(corpus: Path) -> Question:
    """Emoji of a style that was never seen, among the names of all of them."""
    part = read_part(corpus, "unseen-style")
    return Question(part, sorted(set(part.names)))


def unseen_concepts(corpus: Path) -> Question:
    """Things that were never seen."""
    part = read_part(corpus, "unseen-concepts")
    known = sorted(set(part.names))
    drawn = np.random.default_rng(SEED).permutation(len(known))[:NAMES]
    names = [known[i] for i in sorted(drawn.tolist())]
    return Question(only_names(part, names), names)


def unseen_both(corpus: Path) -> Question:
    """Things that were never seen, in a style that was never seen."""
    part = read_part(corpus, "unseen-both")
    return Question(part, sorted(set(part.names)))


def among_all(objective: Objective, question: Question) -> Right:
    """By each way to score: whether an image's name is the first of all, or one of five."""
    scores = score_names(objective, question.part, question.names)
    return {
        f"{key}@{k}": right(rows, question.part, question.names, k)
        for key, rows in scores.items()
        for k in (1, 5)
    }


def among_few(
    scores: Float[torch.Tensor, "image name"], question: Question, groups: Sequence[Sequence[str]]
) -> list[Bool[np.ndarray, " image"]]:
    """For each group of names, which of its images are named rightly among them."""
    places = {name: i for i, name in enumerate(question.names)}
    found: list[Bool[np.ndarray, " image"]] = []
    for names in groups:
        wanted = set(names)
        rows = [i for i, name in enumerate(question.part.names) if name in wanted]
        own = [places[question.part.names[row]] for row in rows]
        columns = torch.tensor([places[name] for name in names])
        best = columns[scores[rows][:, columns].argmax(dim=1)]
        found.append((best == torch.tensor(own)).numpy())
    return found


def categories(question: Question) -> dict[str, list[str]]:
    """The names of each category of emoji that has enough: seven flags would weigh too much."""
    of_name = dict(zip(question.part.names, question.part.groups, strict=True))
    groups: dict[str, list[str]] = {}
    for name in question.names:
        groups.setdefault(of_name[name], []).append(name)
    return {group: names for group, names in groups.items() if len(names) >= FEW // 2}


def measured(
    runs: Runs, run: Run, pairs: int, what: str, measure: Callable[[Objective], Right]
) -> Right:
    """What `measure` finds of a run after so many pairs; measured once, and kept beside it."""
    kept = runs.folder / run.name / f"{pairs}-{what}.json"
    if not kept.is_file():
        found = measure(runs.read(run, pairs))
        said = {key: "".join(map(str, rows.astype(int).tolist())) for key, rows in found.items()}
        atomic_write_text(json.dumps(said), kept)
        print(run.name, pairs, {k: f"{v.mean():.2%}" for k, v in found.items()}, flush=True)
    read: Mapping[str, str] = json.loads(kept.read_text(encoding="utf-8"))
    return {key: np.array([one == "1" for one in rows]) for key, rows in read.items()}


def resampled(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many of so many things, drawn with replacement."""
    return rng.integers(0, count, count)
