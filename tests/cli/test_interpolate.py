"""`twinlens interpolate`, and `classify` by a model's own classifier."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens.checkpoints.head import HEAD_FILE, ClassifierHead, save_head
from twinlens.checkpoints.native import save_model
from twinlens.embed.loading import load
from twinlens.errors import ConfigError
from twinlens.text.clip_bpe import train_tokenizer


def save(directory: Path, shift: float, **changes: object) -> Path:
    model = tiny_clip(vocab_size=CLIP_VOCABULARY, **changes)
    with torch.no_grad():
        model.image_tower.get_parameter("projection").add_(shift)
    save_model(model, directory)
    return directory


def test_it_is_the_weighted_mean(run, tmp_path: Path):
    a, b = save(tmp_path / "a", 0.0), save(tmp_path / "b", 1.0)
    ended = run("interpolate", a, b, tmp_path / "out", "--weight", 0.25, "--json")
    assert (ended.status, ended.err) == (0, "")
    assert json.loads(ended.out) == {"model": str(tmp_path / "out"), "weight": 0.25}
    start, mean = (load(path, device="cpu").model.state_dict() for path in (a, tmp_path / "out"))
    moved = mean["image_tower.projection"] - start["image_tower.projection"]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))
    assert load(tmp_path / "out").config.provenance.source.startswith("0.25 of ")
    again = run("interpolate", a, b, tmp_path / "out")
    assert (again.status, len(again.err.splitlines())) == (2, 1)


def test_classifiers_of_the_same_classes_are_averaged(run, tmp_path: Path):
    a, b = save(tmp_path / "a", 0.0), save(tmp_path / "b", 1.0)
    save_head(ClassifierHead(("x", "y"), np.zeros((8, 2), np.float32)), a)
    alone = run("interpolate", a, b, tmp_path / "alone")
    assert alone.status == 0
    assert "that of the other is left out" in alone.err
    save_head(ClassifierHead(("y", "x"), np.ones((8, 2), np.float32)), b)
    assert "different classes" in run("interpolate", a, b, tmp_path / "others").err
    for left_out in ("alone", "others"):
        with pytest.raises(ConfigError, match="no classifier of its own"):
            _ = load(tmp_path / left_out).head
    save_head(ClassifierHead(("x", "y"), np.ones((8, 2), np.float32)), b)
    assert run("interpolate", a, b, tmp_path / "out").err == ""
    assert np.unique(load(tmp_path / "out").head.weight).tolist() == [0.5]


def test_models_that_read_otherwise_are_refused(run, tmp_path: Path):
    a = save(tmp_path / "a", 0.0)
    config = tiny_clip().config
    assert config.text is not None
    assert config.preprocess is not None
    gelu = replace(config.text, activation="gelu", vocab_size=CLIP_VOCABULARY)
    others = {
        "text": {"text": gelu},
        "preprocess": {"preprocess": replace(config.preprocess, mean=(0.5, 0.5, 0.5))},
    }
    for name, changes in others.items():
        model = tiny_clip(vocab_size=CLIP_VOCABULARY)
        model.config = replace(model.config, **changes)  # pyright: ignore[reportArgumentType]
        save_model(model, tmp_path / name)
        ended = run("interpolate", a, tmp_path / name, tmp_path / "out")
        assert ended.status == 2
        assert f"interpolation: {name}: got" in ended.err
        assert not (tmp_path / "out").exists()


def test_other_vocabularies_are_refused(run, tmp_path: Path):
    for name, words in {"a": "red green blue", "b": "cat dog bird"}.items():
        tokenizer = train_tokenizer([words] * 9, 520)
        model = tiny_clip(vocab_size=tokenizer.vocab_size, tokenizer="tokenizer.json")
        save_model(model, tmp_path / name, tokenizer)
    ended = run("interpolate", tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    assert "two vocabularies" in ended.err
    assert run("interpolate", tmp_path / "a", tmp_path / "a", tmp_path / "out").status == 0


def test_a_model_s_own_classes(run, tmp_path: Path, image_folders: Path):
    image, model = image_folders / "red" / "0.png", save(tmp_path / "model", 0.0)
    save_head(ClassifierHead(("x", "y"), np.ones((8, 2), np.float32)), model)
    ended = run("classify", image, "--model", model, "--json")
    [answer] = json.loads(ended.out)
    assert {one["label"] for one in answer["predictions"]} == {"x", "y"}
    (model / HEAD_FILE).write_bytes(b"damaged")
    ended = run("classify", image, "--model", model)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    assert "cannot be read as a classifier" in ended.err
