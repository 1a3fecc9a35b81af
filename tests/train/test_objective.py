"""A batch to a loss and gradients: at once, and in parts that add up to the same."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import tiny_clip
from twinlens.data.loader import Batch
from twinlens.distributed.world import World
from twinlens.inference.preprocess import normalize
from twinlens.model.clip import CLIP
from twinlens.model.loss.contrastive import contrastive_loss
from twinlens.train.objective import ContrastiveObjective, backward, seeded, split_batch
from twinlens.train.parallel import ParallelTowers, checkpoint_activations
from twinlens.train.recipes.recipe import ComputeConfig

PAIRS = 8


def a_batch(*, kept: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 60, (2, PAIRS, 12), generator=generator)
    for number, row in enumerate(tokens.flatten(0, 1)):
        end = 2 + number * 7 % 9
        row[0], row[end], row[end + 1 :] = 62, 63, 0
    patches = torch.stack([torch.randperm(4, generator=generator)[:3] for _ in range(PAIRS)])
    return Batch(
        pixels=torch.randint(0, 256, (PAIRS, 3, 32, 32), generator=generator, dtype=torch.uint8),
        tokens=tokens,
        concept_ids=torch.tensor([[1, 1, 2, 3, 4, 5, 6, 6], [4, 5, 6, 7, 8, 9, 10, 11]]),
        num_truncated=0,
        patch_indices=patches.sort(dim=1).values if kept else None,
    )


def task_of(model: CLIP, compute: ComputeConfig | None = None) -> ContrastiveObjective:
    return ContrastiveObjective(
        model, ParallelTowers(model), World(), compute or ComputeConfig(), torch.float32
    )


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], most: float = 1e-5) -> None:
    """Each gradient to `most` of its own length."""
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (got[name] - gradient).norm() <= most * gradient.norm() + 1e-9, name


def test_the_loss_is_the_mean_over_the_sets_of_captions():
    model, batch = tiny_clip(), a_batch()
    images = model.encode_image(normalize(batch.pixels, model.config.preprocess))
    losses = [
        contrastive_loss(images, model.encode_text(tokens), model.logit_scale, concepts)
        for tokens, concepts in zip(batch.tokens, batch.concept_ids, strict=True)
    ]
    loss = backward(task_of(model), batch, 1, (0, 0))
    torch.testing.assert_close(loss, (losses[0] + losses[1]).detach() / 2)


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_in_parts_loss_and_gradients_are_those_of_the_whole(parts: int, loss: str):
    batch = a_batch(kept=True)
    whole, cut = (tiny_clip(logit_bias=loss == "sigmoid") for _ in range(2))
    expected = backward(task_of(whole), batch, 1, (0, 0))
    got = backward(task_of(cut, ComputeConfig(accum_freq=parts)), batch, parts, (0, 0))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    assert whole.logit_scale.grad is not None
    assert whole.logit_scale.grad.abs() > 1e-4  # not equal because both are nothing
    assert_same(gradients(cut), gradients(whole))


class Drops(nn.Module):
    """A tower that drops some of its features, as adapters do."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.image_size = 32
        self.seen: list[Tensor] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        features = self.tower(*inputs)
        mask = (torch.rand_like(features) < 0.7).float()
        self.seen.append(mask)
        return features * mask


def test_what_is_drawn_at_random_is_drawn_twice_alike():
    model = tiny_clip()
    model.image_tower = dropping = Drops(model.image_tower)  # pyright: ignore[reportAttributeAccessIssue]
    backward(task_of(model), a_batch(), 4, (3, 1))
    assert len(dropping.seen) == 8
    for first, second in zip(dropping.seen[:4], dropping.seen[4:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(dropping.seen[0], dropping.seen[1])


def test_lots_decide_and_leave_the_rest_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    drawn = []
    for lots in ((1, 2), (1, 2), (2, 1)):
        with seeded(*lots):
            drawn.append(torch.rand(3))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_activations_computed_again_change_nothing(kind: str):
    batch = a_batch()
    plain, frugal = (tiny_clip(kind).train() for _ in range(2))
    backward(task_of(plain), batch, 1, (0, 0))
    task = task_of(frugal)
    assert isinstance(task.towers, ParallelTowers)
    checkpoint_activations(task.towers)
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: held.append(x.numel()) or x, lambda x: x
    ):
        backward(task, batch, 1, (0, 0))
    few = sum(held)
    held.clear()
    again = tiny_clip(kind).train()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: held.append(x.numel()) or x, lambda x: x
    ):
        backward(task_of(again), batch, 1, (0, 0))
    assert few < sum(held)
    assert_same(gradients(frugal), gradients(plain))
    for (name, got), expected in zip(frugal.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(got, expected) or name.endswith("num_batches_tracked"), name


def test_batch_norms_count_each_image_once():
    batch = a_batch()
    model = tiny_clip("resnet").train()
    backward(task_of(model), batch, 2, (0, 0))
    once = tiny_clip("resnet").train()
    with torch.no_grad():
        for part in split_batch(batch, 2):
            once.encode_image(normalize(part.pixels, once.config.preprocess))
    for (name, got), expected in zip(model.named_buffers(), once.buffers(), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(got, expected, msg=name)


def test_patches_that_are_not_kept_are_not_seen():
    model = tiny_clip()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kept = torch.tensor([[0, 2, 3], [0, 2, 3]])
    features = model.encode_image(images, patch_indices=kept)
    other = images.clone()
    other[:, :, :16, 16:] = 0.0  # patch 1 of a 2 by 2 grid
    torch.testing.assert_close(model.encode_image(other, patch_indices=kept), features)
    assert not torch.allclose(model.encode_image(other), model.encode_image(images))
    everything = torch.arange(4).expand(2, -1)
    torch.testing.assert_close(
        model.encode_image(images, patch_indices=everything), model.encode_image(images)
    )


def test_parts_are_cut_in_order():
    batch = replace(a_batch(kept=True), labels=torch.arange(PAIRS))
    parts = split_batch(batch, 4)
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
    assert torch.equal(torch.cat([part.tokens for part in parts], dim=1), batch.tokens)
    assert torch.equal(torch.cat([part.patch_indices for part in parts]), batch.patch_indices)
