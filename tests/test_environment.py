"""The environment that `make` builds is one in which every feature works."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.conftest import Ending
from tests.train.runs import write_squares

FEATURES = (
    "peft",
    "transformers:CLIPModel",
    "sentence_transformers:SentenceTransformer",
    "diffusers:StableDiffusionPipeline",
    "onnxruntime",
    "openvino",
    "pyarrow.parquet",
    "fsspec",
    "resvg_py",
    "sklearn",
    "torch.utils.tensorboard",
)

IMPORT = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    module, _, part = name.partition(":")
    getattr(import_module(module), part or "__name__")
"""


def python(*words: object) -> Ending:
    ended = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False
    )
    return Ending(ended.returncode, ended.stdout, ended.stderr)


def test_what_features_need_can_be_imported_by_a_fresh_process():
    ended = python("-W", "ignore", "-c", IMPORT, *FEATURES)
    assert ended.status == 0, ended.err


@pytest.mark.parametrize("name", ["torchvision", "open_clip", "timm"])
def test_what_spoils_others_is_kept_out(name: str):
    assert find_spec(name) is None


@pytest.mark.peers
@pytest.mark.parametrize("name", ["torchvision.transforms", "open_clip", "timm", "twinlens"])
def test_peers_have_an_environment_of_their_own(name: str):
    ended = python("-W", "ignore", "-c", f"import {name}; print({name}.__file__)")
    assert ended.status == 0, ended.err
    assert ("peers" in Path(ended.out.strip()).parts) == (name != "twinlens")


def test_the_command_trains_adapters_and_the_model_is_a_plain_one(
    tiny_directory: Path, tmp_path: Path
):
    out = tmp_path / "run"
    settings = ("adapt.lora_rank=2", "steps=2", "batch_size=8", "optim.warmup_steps=1")
    ended = python(
        "-c", "from twinlens.cli.main import main; main()", "train",
        "--recipe", "finetune-contrastive", "--init", tiny_directory,
        "--data", write_squares(tmp_path / "squares"), "--out", out,
        *(word for setting in settings for word in ("--set", setting)),
    )  # fmt: skip
    assert (ended.status, ended.out) == (0, f"{out / 'model'}\n"), ended.err
    names = python(
        "-c",
        "import sys\nfrom safetensors.torch import load_file\n"
        "one, other = (load_file(f'{path}/model.safetensors') for path in sys.argv[1:])\n"
        "print(one.keys() == other.keys(), sum((one[k] != other[k]).any().item() for k in one))\n",
        tiny_directory,
        out / "model",
    )
    same, changed = names.out.split()
    assert same == "True"
    assert int(changed) > 4
