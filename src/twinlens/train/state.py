"""Training state: the model, its optimiser and moving average; one step; loading checkpoints."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from twinlens.checkpoints.head import ClassifierHead
from twinlens.config import Provenance
from twinlens.data.left_out import LeftOut
from twinlens.data.loader import Batch
from twinlens.distributed.world import World
from twinlens.errors import CheckpointError, require
from twinlens.hardware import retain_freed_memory
from twinlens.model.clip import CLIP, MAX_LOGIT_SCALE
from twinlens.model.precision import has_fast_bf16, move_model, pick_device
from twinlens.train.checkpoint import (
    CheckpointMetadata,
    list_checkpoints,
    load_tensors,
    read_metadata,
    verify_files,
)
from twinlens.train.cpu_recompute import optimise_for_cpu
from twinlens.train.finetune.classifier import ClassifierModule
from twinlens.train.finetune.initial import InitialState
from twinlens.train.finetune.layers import (
    interpolate_weights,
    layer_lr_scales,
    lock_layers,
    set_train_mode,
)
from twinlens.train.finetune.lora import add_lora, merge_lora
from twinlens.train.loss_guard import LossGuard
from twinlens.train.objective import (
    ClassificationObjective,
    ContrastiveObjective,
    Objective,
    average_gradients,
    backward,
)
from twinlens.train.optim import MasterAdamW, MovingAverage
from twinlens.train.parallel import ParallelTowers, checkpoint_activations, parallelise
from twinlens.train.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of one step, the same in all processes.

    Attributes:
        loss: Mean over the global batch.
        grad_norm: Norm of the gradient before it is clipped.
        is_applied: True if the weights were updated; False if that would have ruined them.
        reduced: The `values` given to `train_step`, each summed over the processes.
    """

    loss: float
    grad_norm: float
    is_applied: bool
    reduced: tuple[float, ...] = ()


class TrainState:
    """The model, its optimiser and its moving average: the content of a checkpoint."""

    def __init__(
        self,
        recipe: Recipe,
        data_description: str,
        device: str = "auto",
        world: World | None = None,
        initial: InitialState | None = None,
    ) -> None:
        self.recipe = recipe
        self.data_description = data_description
        self.world = world or World()
        self.device = pick_device(device)
        self.loss_guard = LossGuard()
        self.left_out = LeftOut()
        _check_batch_divides(recipe, self.world)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = CLIP(recipe.model)
            self.initial_weights = _load_initial_weights(initial, model) if initial else {}
            head = _prepare_trainable(model, recipe, initial)
        self.dtype = dtype = working_dtype(recipe.precision, self.device)
        sharded = recipe.compute.parallel == "fsdp" and self.world.group is not None
        # Sharded weights stay float32 and are the masters; torch casts them when it gathers them.
        self.model = move_model(model, self.device, torch.float32 if sharded else dtype)
        set_train_mode(self.model)
        towers = ParallelTowers(self.model)
        if self.device.type == "cpu":
            optimise_for_cpu(towers, recompute=not recipe.compute.checkpoint_activations)
            retain_freed_memory()
        if recipe.compute.checkpoint_activations:
            checkpoint_activations(towers)
        parallel = parallelise(
            towers, self.world, self.device, kind=recipe.compute.parallel, dtype=dtype
        )
        self.head = initial.head if initial else None
        self.objective = self._make_objective(parallel, head, dtype)
        self.optimizer = MasterAdamW(
            self.model, recipe.optim, layer_lr_scales(self.model, recipe.adapt)
        )
        self._restore_exact_masters()
        # Masters and average start from the same weights.
        self.weight_average = MovingAverage(self._averaged_tensors(), recipe.optim.ema_decay)

    def _make_objective(
        self, towers: nn.Module, head: ClassifierModule | None, dtype: torch.dtype
    ) -> Objective:
        if head is None:
            return ContrastiveObjective(self.model, towers, self.world, self.recipe.compute, dtype)
        smoothing = self.recipe.adapt.label_smoothing
        return ClassificationObjective(
            self.model, head, towers, label_smoothing=smoothing, dtype=dtype
        )

    @torch.no_grad()
    def _restore_exact_masters(self) -> None:
        """Start the masters from the checkpoint's weights, not from their rounded copies."""
        exact = self.initial_weights | (
            {f"{_HEAD_PREFIX}weight": torch.from_numpy(self.head.weight)} if self.head else {}
        )
        for name, master in self.optimizer.named_masters.items():
            # Sharded masters were never rounded.
            if name in exact and not isinstance(master, DTensor):
                master.copy_(exact[name])

    def _averaged_tensors(self) -> dict[str, Tensor]:
        """Tensors that the moving average follows: the masters and the running statistics."""
        return self.optimizer.named_masters | {
            name: value for name, value in self.model.named_buffers() if value.is_floating_point()
        }

    @property
    def exponentiated_logit_scale(self) -> float:
        """The inverse temperature, the exponential of `logit_scale`."""
        return float(self.model.logit_scale.detach().exp())

    def train_step(self, batch: Batch, step: int, *values: float) -> StepResult:
        """Make one update, or none if its loss or gradient exploded.

        Args:
            batch: This process's pairs.
            step: Steps done before.
            values: Numbers to sum over the processes in the same collective as the loss.
        """
        seed_key = (self.recipe.seed, step, self.world.rank)
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        loss = backward(self.objective, batch, self.recipe.compute.accum_freq, seed_key)
        average_gradients(self._non_tower_parameters(), self.world)
        norm = self.optimizer.collect_gradients()
        total, *summed = self.world.all_reduce_sum([float(loss), *values])
        mean = total / self.world.world_size
        is_applied = self.loss_guard.should_step(mean, norm)
        if is_applied:
            self._apply_update(step, norm)
        else:
            self.optimizer.zero_grad()
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
        return StepResult(mean, norm, is_applied, tuple(summed))

    def _non_tower_parameters(self) -> list[nn.Parameter]:
        """The parameters outside both towers."""
        towers = ("image_tower.", "text_tower.")
        return [p for name, p in self.model.named_parameters() if not name.startswith(towers)]

    @torch.no_grad()
    def _apply_update(self, step: int, grad_norm: float) -> None:
        self.optimizer.step(step, self.recipe.steps, grad_norm)
        if self.recipe.loss == "softmax":  # SigLIP's own scale is above the limit
            self.optimizer.named_masters["logit_scale"].clamp_(max=MAX_LOGIT_SCALE)
        self.optimizer.copy_to_model()
        self.weight_average.update(self._averaged_tensors(), step)

    def averaged_model(self, provenance: Provenance | None = None) -> CLIP:
        """A float32 copy with the averaged weights, in evaluation mode, on the CPU.

        Adapters are merged and the initial weights interpolated. Sharded weights are gathered: all
        processes must call it.
        """
        config, adapt = self.recipe.model, self.recipe.adapt
        model = CLIP(replace(config, provenance=provenance) if provenance else config)
        if self.initial_weights:
            model.load_state_dict(self.initial_weights)
        if adapt.lora_rank:
            lock_layers(model, adapt)
            add_lora(model, adapt, self.recipe.seed)
        state = model.state_dict()
        state |= {
            name: full_cpu_tensor(tensor)
            for name, tensor in self.weight_average.tensors.items()
            if not name.startswith(_HEAD_PREFIX)
        }
        model.load_state_dict(state)
        if adapt.lora_rank:
            merge_lora(model)
        if adapt.interpolation < 1:
            model.load_state_dict(
                interpolate_weights(self.initial_weights, model.state_dict(), adapt.interpolation)
            )
        return model.eval()

    def averaged_head(self) -> ClassifierHead | None:
        """The averaged classifier head, if one is trained; see `averaged_model`."""
        if self.head is None:
            return None
        weight = full_cpu_tensor(self.weight_average.tensors[f"{_HEAD_PREFIX}weight"]).float()
        interpolated = interpolate_weights(
            {"": torch.from_numpy(self.head.weight)}, {"": weight}, self.recipe.adapt.interpolation
        )
        return ClassifierHead(self.head.classnames, interpolated[""].numpy())

    def state_tensors(self) -> dict[str, Tensor]:
        """Every tensor that a resumed run needs, not copied: to be written or to be read into."""
        state = self.optimizer.state_tensors()
        state |= {f"buffer/{name}": value for name, value in self.model.named_buffers()}
        if self.weight_average.decay:
            state |= {f"average/{n}": value for n, value in self.weight_average.tensors.items()}
        return state

    def checkpoint_metadata(self, step: int, left_out: LeftOut) -> CheckpointMetadata:
        """The metadata of a checkpoint at that step.

        Args:
            step: Steps done.
            left_out: Samples left out by all processes until then.
        """
        return CheckpointMetadata(
            step=step,
            samples_seen=step * self.recipe.batch_size,
            data=self.data_description,
            loss_mean=self.loss_guard.mean_loss,
            skipped_steps=self.loss_guard.skipped_steps,
            left_out=left_out.as_json(),
        )

    def load_newest_checkpoint(self, directory: Path) -> int:
        """Load the newest valid checkpoint; returns the steps done, 0 if there is none.

        Raises:
            CheckpointError: All of them are damaged, or the newest is of another run.
        """
        checkpoints = list_checkpoints(directory)
        chosen, problem = len(checkpoints), None
        if self.world.is_main:  # one process verifies the files
            chosen, problem = _newest_valid_checkpoint(checkpoints)
        chosen = self.world.broadcast(chosen)
        if chosen < 0:
            raise problem or CheckpointError(f"{directory}: got damaged checkpoints only")
        return self.load_checkpoint(checkpoints[chosen]) if checkpoints else 0

    def load_checkpoint(self, path: Path) -> int:
        """Load a checkpoint; returns the steps done.

        Raises:
            CheckpointError: It is damaged, or of other data or another model.
        """
        metadata = read_metadata(path)
        if metadata.data != self.data_description:
            raise CheckpointError(
                f"{path}: is of other data: got {self.data_description}, expected {metadata.data}"
            )
        load_tensors(self.state_tensors(), path)
        self.optimizer.copy_to_model()
        self.loss_guard.mean_loss = metadata.loss_mean
        self.loss_guard.skipped_steps = metadata.skipped_steps
        if self.world.is_main:  # one process continues the count of all
            self.left_out = LeftOut.from_json(metadata.left_out)
        return metadata.step


_HEAD_PREFIX = "head."
"""Prefix of the classifier's parameter names."""


def _load_initial_weights(start: InitialState, model: CLIP) -> dict[str, Tensor]:
    """Load the initial weights into the model; returns a copy of them."""
    initial = {name: value.clone() for name, value in start.model.state_dict().items()}
    model.load_state_dict(initial)
    return initial


def _prepare_trainable(
    model: CLIP, recipe: Recipe, start: InitialState | None
) -> ClassifierModule | None:
    """Lock layers, insert adapters and add the classifier head, which is returned."""
    lock_layers(model, recipe.adapt)
    if recipe.adapt.lora_rank:
        add_lora(model, recipe.adapt, recipe.seed)
    if start is None or start.head is None:
        return None
    head = ClassifierModule(start.head.weight)
    model.add_module(_HEAD_PREFIX.rstrip("."), head)
    return head


def _newest_valid_checkpoint(checkpoints: list[Path]) -> tuple[int, CheckpointError | None]:
    """Index of the newest checkpoint whose checksums fit, -1 if none does, and the last error."""
    problem = None
    for number in reversed(range(len(checkpoints))):
        try:
            verify_files(checkpoints[number])
        except CheckpointError as error:
            problem = error
            if number:
                older = checkpoints[number - 1].name
                warnings.warn(f"{error}: going on from {older}", stacklevel=3)
        else:
            return number, None
    return (-1, problem) if checkpoints else (0, None)


def _check_batch_divides(recipe: Recipe, world: World) -> None:
    parts = world.world_size * recipe.compute.accum_freq
    require(
        recipe.batch_size % parts == 0,
        "batch_size",
        recipe.batch_size,
        f"a multiple of {parts}: {world.world_size} processes x "
        f"compute.accum_freq={recipe.compute.accum_freq}",
    )


def full_cpu_tensor(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU; a sharded one is gathered, and all processes must call it."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.cpu()


def working_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in; "auto" is bf16 if the hardware multiplies it natively."""
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32
