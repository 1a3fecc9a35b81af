"""Files that are made to do harm, and how they are refused."""

import builtins
import os
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.checkpoints.formats.storage.tensors import open_tensors
from twinlens.checkpoints.torch_arrays import to_tensor
from twinlens.errors import CheckpointError


def assert_same(got: Mapping[str, Array], expected: Mapping[str, Tensor]):
    assert set(got) == set(expected)
    assert len(got) == len(expected)
    for name, value in expected.items():
        assert to_tensor(got[name]).dtype == value.dtype, name
        assert torch.equal(to_tensor(got[name]), value), name
    assert "no such name" not in got


def refused(path: Path, message: str | None = None):
    """The one line with which a file is refused, now or when its tensors are read."""
    with pytest.raises(CheckpointError, match=message) as error:
        dict(open_tensors(path))
    line = str(error.value)
    assert str(path) in line
    assert "\n" not in line
    assert line.removeprefix(str(path)).isprintable()


class Asks:
    """Pickled, it asks for a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile(trap: Path) -> list[Asks]:
    return [
        Asks(os.system, f"touch {trap}"),
        Asks(builtins.eval, f"open({str(trap)!r}, 'w')"),
        Asks(torch.load, str(trap)),
        Asks(Path.touch, trap),
    ]


def write_zip(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(name.rstrip("*"), content)  # so that a test can have a name twice


def read_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def opcodes(value: object) -> bytes:
    """Pickled; bytes are taken to be opcodes already."""
    match value:
        case bytes():
            return value
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case int():
            return b"\x8a\x08" + struct.pack("<q", value)
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
        case dict():
            return b"}(" + b"".join(opcodes(x) for item in value.items() for x in item) + b"u"
        case _:
            raise AssertionError(value)


def module(attributes: Mapping[object, object]) -> bytes:
    return b"c__torch__.x\nModel\n)\x81" + opcodes(attributes) + b"b"


def tensor(
    *,
    kind: bytes = b"ctorch\nFloatStorage\n",
    key: object = "0",
    length: object = 4,
    offset: object = 0,
    size: object = (2, 2),
    stride: object = (2, 1),
) -> bytes:
    storage = opcodes(("storage", kind, key, "cuda:0", length)) + b"Q"
    hooks = b"ccollections\nOrderedDict\n)R"
    call = opcodes((storage, offset, size, stride, b"\x89", hooks))
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + call + b"R"


FOUR = np.arange(4, dtype="<f4").tobytes()


def write_archive(path: Path, content: bytes, **members: bytes) -> Path:
    """An archive whose `data.pkl` is `content`, with four numbers."""
    others = {"x/data/0": FOUR, "x/constants.pkl": b"\x80\2)."} | {
        f"x/{name}": data for name, data in members.items()
    }
    write_zip(path, {"x/data.pkl": b"\x80\2" + content + b"."} | others)
    return path
