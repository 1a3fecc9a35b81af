"""Comparisons of two implementations: what passes, what must not."""

import json
from pathlib import Path

import pytest
import torch

from tests.model.formats import reference  # noqa: F401  offline, quiet, torchvision's Python
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens.embedder import Embedder
from twinlens.errors import CheckpointError
from twinlens.export.parity import (
    TOLERANCE,
    compare,
    our_answers,
    probe_images,
    probe_texts,
    reference_answers,
    store_answers,
)
from twinlens.model.formats import hugging_face, open_clip
from twinlens.tokenizer import Tokenizer

KINDS = ["tokens", "pixels", "image_features", "text_features", "logits"]


@pytest.fixture(scope="module")
def lens() -> Embedder:
    """A model that both reference libraries can hold."""
    model = tiny_clip(vocab_size=CLIP_VOCABULARY, context_length=77, embed_dim=16)
    return Embedder(model, Tokenizer.clip(), device="cpu", precision="fp32")


@pytest.mark.parametrize("layout", [hugging_face, open_clip])
def test_the_reference_libraries_agree_with_us(layout, lens: Embedder, tmp_path: Path):
    layout.write(lens.model, tmp_path / "model", lens.tokenizer)
    [(name, theirs)] = reference_answers(tmp_path / "model").items()
    report = compare(our_answers(lens), theirs, name)
    assert [one.what for one in report.comparisons] == KINDS
    assert report.passes, report.to_dict()
    assert json.loads(json.dumps(report.to_dict()))["passes"] is True


def test_stored_answers_are_a_reference(lens: Embedder, tmp_path: Path):
    store_answers(our_answers(lens), tmp_path)
    [(name, theirs)] = reference_answers(tmp_path).items()
    assert name == "stored answers"
    report = compare(our_answers(lens), theirs, name)
    assert report.passes
    assert max(one.max_error for one in report.comparisons) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_difference_in_any_answer_is_found(kind: str, lens: Embedder):
    ours = our_answers(lens)
    theirs = {name: value.clone() for name, value in ours.items()}
    theirs[kind][1, 1] += 1 if kind == "tokens" else 200 * TOLERANCE
    report = compare(ours, theirs, "changed")
    assert [one.what for one in report.comparisons if not one.passes] == [kind]


def test_another_shape_and_numbers_that_are_none_fail(lens: Embedder):
    ours = our_answers(lens)
    cut = ours | {"image_features": ours["image_features"][:, :4]}
    assert not compare(ours, cut, "cut").passes
    spoiled = ours | {"text_features": ours["text_features"] * float("nan")}
    assert not compare(ours, spoiled, "spoiled").passes


def test_padding_is_no_difference_but_a_missing_end_is():
    ours = {"tokens": torch.tensor([[8, 3, 4, 9, 0, 0], [8, 9, 0, 0, 0, 0]])}
    padded = {"tokens": torch.tensor([[8, 3, 4, 9, 9, 9], [8, 9, 9, 9, 9, 9]])}
    assert compare(ours, padded, "padded with ends").passes
    shorter = {"tokens": torch.tensor([[8, 3, 9, 9, 9, 9], [8, 9, 9, 9, 9, 9]])}
    assert not compare(ours, shorter, "shorter").passes


def test_nothing_in_common_is_an_error(lens: Embedder):
    with pytest.raises(CheckpointError, match="expected features"):
        compare(our_answers(lens), {"scores": torch.zeros(1)}, "other")


def test_a_directory_without_a_reference_says_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match="got nothing to compare with, expected"):
        reference_answers(tmp_path)


def test_a_library_that_is_not_installed_is_named(
    lens: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    open_clip.write(lens.model, tmp_path / "model", lens.tokenizer)
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(CheckpointError, match="pip install open_clip_torch"):
        reference_answers(tmp_path / "model")


def test_probes_are_the_same_every_time():
    assert probe_texts() == probe_texts()
    for one, other in zip(probe_images(), probe_images(), strict=True):
        assert one.tobytes() == other.tobytes()
