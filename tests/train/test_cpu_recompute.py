"""Lean towers: the same features and gradients, and less that is kept for them."""

import pytest
import torch
import torch.nn.functional as F

from tests.tiny import tiny_clip
from twinlens.train.cpu_recompute import optimise_for_cpu, plain_attention
from twinlens.train.parallel import ParallelTowers


@pytest.mark.parametrize("causal", [False, True])
def test_plain_attention_is_attention(causal: bool):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 2, 4, 7, 8, generator=generator, dtype=torch.float64)
    theirs, ours = (inputs.clone().requires_grad_() for _ in range(2))
    expected = F.scaled_dot_product_attention(*theirs.unbind(), is_causal=causal)
    got = plain_attention(*ours.unbind(), is_causal=causal)
    torch.testing.assert_close(got, expected)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    (expected * weights).sum().backward()
    (got * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("recompute", [False, True])
def test_lean_towers_say_the_same_and_keep_less(recompute: bool):
    kept: list[int] = []
    gradients = []
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.float64)
    tokens = torch.tensor([[1, 5, 63, 0], [1, 63, 0, 0], [1, 2, 3, 63]])
    for lean in (False, True):
        model = tiny_clip().double()
        towers = ParallelTowers(model)
        if lean:
            optimise_for_cpu(towers, recompute=recompute)
        storages: dict[int, int] = {}

        def pack(tensor: torch.Tensor, seen: dict[int, int] = storages) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            image_features, text_features = towers(images, tokens[None], None)
            features = torch.cat([image_features, text_features[0]])
        kept.append(sum(storages.values()))
        features.square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert not recompute or kept[1] < kept[0]
    assert len(gradients[0]) > 20
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)
