"""Files of torch.save: the same tensors come back, and nothing in a file is called."""

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.checkpoints.formats.hostile import (
    FOUR,
    assert_same,
    hostile,
    opcodes,
    refused,
    tensor,
    write_zip,
)
from tests.checkpoints.formats.storage.test_tensors import EVERY_TYPE, WEIGHTS, assert_same_bits
from twinlens.checkpoints.formats.storage.tensors import open_tensors


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
    assert_same(open_tensors(tmp_path / "epoch_3.pt"), checkpoint["state_dict"])


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
    refused(tmp_path / "x.pt", "a: got 16 bytes in data/0, expected 1000000 numbers of 4")


@pytest.mark.parametrize("zipped", [True, False])
def test_every_type_of_torch(tmp_path: Path, zipped: bool):
    torch.save(EVERY_TYPE, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_same_bits(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_views_and_tied_tensors(tmp_path: Path, zipped: bool):
    base = torch.arange(24.0).reshape(4, 6)
    state = {"all": base, "turned": base.T, "part": base[1:3, 2], "again": base, "none": base[:0]}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_same(open_tensors(tmp_path / "x.pt"), state)


def test_a_tensor_with_attributes(tmp_path: Path):
    weight, plain = nn.Parameter(torch.ones(2)), torch.zeros(3)
    weight.kind = plain.kind = "x"  # pyright: ignore[reportAttributeAccessIssue]
    torch.save({"weight": weight, "plain": plain}, tmp_path / "x.pt")
    assert_same(open_tensors(tmp_path / "x.pt"), {"weight": torch.ones(2), "plain": plain})
