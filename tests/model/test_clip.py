"""The whole model: sizes, shapes, and what must not change an answer."""

import math

import pytest
import torch

from tests.tiny import tiny_clip
from twinlens.errors import ShapeError


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_logits_are_scaled_cosines(kind: str):
    model = tiny_clip(kind)
    images = torch.randn(3, 3, 32, 32)
    tokens = torch.tensor([[62, 5, 63, 0], [62, 6, 7, 63]])
    per_image, per_text = model(images, tokens)
    image_features, text_features = model.encode_image(images), model.encode_text(tokens)
    expected = torch.cosine_similarity(image_features[:, None], text_features[None], dim=-1) / 0.07
    torch.testing.assert_close(per_image, expected)
    assert torch.equal(per_text, per_image.T)
    norms = model.encode_image(images, normalize=True).norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones(3))


def test_scale_and_bias_start_as_the_papers_say():
    assert tiny_clip().logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    model = tiny_clip(logit_bias=True)
    assert model.logit_scale.item() == pytest.approx(math.log(10))
    assert model.logit_bias is not None
    images, tokens = torch.randn(1, 3, 32, 32), torch.tensor([[62, 63]])
    with_bias, _ = model(images, tokens)
    model.logit_bias = None
    torch.testing.assert_close(with_bias, model(images, tokens)[0] - 10)


def test_what_follows_the_end_token_changes_nothing():
    model = tiny_clip()
    short = torch.tensor([[62, 5, 6, 63]])
    padded = torch.tensor([[62, 5, 6, 63, 0, 0, 0, 0]])
    garbage = torch.tensor([[62, 5, 6, 63, 9, 63, 11, 2]])
    beside_long = torch.tensor([[62, 5, 6, 63, 0, 0], [62, 1, 2, 3, 4, 63]])
    expected = model.encode_text(short)
    for tokens in (padded, garbage, beside_long):
        torch.testing.assert_close(model.encode_text(tokens)[:1], expected)


def test_every_token_before_the_end_counts():
    model = tiny_clip()
    first = model.encode_text(torch.tensor([[62, 5, 6, 63]]))
    other = model.encode_text(torch.tensor([[62, 8, 6, 63]]))
    swapped = model.encode_text(torch.tensor([[62, 6, 5, 63]]))
    assert (first - other).abs().max() > 1e-3
    assert (first - swapped).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_batch_mate_changes_nothing(kind: str):
    model = tiny_clip(kind)
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model.encode_image(images)[1:2], model.encode_image(images[1:2]))


def test_wrong_shapes_are_named():
    model = tiny_clip()
    with pytest.raises(ShapeError, match=r"images: got shape \[1, 3, 64, 64\], expected .* 32, 32"):
        model.encode_image(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ShapeError, match=r"tokens: got shape \[1, 13\], expected .* 1 to 12"):
        model.encode_text(torch.zeros(1, 13, dtype=torch.int64))


def test_nothing_in_gives_nothing_out():
    model = tiny_clip()
    assert model.encode_text(torch.zeros(0, 4, dtype=torch.int64)).shape == (0, 8)
    assert model.encode_image(torch.zeros(0, 3, 32, 32)).shape == (0, 8)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_every_parameter_learns(kind: str):
    model = tiny_clip(kind).train()
    if kind == "resnet":
        for module in model.modules():  # a gain of zero keeps its branch from learning at first
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.ones_(module.weight)
    logits, _ = model(torch.randn(4, 3, 32, 32), torch.randint(1, 62, (4, 6)).clamp_(max=61))
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert idle == []
