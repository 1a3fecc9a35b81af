"""The losses against their definitions, written out."""

import math

import pytest
import torch

from twinlens.model.loss.contrastive import contrastive_loss, sigmoid_loss


def by_definition(images: torch.Tensor, texts: torch.Tensor, scale: float) -> float:
    """Figure 3 of the paper with loops."""
    n, total = len(images), 0.0
    logits = [
        [scale * torch.cosine_similarity(i.double(), t.double(), dim=0).item() for t in texts]
        for i in images
    ]
    for k in range(n):
        row, column = logits[k], [logits[j][k] for j in range(n)]
        for values in (row, column):
            total += math.log(sum(math.exp(v) for v in values)) - values[k]
    return total / (2 * n)


def test_it_is_the_mean_of_both_directions():
    torch.manual_seed(0)
    images, texts = torch.randn(6, 4), torch.randn(6, 4)
    loss = contrastive_loss(images, texts, torch.tensor(2.0).log())
    assert loss.item() == pytest.approx(by_definition(images, texts, 2.0), rel=1e-5)


def test_pairs_of_one_concept_are_no_negatives():
    torch.manual_seed(0)
    images, texts = torch.randn(4, 8), torch.randn(4, 8)
    scale = torch.tensor(1.0)
    # Pairs 0 and 1 show the same thing: pair 0 is as if pair 1 were not in its batch.
    concepts = torch.tensor([7, 7, 1, 2])
    cosines = (
        torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(texts, dim=1).T
    )
    logits = cosines * scale.exp()
    logits[0, 1] = logits[1, 0] = -torch.inf
    rows = torch.logsumexp(logits, 1) - logits.diagonal()
    columns = torch.logsumexp(logits, 0) - logits.diagonal()
    expected = (rows.mean() + columns.mean()) / 2
    torch.testing.assert_close(contrastive_loss(images, texts, scale, concepts), expected)
    assert expected < contrastive_loss(images, texts, scale)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    images, texts = torch.randn(3, 5), torch.randn(3, 5)
    scale = torch.tensor(1.3, requires_grad=True)
    contrastive_loss(images, texts, scale).backward()
    step = 1e-2
    ahead, behind = (contrastive_loss(images, texts, scale.detach() + s) for s in (step, -step))
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(((ahead - behind) / (2 * step)).item(), rel=1e-2)


def test_half_precision_features_get_a_float32_loss():
    features = torch.randn(4, 8).bfloat16()
    loss = contrastive_loss(features, features, torch.tensor(4.6).bfloat16())
    assert loss.dtype == torch.float32


def sigmoid_by_definition(
    images: torch.Tensor, texts: torch.Tensor, scale: float, bias: float, concepts: list[int]
) -> float:
    """Algorithm 1 of the SigLIP paper with loops."""
    total = 0.0
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            if i != j and concepts[i] == concepts[j]:
                continue
            cosine = torch.cosine_similarity(image.double(), text.double(), dim=0).item()
            answer = 1 if i == j else -1
            total -= math.log(1 / (1 + math.exp(-answer * (scale * cosine + bias))))
    return total / len(images)


@pytest.mark.parametrize("concepts", [[0, 1, 2, 3, 4, 5], [7, 7, 1, 2, 1, 7]])
def test_sigmoid_asks_of_every_image_with_every_text(concepts: list[int]):
    torch.manual_seed(0)
    images, texts = torch.randn(6, 4), torch.randn(6, 4)
    loss = sigmoid_loss(
        images, texts, torch.tensor(10.0).log(), torch.tensor(-10.0), torch.tensor(concepts)
    )
    expected = sigmoid_by_definition(images, texts, 10.0, -10.0, concepts)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    if len(set(concepts)) == len(concepts):
        without = sigmoid_loss(images, texts, torch.tensor(10.0).log(), torch.tensor(-10.0))
        assert torch.equal(loss, without)


@pytest.mark.parametrize("tile", [None, 3])
def test_losses_are_float32_under_autocast_too(tile: int | None):
    torch.manual_seed(0)
    images, texts = torch.randn(8, 32), torch.randn(8, 32)
    scale, bias = torch.tensor(4.6), torch.tensor(-10.0)
    softmax = contrastive_loss(images, texts, scale, tile_size=tile)
    sigmoid = sigmoid_loss(images, texts, scale, bias, tile_size=tile)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrastive_loss(images, texts, scale, tile_size=tile), softmax)
        assert torch.equal(sigmoid_loss(images, texts, scale, bias, tile_size=tile), sigmoid)
