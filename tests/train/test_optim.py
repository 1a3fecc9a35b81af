"""The optimiser against torch's, and what half precision must not lose."""

import copy

import pytest
import torch
from torch import nn

from tests.tiny import tiny_clip
from twinlens.errors import ConfigError
from twinlens.train.optim import (
    MasterAdamW,
    MovingAverage,
    OptimConfig,
    has_weight_decay,
    learning_rate,
)

CONFIG = OptimConfig(lr=1e-2, warmup_steps=0, weight_decay=0.1)


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def test_in_float32_it_is_torch_s_adamw():
    model = tiny_clip()
    reference = copy.deepcopy(model)
    named = list(reference.named_parameters())
    adamw = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if has_weight_decay(n, p)], "weight_decay": 0.1},
            {"params": [p for n, p in named if not has_weight_decay(n, p)], "weight_decay": 0.0},
        ],
        betas=CONFIG.betas,
        eps=CONFIG.eps,
    )
    ours = MasterAdamW(model, CONFIG)
    for step in range(3):
        for net in (model, reference):
            give_gradients(net, step)
        for group in adamw.param_groups:
            group["lr"] = learning_rate(step, 10, CONFIG)
        adamw.step()
        ours.step(step, 10, ours.collect_gradients())
        ours.copy_to_model()
    for (name, expected), got in zip(named, model.parameters(), strict=True):
        torch.testing.assert_close(got, expected, msg=name)


def test_updates_too_small_for_bf16_add_up():
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    ours = MasterAdamW(model, OptimConfig(lr=1e-4, warmup_steps=0, weight_decay=0.0))
    for _ in range(100):
        model.weight.grad = torch.ones_like(model.weight)
        ours.step(0, 1_000_000, ours.collect_gradients())
        ours.copy_to_model()
    assert ours.named_masters["weight"].item() == pytest.approx(0.99, abs=1e-3)
    assert model.weight.item() == pytest.approx(0.99, abs=4e-3)  # a step of 1e-4 alone is lost


def test_gains_biases_and_the_scale_do_not_decay():
    for kind in ("vit", "resnet"):
        kept = [
            name for name, p in tiny_clip(kind).named_parameters() if not has_weight_decay(name, p)
        ]
        expected = ("bias", "norm.weight", "logit_scale", "class_embedding", ".1.weight")
        assert all(name.endswith(expected) for name in kept), kept
        assert "logit_scale" in kept


def test_the_schedule_warms_up_and_ends_at_its_floor():
    config = OptimConfig(lr=2.0, warmup_steps=4, final_lr_ratio=0.1)
    rates = [learning_rate(step, 24, config) for step in range(25)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[14] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[24] == pytest.approx(0.2)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_long_gradients_are_clipped():
    model = nn.Linear(2, 1, bias=False)
    ours = MasterAdamW(model, OptimConfig(grad_clip_norm=1.0, warmup_steps=0))
    model.weight.grad = torch.tensor([[30.0, 40.0]])
    ours.step(0, 10, ours.collect_gradients())
    first_moment = ours.state_tensors()["exp_avg/weight"]
    torch.testing.assert_close(first_moment, torch.tensor([[0.06, 0.08]]))  # 0.1 x (0.6, 0.8)


def test_float32_weights_are_their_own_masters():
    model = tiny_clip()
    ours = MasterAdamW(model, CONFIG)
    held = {weight.data_ptr() for weight in ours.named_masters.values()}
    assert held == {parameter.data_ptr() for parameter in model.parameters()}
    half = MasterAdamW(tiny_clip().bfloat16(), CONFIG)
    assert all(weight.dtype == torch.float32 for weight in half.named_masters.values())


def test_shares_of_the_learning_rate():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for linear in model:
        nn.init.ones_(linear.weight)
        linear.weight.grad = torch.ones(1, 1)
    config = OptimConfig(lr=0.1, warmup_steps=0, weight_decay=0.0)
    ours = MasterAdamW(model, config, {"0.weight": 0.5})
    ours.step(0, 10, ours.collect_gradients())
    assert [linear.weight.item() for linear in model] == pytest.approx([0.95, 0.9], abs=1e-4)


def test_the_norm_is_that_of_all_gradients_as_one_vector():
    model = tiny_clip().bfloat16()
    give_gradients(model, 0)
    expected = torch.cat([p.grad.float().flatten() for p in model.parameters()]).norm().item()
    assert MasterAdamW(model, CONFIG).collect_gradients() == pytest.approx(expected, rel=1e-5)


def test_the_average_follows_and_forgets_its_start():
    average = MovingAverage({"w": torch.zeros(1)}, decay=0.9)
    for step in range(200):
        average.update({"w": torch.ones(1)}, step)
    assert average.tensors["w"].item() == pytest.approx(1.0, abs=1e-6)
    slow = MovingAverage({"w": torch.zeros(1)}, decay=0.999)
    slow.update({"w": torch.ones(1)}, 0)
    assert slow.tensors["w"].item() == pytest.approx(0.9)


def test_without_decay_the_average_is_the_weights_themselves():
    weights = {"w": torch.zeros(1)}
    average = MovingAverage(weights, decay=0.0)
    weights["w"].fill_(3.0)
    average.update(weights, 5)
    assert average.tensors["w"].item() == 3.0


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.0},
        {"lr": float("nan")},
        {"ema_decay": 1.0},
        {"warmup_steps": -1},
        {"betas": (0.9, 1.0)},
        {"final_lr_ratio": 2.0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]):
    with pytest.raises(ConfigError, match=f"optim.{next(iter(settings))}: got"):
        OptimConfig(**settings)  # pyright: ignore[reportArgumentType]
