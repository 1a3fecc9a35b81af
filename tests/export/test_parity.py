"""Comparisons of two implementations: what passes, what must not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.checkpoints.formats import reference
from tests.checkpoints.formats.hugging_face.test_describe import NAMES, made, written_config
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.config import PreprocessConfig
from twinlens.embed.embedder import Embedder
from twinlens.embed.loading import load
from twinlens.errors import CheckpointError
from twinlens.export.convert import check_parity, write_checkpoint
from twinlens.export.parity import (
    FEATURE_TOLERANCE,
    compare_answers,
    model_answers,
    probe_images,
    probe_texts,
    write_answers,
)
from twinlens.export.references import reference_answers
from twinlens.images.decode import to_pixels
from twinlens.inference.preprocess import normalize
from twinlens.text.clip_bpe import Tokenizer, train_tokenizer

WRITERS = [write_hugging_face, pytest.param(write_open_clip, marks=pytest.mark.peers)]
KINDS = ["tokens", "pixels", "image_features", "text_features", "logits"]


@pytest.fixture(scope="module")
def lens() -> Embedder:
    """A model that both reference libraries can hold."""
    model = tiny_clip(vocab_size=CLIP_VOCABULARY, context_length=77, embed_dim=16)
    return Embedder.from_model(model, Tokenizer.clip(), device="cpu", precision="fp32")


@pytest.mark.parametrize("write", WRITERS)
def test_the_reference_libraries_agree_with_us(write, lens: Embedder, tmp_path: Path):
    write(lens.model, tmp_path / "model", lens.tokenizer)
    [(name, theirs)] = reference_answers(tmp_path / "model").items()
    report = compare_answers(model_answers(lens), theirs, name)
    assert [one.what for one in report.comparisons] == KINDS
    assert report.passes, report.to_dict()
    assert json.loads(json.dumps(report.to_dict()))["passes"] is True


def test_stored_answers_are_a_reference(lens: Embedder, tmp_path: Path):
    write_answers(model_answers(lens), tmp_path)
    [(name, theirs)] = reference_answers(tmp_path).items()
    assert name == "stored answers"
    report = compare_answers(model_answers(lens), theirs, name)
    assert report.passes
    assert max(one.max_error for one in report.comparisons) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_difference_in_any_answer_is_found(kind: str, lens: Embedder):
    ours = model_answers(lens)
    theirs = {name: value.clone() for name, value in ours.items()}
    theirs[kind][1, 1] += 1 if kind == "tokens" else 200 * FEATURE_TOLERANCE
    report = compare_answers(ours, theirs, "changed")
    assert [one.what for one in report.comparisons if not one.passes] == [kind]


def test_another_shape_and_numbers_that_are_none_fail(lens: Embedder):
    ours = model_answers(lens)
    cut = ours | {"image_features": ours["image_features"][:, :4]}
    assert not compare_answers(ours, cut, "cut").passes
    spoiled = ours | {"text_features": ours["text_features"] * float("nan")}
    assert not compare_answers(ours, spoiled, "spoiled").passes


def test_padding_is_no_difference_but_a_missing_end_is():
    ours = {"tokens": torch.tensor([[8, 3, 4, 9, 0, 0], [8, 9, 0, 0, 0, 0]])}
    padded = {"tokens": torch.tensor([[8, 3, 4, 9, 9, 9], [8, 9, 9, 9, 9, 9]])}
    assert compare_answers(ours, padded, "padded with ends").passes
    shorter = {"tokens": torch.tensor([[8, 3, 9, 9, 9, 9], [8, 9, 9, 9, 9, 9]])}
    assert not compare_answers(ours, shorter, "shorter").passes


def test_nothing_in_common_is_an_error(lens: Embedder):
    with pytest.raises(CheckpointError, match="expected features"):
        compare_answers(model_answers(lens), {"scores": torch.zeros(1)}, "other")


def test_a_directory_without_a_reference_says_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match="got nothing to compare with, expected"):
        reference_answers(tmp_path)


def test_a_library_that_is_not_installed_is_named(
    lens: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_open_clip(lens.model, tmp_path / "model", lens.tokenizer)
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(CheckpointError, match="pip install open_clip_torch"):
        reference_answers(tmp_path / "model")


def test_a_library_that_breaks_is_named_with_the_cause(
    lens: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not every failure is a missing package: the advice to install one would lead nowhere."""
    write_hugging_face(lens.model, tmp_path / "model", lens.tokenizer)

    def broken(*_args: object, **_settings: object) -> None:
        try:
            raise RuntimeError("operator is not there:\n  rebuild it")
        except RuntimeError as error:
            raise ModuleNotFoundError("Could not import module 'CLIPModel'.") from error

    monkeypatch.setattr(reference.transformers.CLIPModel, "from_pretrained", broken)
    with pytest.raises(CheckpointError) as caught:
        reference_answers(tmp_path / "model")
    cause = "transformers cannot be asked: RuntimeError: operator is not there: rebuild it"
    assert str(caught.value) == f"{tmp_path / 'model'}: {cause}"


IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
from twinlens.export.references import reference_answers
print(*reference_answers(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("write", WRITERS)
def test_references_answer_where_nothing_was_prepared(write, lens: Embedder, tmp_path: Path):
    """As a user's process is."""
    write(lens.model, tmp_path / "model", lens.tokenizer)
    ended = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-2] == ("open_clip" if write is write_open_clip else "transformers")


@pytest.mark.parametrize("name", NAMES)
def test_every_class_of_transformers_is_its_own_reference(name: str, tmp_path: Path):
    """A single tower's type is that of the class with a projection and of the one without."""
    words = (
        reference.piece_vocabulary(tmp_path / "vocabulary", "siglip")
        if "Siglip" in name
        else train_tokenizer(["a small drawing of the large cat"], 530)
    )
    lens = Embedder.from_model(made(written_config(name, words.vocab_size)), words, device="cpu")
    write_checkpoint(lens, tmp_path / "model", "hf")
    again = load(tmp_path / "model", device="cpu", precision="fp32")
    reports = check_parity(again, tmp_path / "model", tmp_path / "model")
    assert len(reports) == 3
    assert all(report.passes for report in reports), [report.to_dict() for report in reports]
    kinds = {one.what for one in reports[1].comparisons}
    assert ("text_features" in kinds) == ("tokens" in kinds) == ("Vision" not in name)
    assert ("image_features" in kinds) == ("pixels" in kinds) == ("Text" not in name)


def test_probes_fill_the_context_and_are_cut():
    lengths = [len(Tokenizer.clip().encode(text)) + 2 for text in probe_texts()]
    assert 77 in lengths
    assert max(lengths) > 77


def test_probes_are_the_same_every_time():
    assert probe_texts() == probe_texts()
    for one, other in zip(probe_images(), probe_images(), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("size", [32, 224, 240, 256, 288, 336, 378, 384, 448])
def test_libraries_crop_the_probes_alike_at_every_size(size: int):
    from transformers import CLIPImageProcessorPil  # noqa: PLC0415  as `reference` prepared it

    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size)
    config = PreprocessConfig(image_size=size)
    for image in probe_images():
        theirs = processor(image, return_tensors="pt")["pixel_values"][0]
        pixels = torch.from_numpy(to_pixels(image, config)).permute(2, 0, 1)
        ours = normalize(pixels[None], config)[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
