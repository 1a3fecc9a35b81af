"""The runs of the experiments on objectives and on scale, which share some of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from common import (
    PREPROCESS,
    TARS,
    Contrastive,
    Objective,
    Part,
    read_part,
    read_tokenizer,
    small_clip,
)
from learners import Captions, Words, common_words
from training import Plan, Trained, read_weights, train

from twinlens.files import atomic_write_text
from twinlens.inference.preprocess import normalize

Kind = Literal["contrastive", "words", "caption"]

POINTS = tuple(6400 * n for n in (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32))
"""Pairs seen when weights are kept."""

MEASURED = tuple(6400 * 2**n for n in range(6))
"""Pairs seen when they are measured."""

RATES, TRIAL = (2e-3, 5e-3), 12_800
"""Learning rates that each objective is tried with, and for how many pairs."""

USUAL: dict[Kind, int] = {"contrastive": 0, "words": 512, "caption": 32}
"""How many training images tell what is likely to be said of any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is trained: an objective of a size, from a seed, at a learning rate."""

    kind: Kind
    size: str
    seed: int
    lr: float

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.kind}-{self.size}-{self.lr:.2g}-{self.seed}"


class Runs:
    """All runs on a corpus, and where they are kept."""

    def __init__(self, corpus: Path, folder: Path) -> None:
        torch.set_num_threads(1)
        self.folder = folder
        self.part = read_part(corpus, "train", tars=TARS)
        self.tokenizer = read_tokenizer(corpus, self.part)
        self.words = read_words(corpus, self.part)

    def make(self, run: Run) -> Objective:
        """New weights, drawn from torch's global random state."""
        config = small_clip(run.size)
        if run.kind == "words":
            return Words(config, self.words)
        kind = Contrastive if run.kind == "contrastive" else Captions
        return kind(config, self.tokenizer)

    def train(self, run: Run, pairs: int) -> Trained:
        """Train, or go on, until so many pairs are seen."""
        points = tuple(point for point in POINTS if point <= pairs)
        plan = Plan(name=run.name, seed=run.seed, lr=run.lr, points=points)
        return train(lambda: self.make(run), self.part, plan, self.folder)

    def tuned(self, kind: Kind, size: str = "m") -> Run:
        """The learning rate with the lower loss after `TRIAL` pairs, of the first seed."""
        tried = [Run(kind=kind, size=size, seed=0, lr=lr) for lr in RATES]
        return min(tried, key=lambda run: self.train(run, TRIAL).loss[-1])

    def read(self, run: Run, pairs: int) -> Objective:
        """The objective as it was after so many pairs, ready to be measured."""
        objective = read_weights(self.make(run), self.folder, run.name, pairs)
        rows = np.random.default_rng(0).permutation(len(self.part))[: USUAL[run.kind]]
        pixels = torch.from_numpy(self.part.pixels[np.sort(rows)])
        objective.usual = normalize(pixels, PREPROCESS)
        return objective


def read_words(corpus: Path, train: Part) -> list[str]:
    """The common words of the training captions, counted the first time."""
    kept = corpus / "pixels" / "words.json"
    if not kept.is_file():
        words = common_words(caption for said in train.captions for caption in said)
        atomic_write_text(json.dumps(words), kept)
    return json.loads(kept.read_text(encoding="utf-8"))


def of_seed(run: Run, seed: int) -> Run:
    """The same from another seed."""
    return replace(run, seed=seed)
