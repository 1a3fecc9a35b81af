"""The blocks against torch's own independent modules with the same weights."""

import pytest
import torch
from torch import nn

from twinlens.config import TextConfig
from twinlens.model.layers import Attention, QuickGELU, Transformer
from twinlens.model.resnet import AttentionPool
from twinlens.model.vision import PatchEmbedding


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_torch_multihead_attention(causal: bool):
    torch.manual_seed(0)
    ours, reference = (
        Attention(16, 4, causal=causal),
        nn.MultiheadAttention(16, 4, batch_first=True),
    )
    reference.in_proj_weight.data = ours.qkv.weight.data
    reference.in_proj_bias.data = ours.qkv.bias.data
    reference.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(3, 5, 16)
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), diagonal=1) if causal else None
    expected, _ = reference(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(ours(x), expected)


def test_patch_embedding_equals_a_strided_convolution():
    torch.manual_seed(0)
    ours, reference = PatchEmbedding(8, 12), nn.Conv2d(3, 12, 8, stride=8, bias=False)
    ours.weight.data = reference.weight.data.flatten(1)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(images), reference(images).flatten(2).transpose(1, 2))


def test_attention_pool_asks_with_the_mean():
    torch.manual_seed(0)
    pool, reference = AttentionPool(4, 16, 4, 16), nn.MultiheadAttention(16, 4, batch_first=True)
    pool.init_weights()
    projections = (pool.query, pool.key, pool.value)
    reference.in_proj_weight.data = torch.cat([p.weight.data for p in projections])
    reference.in_proj_bias.data = torch.cat([p.bias.data for p in projections])
    reference.out_proj.load_state_dict(pool.out.state_dict())
    x = torch.randn(2, 16, 2, 2)
    tokens = torch.stack([x.mean(dim=(2, 3)), *x.flatten(2).unbind(2)], dim=1)
    tokens = tokens + pool.positional_embedding
    expected, _ = reference(tokens[:, :1], tokens, tokens, need_weights=False)
    torch.testing.assert_close(pool(x), expected[:, 0])


def test_quick_gelu_is_not_gelu():
    x = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(QuickGELU()(x), torch.tensor([-0.154214, 0.0, 0.845786]))
    assert not torch.allclose(QuickGELU()(x), nn.GELU()(x), atol=1e-3)


def test_initialisation_has_the_paper_s_deviations():
    torch.manual_seed(0)
    config = TextConfig(width=256, layers=3, heads=4, activation="gelu")
    transformer = Transformer(config, causal=False)
    transformer.init_weights()
    mlp, attention = transformer.blocks[0].mlp, transformer.blocks[0].attention
    for weight, std in (
        (attention.qkv.weight, 256**-0.5),
        (attention.out.weight, 256**-0.5 * 6**-0.5),
        (mlp.expand.weight, 512**-0.5),
        (mlp.contract.weight, 256**-0.5 * 6**-0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.02)
