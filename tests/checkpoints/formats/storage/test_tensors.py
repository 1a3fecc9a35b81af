"""Files of weights: each kind's values, and every way one can be damaged or hostile."""

import json
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.checkpoints.formats.hostile import (
    FOUR,
    assert_same,
    hostile,
    module,
    opcodes,
    refused,
    tensor,
    write_archive,
    write_zip,
)
from twinlens.checkpoints.finite import require_finite
from twinlens.checkpoints.formats.storage.tensors import open_sharded, open_tensors
from twinlens.errors import CheckpointError

WEIGHTS = {
    "a.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "a.bias": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "step": torch.tensor(7),
}


# Pickles


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights"])
def test_a_state_dict(tmp_path: Path, zipped: bool, name: str):
    path = tmp_path / name
    state = OrderedDict(WEIGHTS, a=nn.Parameter(torch.ones(2)))
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert_same(open_tensors(path), WEIGHTS | {"a": torch.ones(2)})


def test_a_training_checkpoint(tmp_path: Path):
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3, 4)}
    checkpoint = {
        "epoch": 3,
        "name": "run",
        "state_dict": {f"module.{name}": value for name, value in WEIGHTS.items()},
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "scaler": {"scale": 65536.0},
    }
    torch.save(checkpoint, tmp_path / "epoch_3.pt")
    assert_same(open_tensors(tmp_path / "epoch_3.pt"), WEIGHTS)


def test_only_what_all_names_begin_with_is_stripped(tmp_path: Path):
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "x.pt")
    assert_same(open_tensors(tmp_path / "x.pt"), state)


def test_pickles_that_ask_for_calls(tmp_path: Path, trap: Path):
    path = tmp_path / "x.pt"
    for asks in hostile(trap):
        for zipped in (True, False):
            for content in (asks, {"a": asks}, {"state_dict": {"a": asks}, "b": torch.ones(1)}):
                torch.save(content, path, _use_new_zipfile_serialization=zipped)
                refused(path, r"x\.pt: got a request for \S+, expected a pickle of tensors alone")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            path.write_bytes(pickle.dumps(asks, protocol))
            refused(path, r"x\.pt: got (a pickle that torch\.save did not|another kind)")


def test_a_pickled_module(tmp_path: Path):
    torch.save(nn.Linear(2, 2), tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"got a request for 'torch\.nn\.modules\.linear\.Linear'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "got list, expected a mapping"),
        ({"epoch": 3, "a": torch.ones(1)}, "got int under 'epoch', expected names of plain"),
        ({1: torch.ones(1)}, "got Tensor under '1', expected names"),
        ({"a": torch.ones(2, 2).to_sparse()}, "got Tensor under 'a', expected"),
        ({"a": torch.ones(2, device="meta")}, "got Tensor under 'a', expected"),
        ({"a": torch.ones(1).expand(2**40)}, "got Tensor under 'a', expected"),
        ({"a\n\x1b[2J": torch.ones(1)}, r"got the name 'a\\n"),
        ({}, "got no tensors"),
    ],
)
def test_pickles_of_other_things(tmp_path: Path, content: object, message: str):
    torch.save(content, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", message)


def test_tensors_that_share_few_bytes(tmp_path: Path):
    one = torch.ones(100_000)
    torch.save({str(i): one for i in range(10)}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "got tensors of 4000000 bytes")
    torch.save({str(i): one for i in range(2)}, tmp_path / "x.pt")  # tied weights
    assert len(open_tensors(tmp_path / "x.pt")) == 2


def test_a_storage_that_is_longer_than_the_file(tmp_path: Path):
    content = b"\x80\2" + opcodes({"a": tensor(length=10**6, size=(10**6,), stride=(1,))}) + b"."
    members = {"x/data.pkl": content, "x/version": b"3\n", "x/data/0": FOUR}
    write_zip(tmp_path / "x.pt", members)
    refused(tmp_path / "x.pt", "cannot be read")


# safetensors


def test_safetensors(tmp_path: Path):
    save_file(WEIGHTS, tmp_path / "weights.bin")
    assert_same(open_tensors(tmp_path / "weights.bin"), WEIGHTS)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


TWO = entry("F32", [2], 0, 8)


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": entry("X9", [2], 0, 8)}, 8, "unknown variant `X9`"),
        ({"a": TWO, "b": entry("F32", [2], 4, 12)}, 12, "invalid offset"),
        ({"a": TWO, "b": TWO}, 8, "invalid offset"),
        ({"a": TWO}, 12, "not fully covered"),
        ({"a": TWO}, 4, "not fully covered"),
        ({"a": entry("F32", [3], 0, 8)}, 8, "invalid shape"),
        ({"a": entry("F32", [2**62, 2**62], 0, 8)}, 8, "cannot be read"),
        ({"a\n\x1b[2J": TWO}, 8, r"got the name 'a\\n"),
        ({}, 0, "got no tensors"),
        (f'{{"a": {json.dumps(TWO)}, "a": {json.dumps(TWO)}}}', 8, "got 'a' twice"),
        ('{"a": ' + "[" * 100_000, 0, "cannot be read"),
    ],
)
def test_hostile_safetensors(tmp_path: Path, header: object, size: int, message: str):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    refused(tmp_path / "x", message)


def test_a_safetensors_header_of_gigabytes(tmp_path: Path):
    (tmp_path / "x").write_bytes(struct.pack("<Q", 2**31) + b'{"a": ')
    tracemalloc.start()
    try:
        refused(tmp_path / "x", "header too large")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


# Any file


def test_what_is_no_file(tmp_path: Path):
    refused(tmp_path / "missing", "got nothing, expected a file")
    refused(tmp_path, "got something else, expected a file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "got something else, expected a file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"<!doctype html><title>404</title>", "got another kind of file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "got a pointer of Git LFS"),
        (b"PK\3\4", "cannot be read"),
        (b"PK\5\6" + bytes(18), "got another kind of file"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "x").write_bytes(content)
    refused(tmp_path / "x", message)


KINDS = ["safetensors", "pickle", "legacy", "npz.npz", "torchscript"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small file of each kind."""
    directory = tmp_path_factory.mktemp("whole")
    save_file(WEIGHTS, directory / "safetensors")
    torch.save(WEIGHTS, directory / "pickle")
    torch.save(WEIGHTS, directory / "legacy", _use_new_zipfile_serialization=False)
    np.savez(directory / "npz", **{name: value.numpy() for name, value in WEIGHTS.items()})
    write_archive(directory / "torchscript", module({"a": tensor(), "b": module({})}))
    return directory


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(whole: Path, tmp_path: Path, kind: str):
    content = (whole / kind).read_bytes()
    for length in (len(content) // 10, len(content) // 2, len(content) - 1):
        (tmp_path / "x").write_bytes(content[:length])
        refused(tmp_path / "x")


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4)
)
def test_changed_bytes_are_an_error_or_other_weights(
    whole: Path, kind: str, changes: list[tuple[float, int]]
):
    content = bytearray((whole / kind).read_bytes())
    for place, byte in changes:
        content[int(place * len(content))] = byte
    path = whole / "changed"
    path.write_bytes(content)
    try:
        tensors = dict(open_tensors(path))
    except CheckpointError as error:
        assert changes  # the file as it was can be read
        assert str(error).removeprefix(str(path)).isprintable()  # noqa: PT017  so are other weights
    else:
        assert sum(value.nbytes for value in tensors.values()) < 4 * len(content)


# Several files


def write_index(directory: Path, places: object) -> Path:
    path = directory / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def test_sharded(tmp_path: Path):
    one, two = (
        {"a.weight": WEIGHTS["a.weight"]},
        {"a.bias": WEIGHTS["a.bias"], "step": WEIGHTS["step"]},
    )
    save_file(one, tmp_path / "one.safetensors")
    torch.save(two, tmp_path / "two.bin")
    places = dict.fromkeys(one, "one.safetensors") | dict.fromkeys(two, "two.bin")
    assert_same(open_sharded(write_index(tmp_path, places)), WEIGHTS)


@pytest.mark.parametrize(
    "file", ["../secret", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "C:a", "..\\a", 3, None]
)
def test_an_index_stays_in_its_directory(tmp_path: Path, file: object):
    with pytest.raises(CheckpointError, match="expected the name of a file beside it"):
        open_sharded(write_index(tmp_path, {"a": file}))


def test_an_index_that_disagrees_with_its_files(tmp_path: Path):
    save_file({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "one")
    save_file({"b": torch.ones(1)}, tmp_path / "two")
    for places, message in [
        ({"a": "one", "b": "two"}, "one: got b, expected what model"),
        ({"a": "one"}, "one: got b, expected what model"),
        ({"a": "one", "b": "one", "c": "two"}, "two: got b, expected what model"),
        ({"a": "one", "b": "one", "c": "one"}, "got no c, expected in the files"),
        ({"a": "one", "b": "one", "c": "three"}, "three: got nothing, expected a file"),
        ({}, "got no names"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            open_sharded(write_index(tmp_path, places))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": 3}',
        '{"weight_map": ["a"]}',
        '{"weight_map": {"a": "x", "a": "y"}}',
        "[" * 100_000,
        "\udc80",
    ],
)
def test_damaged_indices(tmp_path: Path, content: str):
    path = tmp_path / "index.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"index\.json: cannot be read as an index") as error:
        open_sharded(path)
    assert "\n" not in str(error.value)


def test_an_index_that_is_no_file(tmp_path: Path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read as an index"):
            open_sharded(path)


# Values


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_weights_must_be_finite(dtype: torch.dtype, value: str):
    weights = torch.ones(3, 4, dtype=dtype)
    require_finite("a.weight", weights, Path("x.pt"))
    weights[1, 2] = float(value)
    message = rf"x\.pt: a\.weight: got {value}, expected finite"
    with pytest.raises(CheckpointError, match=message):
        require_finite("a.weight", weights, Path("x.pt"))


def test_what_need_not_be_checked(tmp_path: Path):
    for weights in (torch.zeros(0), torch.arange(3), torch.tensor(True), torch.tensor(1.0)):
        require_finite("a", weights, tmp_path)
    float8 = torch.ones(2).to(torch.float8_e4m3fn)
    require_finite("a", float8, tmp_path)
    with pytest.raises(CheckpointError, match="got nan"):
        require_finite("a", torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn), tmp_path)
