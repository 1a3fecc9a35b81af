"""The one training loop of all objectives: on one core, stopped at any moment, and resumed.

A run leaves the moving average of its weights at several points; measuring them is for later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from common import PREPROCESS, Mixture, Objective, Part
from torch import Tensor

from twinlens.errors import DataError
from twinlens.files import atomic_write_text
from twinlens.hardware import retain_freed_memory
from twinlens.inference.preprocess import normalize
from twinlens.train.optim import MasterAdamW, MovingAverage, OptimConfig

BATCH_SIZE = 128
SAVE_EVERY = 60.0
"""Seconds between checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: everything that decides it beside the objective.

    Attributes:
        name: Of its folder; unique among the runs.
        seed: Of weights, order, captions and augmentation.
        lr: Constant after the warm-up: with a moving average over the last stretch of the run,
            each point of the curve is then near what a run of that length would have ended with.
        points: Pairs seen at which weights are kept, rising; the last is the end of the run.
    """

    name: str
    seed: int
    lr: float
    points: tuple[int, ...]
    batch_size: int = BATCH_SIZE
    warmup_steps: int = 50
    weight_decay: float = 0.1

    @property
    def optim(self) -> OptimConfig:
        """AdamW; the average has the decay (1 + step) / (10 + step): about a tenth of the run."""
        return OptimConfig(
            lr=self.lr,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            final_lr_ratio=1.0,
            grad_clip_norm=1.0,
            ema_decay=0.9999,
        )


@dataclass(slots=True)
class Trained:
    """What a run came to.

    Attributes:
        pairs: Seen at each point.
        loss: Mean since the point before.
        seconds: Of training up to it.
    """

    pairs: list[int] = field(default_factory=list[int])
    loss: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])

    def at(self, points: Sequence[int]) -> Trained:
        """Those points alone."""
        rows = [self.pairs.index(pairs) for pairs in points]
        return Trained(
            [self.pairs[row] for row in rows],
            [self.loss[row] for row in rows],
            [self.seconds[row] for row in rows],
        )


def train(make: Callable[[], Objective], part: Part, plan: Plan, folder: Path) -> Trained:
    """Train, go on, or read what a finished run came to; a finished one goes on to later points.

    Args:
        make: The objective with new weights, drawn from torch's global random state.
        part: To learn from.
        plan: The run.
        folder: Of the runs; each has its own in it.
    """
    home = folder / plan.name
    home.mkdir(parents=True, exist_ok=True)
    said, written = json.loads(json.dumps(asdict(plan) | {"points": None})), home / "plan.json"
    if written.is_file() and json.loads(written.read_text(encoding="utf-8")) != said:
        raise DataError(f"{written}: got a run of another plan, expected {said}")
    atomic_write_text(json.dumps(said), written)
    torch.manual_seed(plan.seed)
    return _Run(make(), part, plan, home).to_end()


def read_weights(objective: Objective, folder: Path, name: str, pairs: int) -> Objective:
    """The objective with the weights that a run had after so many pairs."""
    weights = torch.load(folder / name / f"{pairs}.pt", weights_only=True)
    objective.load_state_dict(weights)
    return objective.eval()


class _Run:
    """A run as it goes on, saved now and then."""

    def __init__(self, objective: Objective, part: Part, plan: Plan, home: Path) -> None:
        retain_freed_memory()
        self.objective, self.plan, self.home = objective, plan, home
        self.batches = Mixture(part, plan.batch_size, plan.seed)
        self.optimizer = MasterAdamW(objective, plan.optim)
        self.average = MovingAverage(self.optimizer.named_masters, plan.optim.ema_decay)
        self.step, self.sum, self.took, self.done = 0, 0.0, 0.0, Trained()
        if (home / "state.pt").is_file():
            self._load()

    def to_end(self) -> Trained:
        saved = time.monotonic()
        for pairs in self.plan.points:
            if pairs in self.done.pairs:
                continue
            while self.step * self.plan.batch_size < pairs:
                self._one_step()
                if time.monotonic() - saved > SAVE_EVERY:
                    self._save()
                    saved = time.monotonic()
            self._keep(pairs)
            self._save()
        return self.done.at(self.plan.points)

    def _one_step(self) -> None:
        start = time.monotonic()
        pixels, captions, concepts = self.batches.batch(self.step)
        loss = self.objective.loss(normalize(pixels, PREPROCESS), captions, concepts)
        loss.backward()
        # Of endless steps: the learning rate stays where the warm-up ends.
        self.optimizer.step(self.step, 10**9, self.optimizer.collect_gradients())
        self.average.update(self.optimizer.named_masters, self.step)
        self.step += 1
        self.sum += float(loss.detach())
        self.took += time.monotonic() - start

    def _keep(self, pairs: int) -> None:
        """Weights and loss of this point; the average has none of what is not trained."""
        write_tensors(self.average.tensors, self.home / f"{pairs}.pt")
        steps = self.step - sum(self.done.pairs[-1:]) // self.plan.batch_size
        self.done.pairs.append(pairs)
        self.done.loss.append(self.sum / max(1, steps))
        self.done.seconds.append(self.took)
        self.sum = 0.0
        print(
            f"{time.strftime('%H:%M:%S')} {self.plan.name}: {pairs:,} pairs, "
            f"{pairs / self.took:.0f}/s, loss {self.done.loss[-1]:.3f}",
            flush=True,
        )

    def _save(self) -> None:
        state = {"step": self.step, "sum": self.sum, "took": self.took, "done": asdict(self.done)}
        tensors = {"optimizer": self.optimizer.state_tensors(), "average": self.average.tensors}
        write_tensors(state | tensors, self.home / "state.pt")

    @torch.no_grad()
    def _load(self) -> None:
        state = torch.load(self.home / "state.pt", weights_only=True)
        self.step, self.sum, self.took = state["step"], state["sum"], state["took"]
        self.done = Trained(**state["done"])
        for name, value in self.optimizer.state_tensors().items():
            value.copy_(state["optimizer"][name])
        for name, value in self.average.tensors.items():
            value.copy_(state["average"][name])


def write_tensors(state: Mapping[str, object] | Mapping[str, Tensor], path: Path) -> None:
    """All or nothing."""
    partial = path.with_suffix(".partial")
    torch.save(dict(state), partial)
    partial.replace(path)
