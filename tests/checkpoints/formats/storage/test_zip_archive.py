"""Zips of weights that numpy and torch write: values of `.npz`, bombs, and directories that lie."""

import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoints.formats.hostile import (
    FOUR,
    assert_same,
    module,
    refused,
    tensor,
    write_archive,
    write_zip,
)
from twinlens.checkpoints.formats.storage.tensors import open_tensors


@pytest.mark.parametrize("kind", ["torchscript", "pickle", "npz"])
def test_a_zip_bomb(tmp_path: Path, kind: str):
    """Sixty-four megabytes of nothing in sixty-four kilobytes are not made."""
    bomb = bytes(2**26)
    path = tmp_path / "bomb"
    members = {
        "torchscript": {"x/data.pkl": bomb, "x/constants.pkl": b""},
        "pickle": {"x/data.pkl": bomb, "x/version": b"3"},
        "npz": {"a.npy": bomb},
    }[kind]
    write_zip(path, members, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        refused(path, "compressed or encrypted, expected it stored")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_compressed_storage(tmp_path: Path):
    path = write_archive(tmp_path / "x.pt", module({"a": tensor()}))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/1", FOUR)
    assert list(open_tensors(path)) == ["a"]  # what no tensor is in may be compressed: code is
    content = module({"a": tensor(key="1")})
    write_zip(path, {"x/data.pkl": b"\x80\2" + content + b".", "x/constants.pkl": b""})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/1", FOUR)
    refused(path, "'x/data/1' compressed")


def test_a_pickle_of_many_megabytes(tmp_path: Path):
    for kind in ("constants.pkl", "version"):
        write_zip(tmp_path / "x", {"x/data.pkl": bytes(2**23), f"x/{kind}": b""})
        refused(tmp_path / "x", "got 8388608 bytes, expected at most 4194304")


def test_members_of_the_same_name(tmp_path: Path):
    write_zip(tmp_path / "x", {"a.npy": b"", "a.npy*": b""})
    refused(tmp_path / "x", "members of the same name")


def test_a_member_beyond_the_end(tmp_path: Path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(4))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    for place in (20, 24):  # sizes in the directory
        content[entry + place : entry + place + 4] = struct.pack("<I", 2**20)
    path.write_bytes(content)
    refused(path, "'a.npy' beyond the end, expected 1048576 bytes")
    content[entry + 42 : entry + 46] = struct.pack("<I", 2)  # the place of its own header
    path.write_bytes(content)
    refused(path, "'a.npy' beyond the end")


def test_a_zip_of_other_things(tmp_path: Path):
    write_zip(tmp_path / "x", {"notes.txt": b"hello"})
    refused(tmp_path / "x", "got a zip of other things")


# npz


def test_npz(tmp_path: Path):
    arrays = {
        "params/a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "params/b": np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4)),
        "params/scale": np.array(2.5, dtype=np.float16),
        "odd": np.array([1, 2, 3], dtype=np.int8),
        "params/c": np.arange(5),
        "empty": np.zeros((0, 3), np.float32),
    }
    np.savez(tmp_path / "weights", **arrays)
    expected = {name: torch.tensor(value) for name, value in arrays.items()}
    assert_same(open_tensors(tmp_path / "weights.npz"), expected)


def test_bfloat16_in_npz(tmp_path: Path):
    """numpy knows the type as two bytes of anything, which is how JAX's programs store it."""
    values = torch.tensor([1.0, -2.5, 1e30], dtype=torch.bfloat16)
    np.savez(tmp_path / "x.npz", a=values.view(torch.int16).numpy().view("V2"))
    assert_same(open_tensors(tmp_path / "x.npz"), {"a": values})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([print, {}], dtype=object), r"'a.npy': got the type \|O"),
        (np.ones(2, dtype=">f4"), "'a.npy': got the type >f4"),
        (np.array(["a"]), "'a.npy': got the type <U1"),
        (np.zeros(2, dtype=[("a", "<f4")]), r"'a.npy': got the type \|V4"),
    ],
)
def test_arrays_of_other_types(tmp_path: Path, array: Any, message: str):
    np.savez(tmp_path / "x.npz", allow_pickle=True, a=array)
    refused(tmp_path / "x.npz", message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\x93NUMPY\3\0", "got version"),
        (b"\x93NUMPY\1\0\x10\0{'descr': 1}     ", "cannot be read"),
    ],
)
def test_broken_arrays(tmp_path: Path, content: bytes, message: str):
    write_zip(tmp_path / "x.npz", {"a.npy": content})
    refused(tmp_path / "x.npz", message)


@pytest.mark.parametrize("shape", [(3,), (2**62, 4), (-1, -2), (-2,)])
def test_an_array_of_another_shape_than_its_bytes(tmp_path: Path, shape: tuple[int, ...]):
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(8))
    write_zip(tmp_path / "x.npz", {"a.npy": (tmp_path / "a.npy").read_bytes()})
    refused(tmp_path / "x.npz", "a")
