"""TorchScript archives: OpenAI's, and hostile ones."""

import pickle
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.checkpoints.formats.hostile import (
    assert_same,
    hostile,
    module,
    opcodes,
    read_zip,
    refused,
    tensor,
    write_archive,
    write_zip,
)
from tests.checkpoints.formats.openai_archive import openai_model, save_openai_archive
from twinlens.checkpoints.formats.storage.tensors import open_tensors


def test_openais_archive(tmp_path: Path):
    model = openai_model()
    save_openai_archive(model, tmp_path / "weights.bin")
    tensors = open_tensors(tmp_path / "weights.bin")
    assert_same(tensors, model.state_dict())
    assert tensors["visual.conv1.weight"].dtype == np.float16
    assert tensors["visual.transformer.resblocks.1.attn.in_proj_weight"].shape == (384, 128)
    assert {name: int(tensors[name]) for name in ("input_resolution", "vocab_size")} == {
        "input_resolution": 32,
        "vocab_size": 100,
    }


def test_code_of_an_archive_is_not_read(
    tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
):
    model = openai_model()
    save_openai_archive(model, tmp_path / "whole.pt")
    members = read_zip(tmp_path / "whole.pt")
    evil = pickle.dumps(hostile(trap)[0])
    changed = {
        name: b"raise SystemExit" if name.endswith(".py") else evil
        for name in members
        if "/code/" in name or name.endswith(("constants.pkl", "traced_inputs.pkl"))
    }
    assert any(name.endswith(".py") for name in changed)
    write_zip(tmp_path / "changed.pt", members | changed)

    def refuse(*_: object, **__: object):
        raise AssertionError("it was run")

    monkeypatch.setattr(torch.jit, "load", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    assert_same(open_tensors(tmp_path / "changed.pt"), model.state_dict())


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        self.heads = 2

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight * self.heads


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.transposed = nn.Parameter(self.inner.weight.detach().T)
        self.part = nn.Parameter(self.inner.weight.detach()[1, 1:])
        self.register_buffer("mean", torch.ones(3, dtype=torch.float64))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.context_length = 77
        self.scale = 2.0
        self.flag = True
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.scale + self.context_length + self.sizes[0]


def test_a_scripted_module_has_its_whole_numbers_too(tmp_path: Path):
    model = Outer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model), tmp_path / "model.pt")
    state = {name: value.detach() for name, value in model.state_dict().items()}
    assert_same(open_tensors(tmp_path / "model.pt"), state | {"context_length": torch.tensor(77)})


def test_tensors_stay_in_the_file_and_leave_it_as_it_was(tmp_path: Path):
    path = tmp_path / "model.pt"
    save_openai_archive(openai_model(), path)
    before = path.read_bytes()
    tensors = open_tensors(path)
    name = "token_embedding.weight"
    assert np.shares_memory(tensors[name], tensors[name])
    tensors[name][...] = 0
    assert not tensors[name].any()
    assert path.read_bytes() == before
    assert open_tensors(path)[name].any()


def test_an_archive_made_by_hand(tmp_path: Path):
    content = module({"a": tensor(), "b": module({"c": tensor(size=(3,), stride=(1,), offset=1)})})
    tensors = open_tensors(write_archive(tmp_path / "x", content))
    expected = {"a": torch.arange(4.0).reshape(2, 2), "b.c": torch.tensor([1.0, 2.0, 3.0])}
    assert_same(tensors, expected)


CYCLE = b"c__torch__.x\nModel\n)\x81q\1}(" + opcodes("a") + b"h\1ub"
LADDER = b"".join(
    [module({"w": tensor()}), b"q\0"]
    + [module({"a": b"h" + bytes([i]), "b": b"h" + bytes([i])}) + b"q" + bytes([i + 1])
       for i in range(60)]
)  # fmt: skip
NESTED = b")" + b"\x85" * 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tensor(), "got PickledTensor, expected a module"),
        (module({"a": tensor(length=5)}), "a: got 16 bytes in data/0, expected 5 numbers of 4"),
        (module({"a": tensor(length=2**62)}), "a: got 16 bytes in data/0"),
        (module({"a": tensor(kind=b"ctorch\nDoubleStorage\n")}), "expected 4 numbers of 8"),
        (module({"a": tensor(key="1")}), "no member 'x/data/1'"),
        (module({"a": tensor(key="../data.pkl")}), "no member 'x/data/../data.pkl'"),
        (module({"a": tensor(offset=1)}), r"a: got shape \[2, 2\], strides \[2, 1\] and offset 1"),
        (module({"a": tensor(offset=-1)}), "got a tensor of broken sizes"),
        (module({"a": tensor(stride=(3, 1))}), r"strides \[3, 1\]"),
        (module({"a": tensor(stride=(-2, 1))}), "got a tensor of broken sizes"),
        (module({"a": tensor(size=(2**40,), stride=(0,))}), r"shape \[1099511627776\]"),
        (module({"a": tensor(size=(2, 2), stride=(1,))}), "got a tensor of another kind"),
        (module({"a": tensor(size=(1,) * 9, stride=(1,) * 9)}), "got a tensor of another kind"),
        (module({"a": tensor(size=("2", 2))}), "got a tensor of broken sizes"),
        (module({"a": tensor(kind=b"ctorch\nQUInt8Storage\n")}), "for 'torch.QUInt8Storage'"),
        (module({"a": tensor(kind=b"c__torch__.x\nModel\n")}), "got a storage of another kind"),
        (module({"a": tensor(), b"X\1\0\0\0a": tensor()}), "got 'a' twice"),
        (module({"a.b": tensor()}), r"got the name 'a\.b'"),
        (module({"a\x1b[2J\n": tensor()}), r"got the name 'a\\x1b"),
        (module({1: tensor()}), "expected attributes by name"),
        (module({("a",): tensor()}), "got a key of type tuple"),
        (b"}(" + NESTED + opcodes(1) + b"u", "got a key of type tuple"),
        (CYCLE, "expected a short one without dots"),
        (LADDER, "got more than 100000 attributes"),
        (module({"context_length": b"\x8a\x0a" + b"\1" * 10}), "context_length"),
        (b"cos\nsystem\n" + opcodes(("true",)) + b"R", "request for 'os.system'"),
        (b"c__torch__.os\nsystem\n" + opcodes(("true",)) + b"R", "call of '__torch__.os.system'"),
        (b"c__torch__.os\nsystem\n" + opcodes(("true",)) + b"\x81", "expected a module without"),
        (b"(" + opcodes("true") + b"ios\nsystem\n", "got the opcode INST"),
        (opcodes("os") + opcodes("system") + b"\x93", "got the opcode STACK_GLOBAL"),
        (b"c__torch__.x\nModel\n}b", "got _GlobalName, expected PickledModule"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "data.pkl"),
        (b"", "got a broken pickle"),
        (b"h\7", "got a broken pickle"),
        (b"t", "got a broken pickle"),
        (b"\x8d" + b"\xff" * 7 + b"\x7f", "data.pkl"),
        (b"X\xff\xff\xff\xff", "data.pkl"),
    ],
)
def test_hostile_archives(tmp_path: Path, content: bytes, message: str):
    refused(write_archive(tmp_path / "x.pt", content), message)


def test_many_tensors_of_few_bytes(tmp_path: Path):
    large = {"data/0": bytes(40_000)}
    one = tensor(length=10_000, size=(100, 100), stride=(100, 1)) + b"q\0"
    content = module({"a": one, **{str(i): b"h\0" for i in range(9)}})
    refused(write_archive(tmp_path / "x.pt", content, **large), "got tensors of 400000 bytes")
    content = module({"a": one, "tied": b"h\0"})
    tensors = open_tensors(write_archive(tmp_path / "x.pt", content, **large))
    assert_same(tensors, dict.fromkeys(("a", "tied"), torch.zeros(100, 100)))


def test_archives_that_ask_for_calls(tmp_path: Path, trap: Path):
    for asks in hostile(trap):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            members = {"x/data.pkl": pickle.dumps(asks, protocol), "x/constants.pkl": b"\x80\2)."}
            write_zip(tmp_path / "x.pt", members)
            refused(tmp_path / "x.pt", r"x\.pt: data\.pkl: got")


def test_a_claim_costs_no_memory(tmp_path: Path):
    """Python's unpickler makes room for all memos up to the one that is named."""
    long_memo = b")r\xff\xff\xff\x0f0"
    content = long_memo + module({"a": tensor()})
    path = write_archive(tmp_path / "x.pt", content.replace(b"0c__torch__", b"c__torch__", 1))
    tracemalloc.start()
    try:
        assert list(open_tensors(path)) == ["a"]
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_other_byte_order(tmp_path: Path):
    path = write_archive(tmp_path / "x.pt", module({"a": tensor()}), byteorder=b"big")
    refused(path, "expected little-endian")
