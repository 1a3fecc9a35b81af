"""`twinlens convert`: every layout into every other, and the report of it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.formats import reference  # noqa: F401  offline and quiet
from tests.checkpoints.formats.openai_archive import openai_model, save_openai_archive
from tests.cli.conftest import Run
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens.checkpoints.formats.openai import ARCHIVE_KEYS
from twinlens.checkpoints.native import save_model
from twinlens.embed.loading import load


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in our layout that every library can hold."""
    directory = tmp_path_factory.mktemp("source") / "tiny"
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY, context_length=77, embed_dim=16), directory)
    return directory


def test_native_to_hf_to_open_clip_to_native_keeps_every_bit(
    run: Run, source: Path, tmp_path: Path
):
    first, second, last = (tmp_path / name for name in ("hf", "open_clip", "native"))
    for where, place, layout in (
        (source, first, "hf"),
        (first, second, "open_clip"),
        (second, last, "native"),
    ):
        ended = run("convert", where, place, "--to", layout)
        assert ended.status == 0, ended.err
        assert (place / "README.md").read_text().startswith("---\nlibrary_name: ")
    before, after = (load_file(place / "model.safetensors") for place in (source, last))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


LIBRARIES = ["hf", pytest.param("open_clip", marks=pytest.mark.peers)]


@pytest.mark.parametrize("layout", LIBRARIES)
def test_the_check_writes_a_report(run: Run, layout: str, source: Path, tmp_path: Path):
    ended = run("convert", source, tmp_path / "out", "--to", layout, "--check", "--json")
    assert ended.status == 0, ended.err
    reports = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert json.loads(ended.out)["parity"] == reports
    again, library, unchecked = reports  # the library that was written for, not for the source
    assert again["passes"] is library["passes"] is True
    assert unchecked["reference"] == "the source"
    assert unchecked["passes"] is None
    assert "got nothing to compare with" in unchecked["not checked, because"]
    assert {one["what"] for one in reports[1]["comparisons"]} >= {"tokens", "pixels", "logits"}


def test_what_was_checked_is_its_own_reference_later(run: Run, source: Path, tmp_path: Path):
    hub, kept, again = (tmp_path / name for name in ("hub", "kept", "again"))
    for where, place, layout in ((source, hub, "hf"), (hub, kept, "native")):
        assert run("convert", where, place, "--to", layout, "--check").status == 0
    ended = run("convert", kept, again, "--check", "--json")
    assert ended.status == 0, ended.err
    names = [report["reference"] for report in json.loads(ended.out)["parity"]]
    assert names == [
        "what was written, read again",
        "stored answers on the source",
        "the destination",
    ]
    answers = load_file(kept / "parity.safetensors")
    answers["logits"] += 0.01
    save_file(answers, kept / "parity.safetensors")
    ended = run("convert", kept, tmp_path / "wrong", "--check")
    assert ended.status == 2
    assert "differs from stored answers on the source: see parity.json" in ended.err
    assert not (tmp_path / "wrong" / "parity.safetensors").exists()


def test_a_check_without_a_reference_is_no_check(run: Run, source: Path, tmp_path: Path):
    ended = run("convert", source, tmp_path / "out", "--check")
    assert ended.status == 2
    assert "is written but not checked, see parity.json: " in ended.err
    assert ended.err.count("got nothing to compare with") == 2
    assert len(ended.err.splitlines()) == 2  # the other says where it was written
    assert ended.out.count("not checked, because") == 2
    again, *unchecked = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert again["passes"] is True
    assert [report["passes"] for report in unchecked] == [None, None]
    assert not (tmp_path / "out" / "parity.safetensors").exists()


def archive(directory: Path) -> Path:
    """OpenAI's archive of a model that gives other numbers with another activation."""
    model = openai_model(seed=0, vocab_size=CLIP_VOCABULARY, context_length=77)
    save_openai_archive(model, directory / "archive.pt")
    return directory / "archive.pt"


@pytest.mark.peers
@pytest.mark.parametrize("layout", ["native", "hf", "open_clip"])
def test_openai_s_archive_is_checked_with_open_clip(run: Run, layout: str, tmp_path: Path):
    ended = run("convert", archive(tmp_path), tmp_path / "out", "--to", layout, "--check", "--json")
    assert ended.status == 0, ended.err
    reports = json.loads(ended.out)["parity"]
    [on_source] = [one for one in reports if one["reference"].endswith("on the source")]
    assert on_source["reference"].startswith("open_clip")
    assert on_source["passes"] is True
    kinds = [one["what"] for one in on_source["comparisons"]]
    assert kinds == ["tokens", "pixels", "image_features", "text_features", "logits"]


def test_an_activation_that_was_named_is_told_to_be_unchecked(run: Run, tmp_path: Path):
    state = openai_model(seed=0, vocab_size=CLIP_VOCABULARY, context_length=77).state_dict()
    torch.save({k: v for k, v in state.items() if k not in ARCHIVE_KEYS}, tmp_path / "plain.pt")
    wrong = ("--activation", "gelu")  # it was trained with another
    ended = run("convert", tmp_path / "plain.pt", tmp_path / "out", "--to", "hf", *wrong, "--check")
    assert ended.status == 0, ended.err
    told = " ".join(ended.out.split())
    assert "the source not checked, because " in told
    assert "can tell whether an activation that was named is the right one" in told
    reports = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert [one["passes"] for one in reports] == [True, True, None]


def test_images_of_another_size_leave_the_source_unchecked(run: Run, source: Path, tmp_path: Path):
    hub = tmp_path / "hub"
    assert run("convert", source, hub, "--to", "hf").status == 0
    ended = run("convert", hub, tmp_path / "out", "--to", "hf", "--image-size", 64, "--check")
    assert ended.status == 0, ended.err
    assert "not checked, because it is meant to answer otherwise" in ended.out


def test_stored_answers_that_cannot_be_read_are_no_check(run: Run, source: Path, tmp_path: Path):
    damaged = tmp_path / "damaged"
    shutil.copytree(source, damaged)
    (damaged / "parity.safetensors").write_bytes(b"no answers")
    ended = run("convert", damaged, tmp_path / "out", "--to", "hf", "--check", "--json")
    assert ended.status == 0, ended.err
    last = json.loads(ended.out)["parity"][-1]
    assert (last["reference"], last["passes"]) == ("the source", None)
    assert "cannot be read as safetensors" in last["not checked, because"]


def test_openai_s_archive_becomes_a_directory(run: Run, tmp_path: Path):
    model = openai_model(seed=0, vocab_size=CLIP_VOCABULARY)
    save_openai_archive(model, tmp_path / "archive.pt")
    ended = run("convert", tmp_path / "archive.pt", tmp_path / "out")
    assert ended.status == 0, ended.err
    lens = load(tmp_path / "out", device="cpu", precision="fp32")
    assert lens.config.text_config.activation == "quick_gelu"
    assert lens.config.provenance.source == "archive.pt"
    assert torch.equal(lens.model.text_tower.projection, model.text_projection.float())


def test_images_of_another_size(run: Run, source: Path, tmp_path: Path):
    ended = run("convert", source, tmp_path / "out", "--image-size", 64)
    assert ended.status == 0, ended.err
    lens = load(tmp_path / "out")
    assert lens.config.preprocess_config.image_size == 64
    assert len(lens.model.image_tower.positional_embedding) == 17


def test_what_is_there_is_not_overwritten(run: Run, source: Path, tmp_path: Path):
    (tmp_path / "kept.txt").write_text("mine")
    ended = run("convert", source, tmp_path)
    assert ended.status == 2
    assert "is there already, expected a new or an empty directory" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_wrong_tensor_is_one_line(run: Run, source: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((source / "config.json").read_bytes())
    tensors = load_file(source / "model.safetensors")
    tensors["text_tower.extra"] = torch.zeros(2)
    del tensors["logit_scale"]
    save_file(tensors, broken / "model.safetensors")
    ended = run("convert", broken, tmp_path / "out")
    assert ended.status == 2
    assert "missing logit_scale; unexpected text_tower.extra" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
