"""Fine-tuning a model that reads SentencePiece's vocabulary: SigLIP's kind, from end to end."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import twinlens
from tests.text.sentencepiece.vocabularies import trained
from tests.train.runs import squares
from twinlens.checkpoints.native import save_model
from twinlens.config import CLIPConfig
from twinlens.data.augment import Augmentation
from twinlens.data.datasets import Dataset
from twinlens.data.loader import PairLoader
from twinlens.model import presets
from twinlens.model.clip import CLIP
from twinlens.text.sentencepiece import SentencePieceTokenizer
from twinlens.train.finetune.initial import load_initial_state
from twinlens.train.log import LogEntry
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes.builtin import find_recipe
from twinlens.train.recipes.recipe import Recipe
from twinlens.train.state import TrainState
from twinlens.train.trainer import fit

CONTEXT = 8


def small_siglip(vocab_size: int) -> CLIPConfig:
    config = presets.siglip_vit_b_16()
    sizes = {"layers": 2, "width": 32, "heads": 2, "mlp_width": 64}
    assert config.vision is not None
    return replace(
        config,
        embed_dim=32,
        vision=replace(config.vision, image_size=32, **sizes),
        text=replace(
            config.text_config,
            context_length=CONTEXT,
            vocab_size=vocab_size,
            projection="none",
            **sizes,
        ),
        preprocess=replace(config.preprocess_config, image_size=32),
        tokenizer="tokenizer.json",
        text_cleaning="siglip",
        templates=("{}",),
    )


@pytest.fixture(scope="module", params=["t5", "gemma plain"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights; T5's rows end in end tokens, Gemma's in padding."""
    folder = tmp_path_factory.mktemp("siglip")
    (folder / "spiece.model").write_bytes(trained(request.param))
    tokenizer = SentencePieceTokenizer.from_directory(folder, "siglip")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIP(small_siglip(tokenizer.vocab_size))
    save_model(model, folder / "model", tokenizer)
    return folder / "model"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"))


def short(base: Path) -> Recipe:
    return replace(
        find_recipe("finetune-contrastive", str(base)),
        batch_size=8,
        steps=12,
        checkpoint_every=2,
        log_every=2,
        precision="fp32",
        optim=OptimConfig(lr=1e-2, warmup_steps=2, grad_clip_norm=1.0),
    )


def test_the_loader_s_rows_are_those_that_the_embedder_asks_for(base: Path, pairs: Dataset):
    tokenizer = twinlens.load(base).tokenizer
    long = " ".join(["to be cut as it does not fit"] * 9)
    captions = ["red", "blue", "one", long]
    samples = [
        replace(sample, captions=(caption,))
        for sample, caption in zip(pairs.samples, captions, strict=False)
    ]
    loader = PairLoader(
        replace(pairs, samples=samples),
        tokenizer,
        batch_size=4,
        image_size=32,
        context_length=CONTEXT,
        augmentation=Augmentation(),
        seed=0,
    )
    batch = loader.batch(0)
    assert batch.num_truncated == 1
    expected = tokenizer(captions, CONTEXT, truncate=True)
    assert sorted(batch.tokens[0].tolist()) == sorted(expected.tolist())


def test_it_learns_and_its_vocabulary_goes_along(base: Path, pairs: Dataset, tmp_path: Path):
    losses: list[float] = []
    recipe = short(base)
    assert recipe.loss == "sigmoid"
    model = fit(
        recipe, pairs, tmp_path / "run", report=lambda progress: losses.append(progress.loss)
    )
    assert losses[-1] < 0.8 * losses[0]
    before, after = twinlens.load(base), twinlens.load(model)
    texts = ["a red square", "blue", "一 photo ü"]
    assert np.array_equal(
        after.tokenizer(texts, CONTEXT, True), before.tokenizer(texts, CONTEXT, True)
    )
    assert after.config.text_cleaning == before.config.text_cleaning
    moved = after.embed_texts(texts) - before.embed_texts(texts)
    assert abs(moved).max() > 1e-3


def test_a_killed_run_ends_with_the_same_bytes(base: Path, pairs: Dataset, tmp_path: Path):
    def kill(progress: LogEntry) -> None:
        if progress.step == 6:
            while not (tmp_path / "killed" / "checkpoints" / "latest").exists():
                time.sleep(0.01)  # it is written beside the training
            raise KeyboardInterrupt

    whole = fit(short(base), pairs, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(short(base), pairs, tmp_path / "killed", report=kill)
    resumed = fit(short(base), pairs, tmp_path / "killed", resume=True)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_scale_above_clip_s_limit_stays(base: Path, pairs: Dataset):
    """SigLIP's published scale is 117: cut to 100 it would be another model."""
    recipe = short(base)
    start = load_initial_state(recipe, pairs, "cpu")
    with torch.no_grad():
        start.model.logit_scale.fill_(4.77)
    run = TrainState(recipe, "data", "cpu", initial=start)
    loader = PairLoader(
        pairs,
        start.tokenizer,
        batch_size=8,
        image_size=32,
        context_length=CONTEXT,
        augmentation=Augmentation(),
        seed=0,
    )
    before = run.exponentiated_logit_scale
    run.train_step(loader.batch(0), 0)
    assert 110 < run.exponentiated_logit_scale != before
