"""Files of weights: each kind's values, and every way one can be damaged or hostile."""

import json
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.checkpoints.formats.hostile import (
    assert_same,
    module,
    refused,
    tensor,
    write_archive,
)
from twinlens.checkpoints.formats.storage.tensors import open_sharded, open_tensors
from twinlens.checkpoints.torch_arrays import to_tensor
from twinlens.errors import CheckpointError

WEIGHTS = {
    "a.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "a.bias": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "step": torch.tensor(7),
}


TYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32),
    *(torch.uint64, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2),
]
EVERY_TYPE = {str(dtype): torch.tensor([[1, 0], [1, 1]]).to(dtype) for dtype in TYPES}


def assert_same_bits(path: Path) -> None:
    got = open_tensors(path)
    assert set(got) == set(EVERY_TYPE)
    for name, value in EVERY_TYPE.items():
        again = to_tensor(got[name])
        assert (again.dtype, again.shape) == (value.dtype, value.shape)
        assert torch.equal(again.view(torch.uint8), value.view(torch.uint8)), name


# safetensors


def test_every_type_of_safetensors(tmp_path: Path):
    save_file(EVERY_TYPE, tmp_path / "x")
    assert_same_bits(tmp_path / "x")


def test_a_type_that_numpy_has_not(tmp_path: Path):
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + bytes(1))
    refused(tmp_path / "x", "a: got the type F4, expected one of BOOL")


@pytest.mark.parametrize("padding", range(4))
def test_numbers_that_are_not_aligned(tmp_path: Path, padding: int):
    values = np.arange(3, dtype="<f4")
    header = json.dumps({"a": entry("F32", [3], 0, 12)}).encode() + b" " * padding
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    got = open_tensors(tmp_path / "x")["a"]
    assert got.flags.aligned
    assert np.array_equal(got, values)


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
