"""What a run holds: the model, its optimiser and its moving average; one step; its checkpoints."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from twinlens.checkpoints.head import Classifier, Head
from twinlens.config import Provenance
from twinlens.data.left_out import LeftOut
from twinlens.data.loader import Batch
from twinlens.distributed.world import World
from twinlens.errors import CheckpointError, ConfigError
from twinlens.hardware import keep_freed_memory
from twinlens.model.clip import CLIP, MAX_LOGIT_SCALE
from twinlens.model.precision import has_fast_bf16, pick_device, place
from twinlens.train.checkpoint import (
    Facts,
    check_files,
    list_checkpoints,
    read_facts,
    read_tensors_into,
)
from twinlens.train.cpu_recompute import make_lean
from twinlens.train.finetune.initial import Start
from twinlens.train.finetune.layers import interpolate, lock, lr_scales, set_train_mode
from twinlens.train.finetune.lora import add_lora, merge_lora
from twinlens.train.loss_guard import LossGuard
from twinlens.train.objective import ClassTask, PairTask, Task, average_gradients, backward
from twinlens.train.optim import MasterAdamW, MovingAverage
from twinlens.train.parallel import Towers, checkpoint_activations, parallelise
from twinlens.train.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step came to, the same in all processes.

    Attributes:
        loss: Mean over the global batch.
        grad_norm: Length of the gradient before it is clipped.
        taken: Whether the weights were changed; not where that would have ruined them.
        sums: What the caller wanted summed over the processes.
    """

    loss: float
    grad_norm: float
    taken: bool
    sums: tuple[float, ...] = ()


class Run:
    """The model, its optimiser and its moving average: what a checkpoint holds."""

    def __init__(
        self,
        recipe: Recipe,
        data: str,
        device: str = "auto",
        world: World | None = None,
        start: Start | None = None,
    ) -> None:
        self.recipe = recipe
        self.data = data
        self.world = world or World()
        self.device = pick_device(device)
        self.guard = LossGuard()
        self.left_out = LeftOut()
        _check_shares(recipe, self.world)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = CLIP(recipe.model)
            self.initial = _begin_from(start, model) if start else {}
            head = _adapted(model, recipe, start)
        self.dtype = dtype = working_dtype(recipe.precision, self.device)
        sharded = recipe.compute.parallel == "fsdp" and self.world.group is not None
        # Sharded weights stay float32, and are the masters; torch casts them as it gathers them.
        self.model = place(model, self.device, torch.float32 if sharded else dtype)
        set_train_mode(self.model)
        towers = Towers(self.model)
        if self.device.type == "cpu":
            make_lean(towers, recompute=not recipe.compute.checkpoint_activations)
            keep_freed_memory()
        if recipe.compute.checkpoint_activations:
            checkpoint_activations(towers)
        parallel = parallelise(
            towers, self.world, self.device, kind=recipe.compute.parallel, dtype=dtype
        )
        self.head = start.head if start else None
        self.task = self._task(parallel, head, dtype)
        self.optimizer = MasterAdamW(self.model, recipe.optim, lr_scales(self.model, recipe.adapt))
        self._unround_masters()
        # Masters and average start from the same weights.
        self.average = MovingAverage(self._averaged(), recipe.optim.ema_decay)

    def _task(self, towers: nn.Module, head: Classifier | None, dtype: torch.dtype) -> Task:
        if head is None:
            return PairTask(self.model, towers, self.world, self.recipe.compute, dtype)
        smoothing = self.recipe.adapt.label_smoothing
        return ClassTask(self.model, head, towers, label_smoothing=smoothing, dtype=dtype)

    @torch.no_grad()
    def _unround_masters(self) -> None:
        """Start the masters from the checkpoint's own weights, not from the working type's."""
        exact = self.initial | ({f"{_HEAD}weight": self.head.weight} if self.head else {})
        for name, master in self.optimizer.weights.items():
            # Sharded masters were never rounded.
            if name in exact and not isinstance(master, DTensor):
                master.copy_(exact[name])

    def _averaged(self) -> dict[str, Tensor]:
        """What the moving average follows: the masters and the running statistics."""
        return self.optimizer.weights | {
            name: value for name, value in self.model.named_buffers() if value.is_floating_point()
        }

    @property
    def scale(self) -> float:
        """The inverse temperature."""
        return float(self.model.logit_scale.detach().exp())

    def train_step(self, batch: Batch, step: int, *sums: float) -> Outcome:
        """One update, or none where its loss exploded.

        Args:
            batch: This process's pairs.
            step: Steps done before.
            sums: Numbers to sum over the processes, on the same way as the loss.
        """
        lots = (self.recipe.seed, step, self.world.rank)
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        loss = backward(self.task, batch, self.recipe.compute.accum_freq, lots)
        average_gradients(self._outside(), self.world)
        norm = self.optimizer.collect()
        total, *summed = self.world.sums([float(loss), *sums])
        mean = total / self.world.world_size
        taken = self.guard.accepts(mean, norm)
        if taken:
            self._update(step, norm)
        else:
            self.optimizer.discard()
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
        return Outcome(mean, norm, taken, tuple(summed))

    def _outside(self) -> list[nn.Parameter]:
        """The parameters that no tower holds."""
        towers = ("image_tower.", "text_tower.")
        return [p for name, p in self.model.named_parameters() if not name.startswith(towers)]

    @torch.no_grad()
    def _update(self, step: int, norm: float) -> None:
        self.optimizer.step(step, self.recipe.steps, norm)
        if self.recipe.loss == "softmax":  # a sigmoid's needs no limit: SigLIP's own is above it
            self.optimizer.weights["logit_scale"].clamp_(max=MAX_LOGIT_SCALE)
        self.optimizer.write_back()
        self.average.update(self._averaged(), step)

    def shipped_model(self, provenance: Provenance | None = None) -> CLIP:
        """A float32 copy with the averaged weights, in evaluation mode, on the processor.

        Adapters are merged, and the weights that the run started from have their share. Sharded
        weights are gathered: all processes have to ask.
        """
        config, adapt = self.recipe.model, self.recipe.adapt
        model = CLIP(replace(config, provenance=provenance) if provenance else config)
        if self.initial:
            model.load_state_dict(self.initial)
        if adapt.lora_rank:
            lock(model, adapt)
            add_lora(model, adapt, self.recipe.seed)
        state = model.state_dict()
        state |= {
            name: whole(tensor)
            for name, tensor in self.average.tensors.items()
            if not name.startswith(_HEAD)
        }
        model.load_state_dict(state)
        if adapt.lora_rank:
            merge_lora(model)
        if adapt.keep < 1:
            model.load_state_dict(interpolate(self.initial, model.state_dict(), adapt.keep))
        return model.eval()

    def shipped_head(self) -> Head | None:
        """The averaged classifier, where one is trained; see `shipped_model`."""
        if self.head is None:
            return None
        weight = whole(self.average.tensors[f"{_HEAD}weight"]).float()
        kept = interpolate({"": self.head.weight}, {"": weight}, self.recipe.adapt.keep)
        return Head(self.head.classnames, kept[""])

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a resumed run needs, live: to be written, or to be read into."""
        state = self.optimizer.state_tensors()
        state |= {f"buffer/{name}": value for name, value in self.model.named_buffers()}
        if self.average.decay:
            state |= {f"average/{n}": value for n, value in self.average.tensors.items()}
        return state

    def facts(self, step: int, left_out: LeftOut) -> Facts:
        """What a checkpoint at that step says of itself.

        Args:
            step: Steps done.
            left_out: What all processes left out until then.
        """
        return Facts(
            step=step,
            samples_seen=step * self.recipe.batch_size,
            data=self.data,
            loss_mean=self.guard.mean,
            skipped_steps=self.guard.skipped,
            left_out=left_out.as_json(),
        )

    def load_newest(self, directory: Path) -> int:
        """Go on from the newest whole checkpoint; returns the steps done, 0 where there is none.

        Raises:
            CheckpointError: All of them are damaged, or the newest is of another run.
        """
        found = list_checkpoints(directory)
        chosen, problem = len(found), None
        if self.world.leads:  # one reads all files, and tells the others which to take
            chosen, problem = _newest_whole(found)
        chosen = self.world.told_by_leader(chosen)
        if chosen < 0:
            raise problem or CheckpointError(f"{directory}: got damaged checkpoints only")
        return self.load(found[chosen]) if found else 0

    def load(self, path: Path) -> int:
        """Go on from a checkpoint; returns the steps done.

        Raises:
            CheckpointError: It is damaged, or of other data or another model.
        """
        facts = read_facts(path)
        if facts.data != self.data:
            raise CheckpointError(
                f"{path}: is of other data: got {self.data}, expected {facts.data}"
            )
        read_tensors_into(self.state(), path)
        self.optimizer.write_back()
        self.guard.mean, self.guard.skipped = facts.loss_mean, facts.skipped_steps
        if self.world.leads:  # the count of all processes goes on with one of them
            self.left_out = LeftOut.from_json(facts.left_out)
        return facts.step


_HEAD = "head."
"""What the names of the classifier's parameters begin with."""


def _begin_from(start: Start, model: CLIP) -> dict[str, Tensor]:
    """Give the model the weights to start from; returns a copy of them."""
    initial = {name: value.clone() for name, value in start.model.state_dict().items()}
    model.load_state_dict(initial)
    return initial


def _adapted(model: CLIP, recipe: Recipe, start: Start | None) -> Classifier | None:
    """Lock, put in adapters, add the classifier: what is left with gradients is trained."""
    lock(model, recipe.adapt)
    if recipe.adapt.lora_rank:
        add_lora(model, recipe.adapt, recipe.seed)
    if start is None or start.head is None:
        return None
    head = Classifier(start.head.weight)
    model.add_module(_HEAD.rstrip("."), head)
    return head


def _newest_whole(found: list[Path]) -> tuple[int, CheckpointError | None]:
    """The place of the newest checkpoint that is as it was written, -1 if none is, and why."""
    problem = None
    for number in reversed(range(len(found))):
        try:
            check_files(found[number])
        except CheckpointError as error:
            problem = error
            if number:
                warnings.warn(f"{error}: going on from {found[number - 1].name}", stacklevel=3)
        else:
            return number, None
    return (-1, problem) if found else (0, None)


def _check_shares(recipe: Recipe, world: World) -> None:
    parts = world.world_size * recipe.compute.accum_freq
    if recipe.batch_size % parts:
        raise ConfigError(
            f"batch_size: got {recipe.batch_size}, expected a multiple of {parts}: "
            f"{world.world_size} processes x compute.accum_freq={recipe.compute.accum_freq}"
        )


def whole(tensor: Tensor) -> Tensor:
    """A tensor on the processor; of a sharded one all rows, for which all processes have to ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.cpu()


def working_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type to compute in; "auto" takes bf16 where the hardware multiplies it natively."""
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32
