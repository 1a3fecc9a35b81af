"""The optimiser: AdamW on float32 master weights, its schedule, and a moving average.

The model computes on working weights, which may be bf16; updates far smaller than bf16's step
are kept because they are made to a float32 copy (as in the paper's mixed precision, section 2.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twinlens.errors import ConfigError


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
            "warmup_steps": (self.warmup_steps >= 0, "0 or more"),
            "clip_norm": (0 <= self.clip_norm < math.inf, "0 or more"),
            "final_lr": (0 <= self.final_lr <= 1, "within [0, 1]"),
            "ema_decay": (0 <= self.ema_decay < 1, "within [0, 1)"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers within [0, 1)"),
        }
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
    """AdamW whose state and weights are float32, whatever the model computes in."""

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        self.config = config
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.working = [parameter for _, parameter in named]
        self.masters = [parameter.detach().float().clone() for parameter in self.working]
        pairs = list(zip(named, self.masters, strict=True))
        groups = [
            {
                "params": [m for (n, p), m in pairs if decays(n, p)],
                "weight_decay": config.weight_decay,
            },
            {"params": [m for (n, p), m in pairs if not decays(n, p)], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(
            groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True
        )

    @torch.no_grad()
    def step(self, step: int, steps: int) -> None:
        """Update the masters from the working gradients; `write_back` makes them count."""
        for master, working in zip(self.masters, self.working, strict=True):
            # The fused kernel walks raw memory: gradient and moments need the master's layout.
            if working.grad is not None:
                master.grad = torch.empty_like(master).copy_(working.grad)
            working.grad = None
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.masters, self.config.clip_norm)
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate(step, steps, self.config)
        self.adamw.step()
        self.adamw.zero_grad()

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the masters into the working weights, rounding to their type."""
        for working, master in zip(self.working, self.masters, strict=True):
            working.copy_(master)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The float32 masters by name."""
        return dict(zip(self.names, self.masters, strict=True))

    def state_tensors(self) -> dict[str, Tensor]:
        """Masters and moments by name: everything that a resumed run needs."""
        state = {f"master/{name}": master for name, master in self.weights.items()}
        for name, master in self.weights.items():
            state |= {f"{key}/{name}": value for key, value in self.adamw.state[master].items()}
        return state

    @torch.no_grad()
    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_tensors` gave; the working weights follow."""
        for name, master in self.weights.items():
            master.copy_(state[f"master/{name}"])
            self.adamw.state[master] = {"step": state[f"step/{name}"].clone()} | {
                moment: torch.empty_like(master).copy_(state[f"{moment}/{name}"])
                for moment in ("exp_avg", "exp_avg_sq")
            }
        self.write_back()


class MovingAverage:
    """An exponential moving average of named float32 tensors: better weights than the last ones."""

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Move towards `tensors`; faster in the first steps, to forget the initial weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.tensors.items():
            average.lerp_(tensors[name], 1 - decay)
