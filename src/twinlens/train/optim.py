"""The optimiser: AdamW on float32 master weights, its schedule, and a moving average.

The model computes on working weights, which may be bf16; updates far smaller than bf16's step
are kept because they are made to a float32 copy (as in the paper's mixed precision, section 2.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from twinlens.errors import MOST_STEPS, ConfigError, require_within


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedule.

    Attributes:
        lr: Largest learning rate, after the warm-up.
        betas: Decay of the two moments; (0.9, 0.98) for ViT and (0.9, 0.999) for ResNet.
        eps: Added to the root of the second moment; 1e-6 for ViT, 1e-8 for ResNet.
        weight_decay: Decoupled; not applied to gains, biases and the logit scale.
        warmup_steps: Steps of linear warm-up.
        final_lr: Where the cosine ends, as a share of `lr`.
        clip_norm: Largest norm of the gradient; 0 leaves it.
        ema_decay: Of the moving average of the weights; 0 keeps none.
    """

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.2
    warmup_steps: int = 2000
    final_lr: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[bool, str]] = {
            "lr": (0 < self.lr < math.inf, "above 0"),
            "eps": (0 < self.eps < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "clip_norm": (0 <= self.clip_norm < math.inf, "0 or more"),
            "final_lr": (0 <= self.final_lr <= 1, "within [0, 1]"),
            "ema_decay": (0 <= self.ema_decay < 1, "within [0, 1)"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers within [0, 1)"),
        }
        require_within("optim.warmup_steps", self.warmup_steps, 0, MOST_STEPS)
        for name, (holds, expected) in ranges.items():
            if not holds:
                raise ConfigError(f"optim.{name}: got {getattr(self, name)}, expected {expected}")


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Linear warm-up, then half a cosine down to `final_lr` (paper section 2.5).

    Example:
        >>> config = OptimConfig(lr=1.0, warmup_steps=10)
        >>> [round(learning_rate(step, 110, config), 2) for step in (0, 9, 10, 60, 110)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: not to gains, biases and the scale (paper section 2.5)."""
    return parameter.ndim >= 2 and not name.endswith("bias")


class MasterAdamW:
    """AdamW whose state and weights are float32, whatever the model computes in.

    Where the model computes in float32, its own parameters are the masters: nothing is there twice.
    """

    def __init__(
        self, model: nn.Module, config: OptimConfig, lr_scales: Mapping[str, float] | None = None
    ) -> None:
        """Take the parameters that are trained; `lr_scales` are shares of the learning rate."""
        self.config = config
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.working = [parameter for _, parameter in named]
        self.masters = [
            p if p.dtype == torch.float32 else p.detach().float().clone() for p in self.working
        ]
        groups: dict[tuple[bool, float, bool], list[Tensor]] = {}
        for (name, parameter), master in zip(named, self.masters, strict=True):
            # Sharded tensors and plain ones cannot be updated by one call.
            key = (decays(name, parameter), (lr_scales or {}).get(name, 1.0), is_sharded(master))
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
        for master in self.masters:
            # As the optimiser itself would make them before its first step.
            self.adamw.state[master] = {
                "step": torch.zeros((), device=master.device),
                "exp_avg": torch.zeros_like(master),
                "exp_avg_sq": torch.zeros_like(master),
            }

    @torch.no_grad()
    def collect(self) -> float:
        """Bring the working gradients to the masters; returns their norm over all processes."""
        for master, working in zip(self.masters, self.working, strict=True):
            if master is not working:
                # The fused kernel walks raw memory: a gradient needs its master's layout.
                if working.grad is not None:
                    master.grad = torch.empty_like(master).copy_(working.grad)
                working.grad = None
        return gradient_norm([master.grad for master in self.masters if master.grad is not None])

    def discard(self) -> None:
        """Forget the gradients."""
        for tensor in (*self.masters, *self.working):
            tensor.grad = None

    @torch.no_grad()
    def step(self, step: int, steps: int, norm: float) -> None:
        """Update the masters by a gradient of that norm; `write_back` makes them count."""
        if 0 < self.config.clip_norm < norm:
            for master in self.masters:
                if master.grad is not None:
                    master.grad.mul_(self.config.clip_norm / norm)
        for group in self.adamw.param_groups:
            group["lr"] = group["lr_scale"] * learning_rate(step, steps, self.config)
        self.adamw.step()
        self.discard()

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the masters into the working weights, rounding to their type."""
        for working, master in zip(self.working, self.masters, strict=True):
            if master is not working:
                working.copy_(master)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The float32 masters by name."""
        return {name: m.detach() for name, m in zip(self.names, self.masters, strict=True)}

    def state_tensors(self) -> dict[str, Tensor]:
        """Masters and moments by name: everything that a resumed run needs."""
        state = {f"master/{name}": master for name, master in self.weights.items()}
        for name, master in zip(self.names, self.masters, strict=True):
            state |= {f"{key}/{name}": value for key, value in self.adamw.state[master].items()}
        return state


def is_sharded(tensor: Tensor) -> bool:
    """Whether each process holds some rows of it only."""
    return isinstance(tensor, DTensor)


@torch.no_grad()
def gradient_norm(gradients: Sequence[Tensor]) -> float:
    """The length of all gradients taken as one vector; of sharded ones over all processes."""
    sharded = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    squares = _squares([gradient for gradient in gradients if not is_sharded(gradient)])
    if sharded:
        shares = _squares([gradient.to_local() for gradient in sharded])
        dist.all_reduce(shares, group=sharded[0].device_mesh.get_group())
        squares = squares.to(shares.device) + shares
    return math.sqrt(float(squares))


def _squares(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of all squares, on the tensors' device."""
    norms = [torch.linalg.vector_norm(tensor) for tensor in tensors]
    return torch.stack(norms).square().sum() if norms else torch.zeros(())


class MovingAverage:
    """An exponential moving average of named float32 tensors: better weights than the last ones.

    Without a decay it is those tensors themselves, and keeps nothing.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = {
            name: value.detach().clone() if decay else value.detach()
            for name, value in tensors.items()
        }

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Move towards `tensors`; faster in the first steps, to forget the initial weights."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.tensors.items():
            average.lerp_(tensors[name], 1 - decay)
