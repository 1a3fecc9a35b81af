"""One model in every layout, and its weights as trainers would write them."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.checkpoints.formats.trainers_cases import Case
from tests.tiny import tiny_config
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.reader import load_model
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.errors import CheckpointError
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import train_tokenizer

State = dict[str, Tensor]
PLAIN = {
    "native": "model.safetensors",
    "open_clip": "open_clip_model.safetensors",
    "custom_text": "open_clip_model.safetensors",
    "hugging_face": "model.safetensors",
}
PICKLES = {
    "native": "pytorch_model.bin",
    "open_clip": "open_clip_pytorch_model.bin",
    "custom_text": "open_clip_pytorch_model.bin",
    "hugging_face": "pytorch_model.bin",
}
OUTSIDE = ("visual.", "logit_")


def a_model(**changes: object) -> CLIP:
    """Heads 64 wide, so that shapes tell them, and no two weights alike."""
    config = tiny_config(
        vocab_size=530, context_length=16, embed_dim=16, tokenizer="tokenizer.json"
    )
    assert config.vision is not None
    assert config.text is not None
    towers = {
        "vision": replace(config.vision, width=64, heads=1),
        "text": replace(config.text, width=64, heads=1),
    }
    config = replace(config, **(towers | changes))  # pyright: ignore[reportArgumentType]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = CLIP(config)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model.eval()


def custom(tensors: Mapping[str, Tensor]) -> State:
    """open_clip's second layout."""
    return {n if n.startswith(OUTSIDE) else f"text.{n}": value for n, value in tensors.items()}


def write_plain(root: Path) -> dict[str, Path]:
    """One model in every layout."""
    words = train_tokenizer(["a small drawing of the large cat"], 530)
    model = a_model()
    save_model(model, root / "native", words)
    write_open_clip(model, root / "open_clip", words)
    write_hugging_face(model, root / "hugging_face", words)
    shutil.copytree(root / "open_clip", root / "custom_text")
    path = root / "custom_text" / PLAIN["custom_text"]
    save_file(custom(load_file(path)), path)
    return {name: root / name for name in PLAIN}


def tensors_of(plain: Mapping[str, Path], layout: str) -> State:
    layout = "open_clip" if layout == "openai" else layout
    return load_file(plain[layout] / PLAIN[layout])


def place_of(case: Case, plain: Mapping[str, Path], directory: Path) -> Path:
    """Where the weights go; all that belongs beside them is put there."""
    directory.mkdir(exist_ok=True)
    if not case.configured:
        end = "safetensors" if case.kind == "safetensors" else case.ending
        return directory / f"weights.{end}"
    for path in plain[case.layout].iterdir():
        if path.suffix == ".json" and path.name != "checksums.json":
            shutil.copy(path, directory)
    names = PLAIN if case.kind == "safetensors" else PICKLES
    return directory / names[case.layout]


def wrapped(tensors: Mapping[str, Tensor], keys: tuple[str, ...], **others: object) -> object:
    """Tables in one another, the outermost with what trainers put beside the weights."""
    table: object = dict(tensors)
    for key in reversed(keys):
        table = {key: table}
    if not keys:
        return table
    assert isinstance(table, dict)
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.ones(3)}
    beside: dict[str, object] = {
        "epoch": 3,
        "best_acc1": 0.5,
        "name": "run",
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "scaler": {"scale": 65536.0, "growth": None},
        "rng_state": torch.get_rng_state(),
        "config": {"model": {"width": 64}, "ema": True},
        **others,
    }
    return beside | table


def write(content: object, path: Path, kind: str) -> None:
    if kind == "safetensors":
        assert isinstance(content, dict)
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "pickle")


def opened(path: Path) -> CLIP:
    return load_model(path, activation="quick_gelu")


def assert_the_same(path: Path, expected: CLIP) -> None:
    model = opened(path)
    assert model.config == expected.config
    got, wanted = model.state_dict(), expected.state_dict()
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].dtype == value.dtype
        assert torch.equal(got[name], value), name


def line_of(call: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message
