"""Checksums of a model's directory: damage is found where it is, and nowhere else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_clip
from twinlens.checkpoints.checksums import CHECKSUMS_FILE
from twinlens.checkpoints.head import ClassifierHead, load_head, save_head
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.reader import load_model
from twinlens.checkpoints.recognise import open_checkpoint
from twinlens.embed.loading import load
from twinlens.errors import CheckpointError, TwinlensError
from twinlens.export.convert import write_checkpoint
from twinlens.hub.resolve import resolve
from twinlens.text.clip_bpe import train_tokenizer
from twinlens.train.finetune.weight_interpolation import save_interpolated


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A small model with a vocabulary and a classifier."""
    words = train_tokenizer(["a small drawing of the large cat"], 530)
    model = tiny_clip(vocab_size=530, context_length=16, embed_dim=16, tokenizer="tokenizer.json")
    save_head(ClassifierHead(("cat", "dog"), np.ones((16, 2), np.float32)), tmp_path / "model")
    save_model(model, tmp_path / "model", words)
    return tmp_path / "model"


def flip(path: Path, place: int, bit: int = 0x10) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


def places_of(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor's bytes are in a file."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    return {
        name: (begin + entry["data_offsets"][0], begin + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def line_of(call: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_flipped_byte_in_any_tensor_is_found(directory: Path):
    weights = directory / "model.safetensors"
    whole = weights.read_bytes()
    sums = json.loads((directory / CHECKSUMS_FILE).read_text())["tensors"]
    for name, (begin, end) in places_of(weights).items():
        flip(weights, (begin + end) // 2, 0x01)
        message = line_of(lambda: load_model(directory))
        assert message.startswith(f"{directory}: {name}: got crc32 ")
        assert f"expected {sums[name]} as in checksums.json" in (message)
        assert "damaged, or changed since the model was saved" in message
        assert message.endswith(f"delete {directory / CHECKSUMS_FILE}")
        weights.write_bytes(whole)
    load_model(directory)


def test_numbers_that_changed_places_are_found(directory: Path):
    weights = directory / "model.safetensors"
    tensors = load_file(weights)
    name = "text_tower.token_embedding.weight"
    tensors[name] = tensors[name][[2, 1, 0, *range(3, 530)]]
    save_file(tensors, weights)
    assert f"{name}: got crc32" in line_of(lambda: load_model(directory))


def test_a_byte_flipped_anywhere_is_an_error_or_a_header_that_says_the_same(directory: Path):
    weights = directory / "model.safetensors"
    whole, before = weights.read_bytes(), load_model(directory).state_dict()
    for place in range(0, len(whole), len(whole) // 60):
        flip(weights, place)
        try:
            got = load_model(directory).state_dict()
        except TwinlensError as error:
            assert "\n" not in str(error)  # noqa: PT017  or the same weights
        else:
            assert all(torch.equal(got[name], value) for name, value in before.items())
        weights.write_bytes(whole)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "classifier.safetensors"])
def test_files_beside_the_weights_are_checked(file: str, directory: Path):
    path = directory / file
    content = path.read_bytes()
    if file == "config.json":  # one that still can be read
        path.write_bytes(content.replace(b"0.48145466", b"0.58145466"))
    elif file == "tokenizer.json":
        path.write_bytes(content.replace(b'"a"', b'"b"', 1))
    else:
        flip(path, len(content) - 3)
    assert path.read_bytes() != content
    message = line_of(lambda: load(directory, device="cpu", precision="fp32"))
    assert message.startswith(f"{path}: got crc32 ")
    assert message.endswith(f"delete {directory / CHECKSUMS_FILE}")
    (directory / CHECKSUMS_FILE).unlink()
    open_checkpoint(directory)
    assert load_head(directory, 16) is not None


def test_only_what_is_read_is_checked(directory: Path):
    weights = directory / "model.safetensors"
    begin, _ = places_of(weights)["text_tower.projection"]
    flip(weights, begin)
    open_checkpoint(directory)
    load_model(directory, towers="image")
    with pytest.raises(CheckpointError, match=r"text_tower\.projection: got crc32"):
        load_model(directory, towers="text")


def test_a_directory_without_checksums_is_read_as_before(directory: Path):
    before = load_model(directory).state_dict()
    (directory / CHECKSUMS_FILE).unlink()
    weights = directory / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: value.double() for name, value in tensors.items()}, weights)
    after = load_model(directory).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_that_another_tool_wrote_again(directory: Path):
    weights = directory / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors, weights, {"format": "pt"})  # the same numbers in another file
    load_model(directory)
    save_file({name: value.half() for name, value in tensors.items()}, weights)
    message = line_of(lambda: load_model(directory))
    assert (
        "changed since the model was saved; copy the model again, or, if it was changed" in message
    )


def test_a_file_of_another_name_has_no_checksums(directory: Path):
    tensors = load_file(directory / "model.safetensors")
    other = directory / "model.fp16.safetensors"
    save_file({name: value.half() for name, value in tensors.items()}, other)
    assert load_model(other).config == load_model(directory).config


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"method": "md5", "files": {}, "tensors": {}}']
    + [f'{{"method": "crc32", "files": {{}}, "tensors": {value}}}' for value in ("3", '{"a": 3}')],
)
def test_damaged_checksums(content: str, directory: Path):
    (directory / CHECKSUMS_FILE).write_text(content)
    message = line_of(lambda: load_model(directory))
    assert message.startswith(f"{directory / CHECKSUMS_FILE}: cannot be read as checksums: ")
    assert message.endswith(f"delete {directory / CHECKSUMS_FILE}")


def test_weights_that_are_not_finite_are_refused_all_the_same(tmp_path: Path):
    model = tiny_clip()
    with torch.no_grad():
        model.text_tower.projection[0, 0] = float("nan")
    save_model(model, tmp_path)
    with pytest.raises(CheckpointError, match=r"projection: got nan, expected finite weights"):
        load_model(tmp_path)


def test_the_embedded_model_has_checksums_that_fit(tmp_path: Path):
    source = resolve("icons")
    checkpoint = open_checkpoint(source)
    assert set(checkpoint.checksums) == set(checkpoint.tensors)
    shutil.copytree(source, tmp_path / "icons")
    weights = tmp_path / "icons" / "model.safetensors"
    flip(weights, weights.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"got crc32 \w{8}, expected \w{8} as in checksums"):
        load_model(tmp_path / "icons")


# Whatever writes a model's directory


def sums_fit(directory: Path) -> bool:
    """Whether all that is in a directory has a checksum, and it fits."""
    checkpoint = open_checkpoint(directory)
    load_model(directory)
    files = set(json.loads((directory / CHECKSUMS_FILE).read_text())["files"])
    present = {path.name for path in directory.iterdir()}
    expected = {"config.json", "tokenizer.json", "classifier.safetensors"} & present
    return set(checkpoint.checksums) == set(checkpoint.tensors) and files == expected


def test_a_model_written_over_another(directory: Path):
    words = train_tokenizer(["a small drawing of the large cat"], 530)
    changes = {"vocab_size": 530, "context_length": 16, "tokenizer": "tokenizer.json"}
    save_model(tiny_clip(embed_dim=8, **changes), directory.parent / "x", words)
    assert sums_fit(directory.parent / "x")
    for dtype in (None, torch.float16, torch.bfloat16):
        save_model(tiny_clip(embed_dim=16, **changes), directory, words, dtype=dtype)
        assert sums_fit(directory)


def test_a_classifier_written_after_the_model(directory: Path):
    save_head(ClassifierHead(("a", "b", "c"), np.zeros((16, 3), np.float32)), directory)
    assert sums_fit(directory)
    head = load_head(directory, 16)
    assert head is not None
    assert head.classnames == ("a", "b", "c")


def test_a_converted_model(directory: Path, tmp_path: Path):
    lens = load(directory, device="cpu", precision="fp32")
    write_checkpoint(lens, tmp_path / "native")
    assert sums_fit(tmp_path / "native")
    write_checkpoint(lens, tmp_path / "hf", "hf")
    again = load(tmp_path / "hf", device="cpu", precision="fp32")
    write_checkpoint(again, tmp_path / "again")
    assert sums_fit(tmp_path / "again")
    assert not (tmp_path / "hf" / CHECKSUMS_FILE).exists()


def test_a_model_between_two(directory: Path, tmp_path: Path):
    save_interpolated(directory, directory, tmp_path / "between")
    assert sums_fit(tmp_path / "between")
    assert (tmp_path / "between" / "classifier.safetensors").is_file()
