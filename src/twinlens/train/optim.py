"""AdamW on float32 master weights, its learning rate schedule, and a moving average of weights.

The model computes with working weights, which may be bf16; updates far smaller than bf16's step are
not lost because they are made to a float32 copy (as in the paper's mixed precision, section 2.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from twinlens.errors import MAX_STEPS, require, require_in_range


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedule.

    Attributes:
        lr: Peak learning rate, after the warm-up.
        betas: Decay of the two moments; (0.9, 0.98) for ViT and (0.9, 0.999) for ResNet.
        eps: Added to the root of the second moment; 1e-6 for ViT, 1e-8 for ResNet.
        weight_decay: Decoupled; not applied to gains, biases and the logit scale.
        warmup_steps: Steps of linear warm-up.
        final_lr_ratio: Learning rate at the end of the cosine, as a fraction of `lr`.
        grad_clip_norm: Maximum norm of the gradient; 0 does not clip.
        ema_decay: Decay of the moving average of the weights; 0 for no average.
    """

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.2
    warmup_steps: int = 2000
    final_lr_ratio: float = 0.0
    grad_clip_norm: float = 0.0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[bool, str]] = {
            "lr": (0 < self.lr < math.inf, "above 0"),
            "eps": (0 < self.eps < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "grad_clip_norm": (0 <= self.grad_clip_norm < math.inf, "0 or more"),
            "final_lr_ratio": (0 <= self.final_lr_ratio <= 1, "within [0, 1]"),
            "ema_decay": (0 <= self.ema_decay < 1, "within [0, 1)"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers within [0, 1)"),
        }
        require_in_range("optim.warmup_steps", self.warmup_steps, 0, MAX_STEPS)
        for name, (holds, expected) in ranges.items():
            require(holds, f"optim.{name}", getattr(self, name), expected)


def learning_rate(step: int, total_steps: int, config: OptimConfig) -> float:
    """Linear warm-up, then half a cosine down to `final_lr_ratio` (paper section 2.5).

    Example:
        >>> config = OptimConfig(lr=1.0, warmup_steps=10)
        >>> [round(learning_rate(step, 110, config), 2) for step in (0, 9, 10, 60, 110)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    cosine = (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return config.lr * (config.final_lr_ratio + (1 - config.final_lr_ratio) * cosine)


def has_weight_decay(name: str, parameter: Tensor) -> bool:
    """True if weight decay applies: not to gains, biases and the scale (paper section 2.5)."""
    return parameter.ndim >= 2 and not name.endswith("bias")


class MasterAdamW:
    """AdamW with float32 state and master weights, whatever dtype the model computes in.

    If the model computes in float32, its own parameters are the masters: nothing is stored twice.
    """

    def __init__(
        self, model: nn.Module, config: OptimConfig, lr_scales: Mapping[str, float] | None = None
    ) -> None:
        """Collect the trained parameters; `lr_scales` multiply the learning rate."""
        self.config = config
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.parameter_names = [name for name, _ in named]
        self.working_weights = [parameter for _, parameter in named]
        self.master_weights = [
            p if p.dtype == torch.float32 else p.detach().float().clone()
            for p in self.working_weights
        ]
        groups: dict[tuple[bool, float, bool], list[Tensor]] = {}
        for (name, parameter), master in zip(named, self.master_weights, strict=True):
            # Sharded tensors and plain ones cannot be updated by one call.
            key = (
                has_weight_decay(name, parameter),
                (lr_scales or {}).get(name, 1.0),
                is_sharded(master),
            )
            groups.setdefault(key, []).append(master)
        self.adamw = torch.optim.AdamW(
            [
                {
                    "params": masters,
                    "weight_decay": config.weight_decay if decayed else 0.0,
                    "lr_scale": scale,
                }
                for (decayed, scale, _), masters in groups.items()
            ],
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            fused=True,
        )
        for master in self.master_weights:
            # As AdamW would make them at its first step.
            self.adamw.state[master] = {
                "step": torch.zeros((), device=master.device),
                "exp_avg": torch.zeros_like(master),
                "exp_avg_sq": torch.zeros_like(master),
            }

    @torch.no_grad()
    def collect_gradients(self) -> float:
        """Move the working gradients to the masters; returns their norm over all processes."""
        for master, working in zip(self.master_weights, self.working_weights, strict=True):
            if master is not working:
                # The fused kernel reads raw memory: a gradient needs its master's layout.
                if working.grad is not None:
                    master.grad = torch.empty_like(master).copy_(working.grad)
                working.grad = None
        return gradient_norm(
            [master.grad for master in self.master_weights if master.grad is not None]
        )

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for tensor in (*self.master_weights, *self.working_weights):
            tensor.grad = None

    @torch.no_grad()
    def step(self, step: int, total_steps: int, grad_norm: float) -> None:
        """Update the masters by gradients of that norm; `copy_to_model` must follow."""
        if 0 < self.config.grad_clip_norm < grad_norm:
            for master in self.master_weights:
                if master.grad is not None:
                    master.grad.mul_(self.config.grad_clip_norm / grad_norm)
        for group in self.adamw.param_groups:
            group["lr"] = group["lr_scale"] * learning_rate(step, total_steps, self.config)
        self.adamw.step()
        self.zero_grad()

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Copy the masters into the working weights, rounded to their dtype."""
        for working, master in zip(self.working_weights, self.master_weights, strict=True):
            if master is not working:
                working.copy_(master)

    @property
    def named_masters(self) -> dict[str, Tensor]:
        """The float32 masters by name."""
        return {
            name: m.detach()
            for name, m in zip(self.parameter_names, self.master_weights, strict=True)
        }

    def state_tensors(self) -> dict[str, Tensor]:
        """Masters and moments by name, which a resumed run needs."""
        state = {f"master/{name}": master for name, master in self.named_masters.items()}
        for name, master in zip(self.parameter_names, self.master_weights, strict=True):
            state |= {f"{key}/{name}": value for key, value in self.adamw.state[master].items()}
        return state


def is_sharded(tensor: Tensor) -> bool:
    """True if each process has only some rows of the tensor."""
    return isinstance(tensor, DTensor)


@torch.no_grad()
def gradient_norm(gradients: Sequence[Tensor]) -> float:
    """Norm of all gradients as one vector; sharded gradients are summed over all processes."""
    sharded = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    squares = _sum_of_squares([gradient for gradient in gradients if not is_sharded(gradient)])
    if sharded:
        shares = _sum_of_squares([gradient.to_local() for gradient in sharded])
        dist.all_reduce(shares, group=sharded[0].device_mesh.get_group())
        squares = squares.to(shares.device) + shares
    return math.sqrt(float(squares))


def _sum_of_squares(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of all squares, on the tensors' device."""
    norms = [torch.linalg.vector_norm(tensor) for tensor in tensors]
    return torch.stack(norms).square().sum() if norms else torch.zeros(())


class MovingAverage:
    """Exponential moving average of named float32 tensors.

    With a decay of 0 it is the tensors themselves, without a copy.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = {
            name: value.detach().clone() if decay else value.detach()
            for name, value in tensors.items()
        }

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Move towards `tensors`, faster in the first steps to forget the initial weights."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.tensors.items():
            average.lerp_(tensors[name], 1 - decay)
