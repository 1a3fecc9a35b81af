"""The answering path where torch cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import twinlens
from tests.checkpoints.formats.openai_archive import openai_model, save_openai_archive
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.text.clip_bpe import Tokenizer

IMAGE = Path(twinlens.__file__).parent / "assets" / "images" / "cat.png"

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"
MAIN = "from twinlens.cli.main import main; main()"


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return run(MAIN, *words)


def test_the_verbs_that_answer():
    ended = command("classify", IMAGE, "--labels", "cat,dog,bicycle,pizza", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)[0]["predictions"][0]["label"] == "cat"
    for words in (("models",), ("models", "--known"), ("cache",), ("--help",), ("--version",)):
        ended = command(*words)
        assert ended.returncode == 0, ended.stderr


def test_an_index_of_folders_tables_and_tars(tmp_path: Path):
    shards = Path(twinlens.__file__).parent / "assets" / "shards" / "unseen-style"
    (tmp_path / "table.csv").write_text(f"image,text\n{IMAGE},a cat\n")
    for source, count in ((IMAGE.parent, 6), (tmp_path / "table.csv", 6), (shards, 821)):
        ended = command("index", source, "--out", tmp_path / "x.idx", "--json")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["rows"] == count
    ended = command("search", "a cat", "--index", tmp_path / "x.idx", "--json")
    assert json.loads(ended.stdout)[0]["results"]


@pytest.mark.parametrize(
    "words",
    [
        ("classify", IMAGE, "--labels", "a", "--engine", "torch"),
        ("classify", IMAGE, "--labels", "a", "--device", "cuda"),
        ("train", "--recipe", "icons-demo", "--data", IMAGE.parent, "--out", "NEW"),
        ("eval", "icons", "--data", IMAGE.parent),
        ("convert", "icons", "NEW", "--to", "hf"),
        ("export", "icons", "NEW", "--format", "openvino"),
        ("bench", "icons", "--engine", "torch"),
        ("bench", "icons", "--precision", "fp32,int8"),
        ("bench", "icons", "--compare", "transformers"),
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
def test_verbs_that_need_it_say_so(words: tuple[object, ...], tmp_path: Path):
    ended = command(*(tmp_path / "new" if word == "NEW" else word for word in words))
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "torch is not installed: run pip install 'twinlens[t" in " ".join(line.split())
    assert not (tmp_path / "new").exists()


RANDOM = """
from pathlib import Path
from twinlens.benchmark import synthetic_inputs
from twinlens.config import CLIPConfig
from twinlens.config_io import read_dataclass
config = read_dataclass(CLIPConfig, Path(sys.argv[1]) / "config.json")
synthetic_inputs.ARCHITECTURES["tiny"] = lambda: config
synthetic_inputs.write_random_checkpoint("tiny", Path(sys.argv[2]))
"""


def test_a_checkpoint_with_random_weights(tiny_directory: Path, tmp_path: Path):
    ended = run(RANDOM, tiny_directory, tmp_path / "model")
    assert ended.returncode == 0, ended.stderr
    embedder = twinlens.load(tmp_path / "model", engine="torch", device="cpu")
    assert embedder.config == twinlens.load(tiny_directory).config


def test_a_benchmark_and_the_process_that_it_starts(tmp_path: Path):
    # Read at the start of every process, of those too that measure memory.
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ("bench", "icons", "--batch", "1", "--seconds", "0.05", "--json")
    ended = subprocess.run(
        [sys.executable, "-c", MAIN, *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert (answer["engine"], answer["device"]) == ("openvino", "cpu")
    assert "torch" not in answer["machine"]
    assert {rate["tower"] for rate in answer["rates"]} == {"image", "text"}
    assert all(cost["peak_memory"] > 1e7 for cost in answer["precisions"])
    assert answer["precisions"][0]["cosines"]["image"] > 0.999999


API = """
import numpy as np, twinlens
from twinlens.errors import MissingExtraError
lens = twinlens.load("icons")
image = np.zeros((20, 30, 3), np.uint8)
assert lens.embed_images(image).shape == lens.embed_pixels(image.transpose(2, 0, 1)[None]).shape
assert lens.preprocess(image).shape == (3, 64, 64)
assert lens.encode(images=image, output="patches").shape == (1, 4, 1024)
assert lens.encode(texts="a cat", output="hidden:-2").shape == (1, 32, 192)
assert lens.score(image, ["a cat"]).shape == (1, 1)
assert lens.project(lens.probe_features([image])[0]).shape == (1, 256)
assert twinlens.tokenize("a cat").shape == (1, 77)
assert twinlens.presets.vit_b_32().embed_dim == 512
import twinlens.embed.dataset, twinlens.embed.feature_cache
for ask in (lambda: lens.model, lambda: twinlens.CLIP, lambda: twinlens.load(engine="torch")):
    try:
        ask()
    except MissingExtraError as error:
        assert "pip install 'twinlens[torch]'" in str(error)
    else:
        raise AssertionError("no error")
"""


def test_the_python_api():
    ended = run(API)
    assert ended.returncode == 0, ended.stderr


FAMILY = """
import numpy as np, twinlens
lens = twinlens.load(sys.argv[1], precision="fp32")
image = np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)
np.savez(sys.argv[2], images=lens.embed_images(image), texts=lens.embed_texts(["a cat", "a dog"]))
"""


@pytest.mark.parametrize("family", ["native", "openai", "open_clip", "hugging_face"])
def test_every_family_answers_as_torch_does(family: str, tmp_path: Path):
    path, model = tmp_path / "model", tiny_clip(vocab_size=CLIP_VOCABULARY, context_length=77)
    if family == "native":
        save_model(model, path)
    elif family == "open_clip":
        write_open_clip(model, path)
    elif family == "hugging_face":
        write_hugging_face(model, path, Tokenizer.clip())
    else:
        path = tmp_path / "model.pt"
        save_openai_archive(openai_model(seed=0, vocab_size=CLIP_VOCABULARY), path)
    ended = run(FAMILY, path, tmp_path / "answers.npz")
    assert ended.returncode == 0, ended.stderr
    expected = twinlens.load(path, engine="torch", device="cpu", precision="fp32")
    image = np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)
    with np.load(tmp_path / "answers.npz") as found:
        assert np.abs(found["images"] - expected.embed_images(image)).max() < 2e-5
        assert np.abs(found["texts"] - expected.embed_texts(["a cat", "a dog"])).max() < 2e-5
