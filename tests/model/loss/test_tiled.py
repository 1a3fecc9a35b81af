"""The losses tile by tile and spread over ranks: the dense loss and gradients, in less memory."""

import pytest
import torch
from torch.distributed import ProcessGroup
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.model.loss.pairs import KINDS, Answer, answer, assert_alike, mean, some_pairs
from tests.processes import run_processes
from twinlens.model.loss.ring import ring_sigmoid_loss
from twinlens.model.loss.tiled import tiled_softmax_loss


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("concepts", [0, 9])
@pytest.mark.parametrize("tile", [1, 7, 16, 37, 100])
def test_tiles_give_the_dense_loss_and_gradients(kind: str, concepts: int, tile: int):
    pairs = some_pairs(37, concepts=concepts)
    assert_alike(answer(kind, *pairs, tile=tile), answer(kind, *pairs))


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_features_get_their_gradients_in_their_type(kind: str):
    pairs = some_pairs(37, dtype=torch.bfloat16)
    tiled = answer(kind, *pairs, tile=10)
    assert tiled.images.dtype == torch.bfloat16
    # The gradients differ before they are rounded to bf16, and so by a step of bf16 at most.
    assert_alike(tiled, answer(kind, *pairs), tolerance=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aligned", [True, False])
def test_logits_of_a_hundred_neither_overflow_nor_vanish(kind: str, aligned: bool):
    images, _, _ = some_pairs(40, embed=8)
    # An image's own text is its best one, or the worst possible.
    texts = images if aligned else -images
    exact = answer(kind, images, texts, None, log_scale=4.60517)
    tiled = answer(kind, images, texts, None, log_scale=4.60517, tile=16)
    assert torch.isfinite(tiled.images).all()
    torch.testing.assert_close(tiled.loss, exact.loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(tiled.images, exact.images, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(tiled.scale, exact.scale, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    images, texts, concepts = some_pairs(7, embed=4, dtype=torch.float64, concepts=3)
    scale, bias = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, -1.0))
    inputs = (images.requires_grad_(), texts.requires_grad_(), scale)
    assert torch.autograd.gradcheck(
        lambda *x: tiled_softmax_loss(*x, concepts, tile_size=3), inputs
    )
    assert torch.autograd.gradcheck(
        lambda *x: ring_sigmoid_loss(*x, concepts, tile_size=3), (*inputs, bias)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_asks_for_gradients_need_ask(kind: str):
    images, texts, _ = some_pairs(12)
    texts.requires_grad_()
    loss = {"softmax": tiled_softmax_loss, "sigmoid": ring_sigmoid_loss}[kind]
    numbers = [torch.tensor(1.0), torch.tensor(-3.0)][: 1 if kind == "softmax" else 2]
    loss(images, texts, *numbers, tile_size=5).backward()
    alone = texts.grad
    assert alone is not None
    texts.grad = None
    loss(images.requires_grad_(), texts, *numbers, tile_size=5).backward()
    torch.testing.assert_close(texts.grad, alone, rtol=0, atol=0)
    with torch.no_grad():
        assert not loss(images, texts, *numbers, tile_size=5).requires_grad


def everything(group: ProcessGroup) -> list[Answer]:
    return [
        answer(kind, *some_pairs(24, concepts=concepts), group=group, tile=tile)
        for kind in KINDS
        for concepts in (0, 5)
        for tile in (None, 5, 100)
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_ranks_give_the_loss_and_gradients_of_the_one_big_batch(count: int):
    answers = run_processes(everything, count)
    settings = [(kind, concepts) for kind in KINDS for concepts in (0, 5) for _ in range(3)]
    for (kind, concepts), ranks in zip(settings, zip(*answers, strict=True), strict=True):
        assert_alike(mean(list(ranks)), answer(kind, *some_pairs(24, concepts=concepts)))


class Largest(TorchDispatchMode):
    """Notes the most elements that a tensor had."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_never_hold_the_whole_matrix(kind: str):
    pairs, embed, tile = 256, 4, 32
    with Largest() as dense:
        answer(kind, *some_pairs(pairs, embed=embed, concepts=20))
    with Largest() as tiled:
        answer(kind, *some_pairs(pairs, embed=embed, concepts=20), tile=tile)
    assert dense.elements == pairs * pairs
    assert tiled.elements == max(pairs * embed, tile * tile)


def largest_of_a_ring(group: ProcessGroup) -> int:
    with Largest() as seen:
        answer("sigmoid", *some_pairs(96, embed=2), group=group)
    return seen.elements


def test_a_ring_holds_the_similarities_with_one_rank():
    # 96 x 2 are the features made before they are spread.
    assert run_processes(largest_of_a_ring, 3) == [32 * 32] * 3
