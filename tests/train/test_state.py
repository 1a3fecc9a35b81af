"""One step of a run, and its state read back from checkpoints."""

from pathlib import Path

import pytest
import torch

from tests.train.runs import first_batch, save_checkpoint, squares, tiny_recipe
from twinlens.data.datasets import Dataset
from twinlens.errors import CheckpointError
from twinlens.train.checkpoint import list_checkpoints
from twinlens.train.state import TrainState


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"))


def test_a_step_that_would_ruin_the_model_is_not_taken(dataset: Dataset):
    run = TrainState(tiny_recipe(precision="fp32"), "squares", "cpu")
    batch = first_batch(dataset)
    assert run.train_step(batch, 0).is_applied
    before = {name: tensor.clone() for name, tensor in run.state_tensors().items()}
    bias = run.model.text_tower.final_norm.bias.data
    kept = bias.clone()
    bias.fill_(float("inf"))
    outcome = run.train_step(batch, 1)
    bias.copy_(kept)
    assert not outcome.is_applied
    assert run.loss_guard.skipped_steps == 1
    for name, tensor in run.state_tensors().items():
        assert torch.equal(tensor, before[name]), name
    assert run.train_step(batch, 2).is_applied


def test_the_scale_never_passes_100(dataset: Dataset, tmp_path: Path):
    run = TrainState(tiny_recipe(), "squares", "cpu")
    run.optimizer.named_masters["logit_scale"].fill_(9.0)
    run.optimizer.copy_to_model()
    run.train_step(first_batch(dataset), 0)
    assert run.optimizer.named_masters["logit_scale"].exp().item() == pytest.approx(100.0)
    assert run.model.logit_scale.exp().item() == pytest.approx(100.0)


def test_a_checkpoint_of_another_architecture_is_refused(dataset: Dataset, tmp_path: Path):
    run = TrainState(tiny_recipe("vit"), "squares", "cpu")
    run.train_step(first_batch(dataset), 0)
    save_checkpoint(run, tmp_path, 1)
    (path,) = list_checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match=r"unexpected .*image_tower\.class_embedding"):
        TrainState(tiny_recipe("resnet"), "squares", "cpu").load_checkpoint(path)
    (path / "state.json").write_text('{"step": 1}')
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        TrainState(tiny_recipe("vit"), "squares", "cpu").load_newest_checkpoint(tmp_path)
