"""The one training loop of all objectives: on one core, killed at any moment, going on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from common import PREPROCESS, Mixture, Objective, Part
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from twinlens.data.images import normalize
from twinlens.errors import DataError
from twinlens.files import write_whole
from twinlens.machine import keep_freed_memory
from twinlens.train.optim import MasterAdamW, MovingAverage, OptimConfig

SAVE_EVERY = 60.0
"""Seconds between checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: everything that decides it beside the objective.

    Attributes:
        name: Of its files; unique among the runs of a folder.
        seed: Of weights, order, captions and augmentation.
        lr: Constant after the warm-up: with a moving average over the last stretch of the run,
            each point of the curve is then near what a run of that length would have ended with.
        evaluate_at: Pairs seen, rising; the last is the end of the run.
    """

    name: str
    seed: int
    lr: float
    evaluate_at: tuple[int, ...]
    batch_size: int = 256
    warmup_steps: int = 50
    weight_decay: float = 0.1

    @property
    def optim(self) -> OptimConfig:
        """AdamW; the average has the decay (1 + step) / (10 + step), a tenth of the run."""
        return OptimConfig(
            lr=self.lr,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            final_lr=1.0,
            clip_norm=1.0,
            ema_decay=0.9999,
        )


Evaluate = Callable[[Objective], Mapping[str, Bool[np.ndarray, " picture"]]]


@dataclass(slots=True)
class Trained:
    """What a run came to.

    Attributes:
        pairs: Seen at each evaluation.
        loss: Mean since the evaluation before.
        seconds: Of training, evaluation left out.
        right: By evaluation set: which pictures were named rightly, a row an evaluation.
    """

    pairs: list[int]
    loss: list[float]
    seconds: float
    right: dict[str, list[list[bool]]]

    def accuracy(self, key: str) -> NDArray[np.float64]:
        """At each evaluation."""
        return np.array(self.right[key], np.float64).mean(axis=1)


def train(
    make: Callable[[], Objective], part: Part, plan: Plan, evaluate: Evaluate, folder: Path
) -> Trained:
    """Train, or go on, or read what a finished run came to.

    Args:
        make: The objective with new weights, drawn from torch's global random state.
        part: To learn from.
        plan: The run.
        evaluate: Measures the moving average.
        folder: Of the checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished = folder / f"{plan.name}.json"
    if finished.is_file():
        read = json.loads(finished.read_text(encoding="utf-8"))
        if read.pop("plan") != json.loads(json.dumps(asdict(plan))):
            raise DataError(f"{finished}: got a run of another plan, expected {plan}")
        return Trained(**read)
    torch.manual_seed(plan.seed)
    run = _Run(make(), part, plan, folder / f"{plan.name}.pt")
    trained = run.to_end(evaluate)
    write_whole(json.dumps({"plan": asdict(plan)} | asdict(trained)), finished)
    run.path.unlink(missing_ok=True)
    return trained


class _Run:
    """A run as it goes on, saved now and then."""

    def __init__(self, objective: Objective, part: Part, plan: Plan, path: Path) -> None:
        keep_freed_memory()
        self.objective, self.plan, self.path = objective, plan, path
        self.batches = Mixture(part, plan.batch_size, plan.seed)
        self.optimizer = MasterAdamW(objective, plan.optim)
        self.average = MovingAverage(self.optimizer.weights, plan.optim.ema_decay)
        self.step, self.sum, self.done = 0, 0.0, Trained([], [], 0.0, {})
        if path.is_file():
            self._load()

    def to_end(self, evaluate: Evaluate) -> Trained:
        saved = time.monotonic()
        for pairs in self.plan.evaluate_at[len(self.done.pairs) :]:
            first, last = self.step, round(pairs / self.plan.batch_size)
            while self.step < last:
                self._one_step()
                if time.monotonic() - saved > SAVE_EVERY:
                    self._save()
                    saved = time.monotonic()
            self._measure(evaluate, max(1, self.step - first))
            self._save()
        return self.done

    def _one_step(self) -> None:
        start = time.monotonic()
        pixels, captions, concepts = self.batches.batch(self.step)
        loss = self.objective.loss(normalize(pixels, PREPROCESS), captions, concepts)
        loss.backward()
        self.optimizer.step(self.step, 10**9, self.optimizer.collect())
        self.average.update(self.optimizer.weights, self.step)
        self.step += 1
        self.sum += float(loss.detach())
        self.done.seconds += time.monotonic() - start

    def _measure(self, evaluate: Evaluate, steps: int) -> None:
        with averaged(self.objective, self.average), torch.inference_mode():
            for key, right in evaluate(self.objective).items():
                self.done.right.setdefault(key, []).append(right.tolist())
        self.done.pairs.append(self.step * self.plan.batch_size)
        self.done.loss.append(self.sum / steps)
        self.sum = 0.0
        rate = self.done.pairs[-1] / self.done.seconds
        figures = " ".join(f"{key} {np.mean(r[-1]):.2%}" for key, r in self.done.right.items())
        print(
            f"{time.strftime('%H:%M:%S')} {self.plan.name}: {self.done.pairs[-1]:,} pairs, "
            f"{rate:.0f}/s, loss {self.done.loss[-1]:.3f}, {figures}",
            flush=True,
        )

    def _save(self) -> None:
        state = {
            "step": self.step,
            "sum": self.sum,
            "done": asdict(self.done),
            "optimizer": self.optimizer.state_tensors(),
            "average": self.average.tensors,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    @torch.no_grad()
    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.step, self.sum, self.done = state["step"], state["sum"], Trained(**state["done"])
        for name, value in self.optimizer.state_tensors().items():
            value.copy_(state["optimizer"][name])
        for name, value in self.average.tensors.items():
            value.copy_(state["average"][name])


@contextmanager
def averaged(objective: Objective, average: MovingAverage) -> Iterator[None]:
    """The objective with the average as its weights; afterwards it has its own again."""
    own = {name: p.detach().clone() for name, p in objective.named_parameters()}
    try:
        _set_weights(objective, average.tensors)
        yield
    finally:
        _set_weights(objective, own)


@torch.no_grad()
def _set_weights(objective: Objective, weights: Mapping[str, Tensor]) -> None:
    for name, parameter in objective.named_parameters():
        parameter.copy_(weights[name])
