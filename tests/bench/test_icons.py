"""A release from a miniature run and corpus, measured by the scripts as anyone runs them."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinlens
from tests.train.runs import tiny_recipe
from twinlens.checkpoints.native import save_model
from twinlens.config_io import apply_overrides, write_dataclass
from twinlens.data.datasets import open_dataset
from twinlens.data.left_out import LeftOut
from twinlens.data.webdataset.shards import list_samples, write_shard
from twinlens.eval.context import EvalContext
from twinlens.eval.tasks.zero_shot import evaluate_zero_shot
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import train_tokenizer
from twinlens.train.recipes.builtin import find_recipe

BENCH = Path(__file__).parents[2] / "bench"
NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "imp", "jay", "koi", "lion")
NOTE = ("--note", "It rained.")
PARTS = ("train", "unseen-style", "unseen-concepts", "unseen-both")


def script(name: str, *words: object) -> str:
    ended = subprocess.run(
        [sys.executable, str(BENCH / name), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (36, 36, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "webp", lossless=True)
    return out.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four parts of noise, an image a name; the even ones are colour emoji with German names."""
    root = tmp_path_factory.mktemp("corpus")
    for part in PARTS:
        samples: list[tuple[str, dict[str, bytes]]] = []
        for number, name in enumerate(NAMES):
            emoji = {"style": "noto", "names": {"en": name, "de": name[::-1]}}
            about = {"label": name, **(emoji if number % 2 else {"style": "fa"})}
            members = {"webp": noise(number), "json": json.dumps(about).encode()}
            samples.append((f"{number:09d}", members))
        (root / part).mkdir()
        write_shard(root / part / "00000.tar", samples)
    counts = {part: {"images": 12, "concepts": 12} for part in PARTS}
    manifest = {"fingerprint": "f00d", "packages": {"sets@1": "abc"}, "parts": counts}
    (root / "manifest.json").write_text(json.dumps(manifest))
    (root / "ATTRIBUTION.md").write_text("# Attribution\n")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves behind: 2 steps of 8 pairs that took 2 seconds."""
    root = tmp_path_factory.mktemp("run")
    model = apply_overrides(tiny_recipe().model, ["text.context_length=32"])
    recipe = find_recipe("icons-demo")
    recipe = replace(recipe, model=model, batch_size=8, steps=2, eval_every=1)
    write_dataclass(recipe, root / "recipe.json")
    save_model(CLIP(recipe.model), root / "model", train_tokenizer(NAMES * 4, 520))
    (root / "log.jsonl").write_text('{"samples_seen": 16, "pairs_per_second": 8.0}\n')
    return root


@pytest.fixture(scope="module")
def released(run: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("released") / "icons"
    assert f"wrote {out}" in script("release_icons.py", run, corpus, "--out", out, *NOTE)
    return out


def test_a_release_says_where_it_came_from(released: Path, run: Path):
    config = twinlens.load(released).config
    assert config.templates == find_recipe("icons-demo").model.templates
    assert (config.provenance.name, config.provenance.licence) == ("icons", "Apache-2.0")
    assert config.provenance.samples_seen == 16
    assert "f00d" in config.provenance.data
    halved = (released / "model.safetensors").stat().st_size
    assert halved < 0.6 * (run / "model" / "model.safetensors").stat().st_size


def test_its_card_tells_what_was_measured(released: Path):
    card = (released / "README.md").read_text()
    measured = json.loads((released / "metrics.json").read_text())
    for name in ("unseen style acc1", "unseen style acc1 de", "unseen concepts recall@10"):
        assert f"| {measured[name]:.1%} |" in card
    assert "16 in all, 0 minutes" in card
    assert "12 images of\n  12 concepts" in card
    assert "| de |" in card
    assert "no negatives of each other.\n  It rained.\n" in card
    again = '::emoji" \\\n    --out run \\\n    --set batch_size=8 \\\n    --set steps=2\npython'
    assert again in card  # how often it was evaluated is no matter
    assert "reaches below 80%" in card
    assert "no\n  drawings of Openclipart" in card
    assert (released / "ATTRIBUTION.md").read_text() == "# Attribution\n"


def test_anyone_gets_the_same_figures(released: Path, corpus: Path, tmp_path: Path):
    printed = script("icons.py", released, corpus, "--out", tmp_path / "figures.json")
    assert "unseen-concepts" in printed
    found = json.loads((tmp_path / "figures.json").read_text())
    figures = {(f["part"], f["metric"], f["language"]): f for f in found["figures"]}
    lens = twinlens.load(released)
    english = evaluate_zero_shot(EvalContext(lens), open_dataset(corpus / "unseen-style"))
    german = figures["unseen-style", "acc1", "de"]
    assert figures["unseen-style", "acc1", "en"]["value"] == english.metrics["acc1"]
    assert (german["images"], german["names"], german["chance"]) == (6, 6, 1 / 6)
    assert figures["unseen-both", "recall@10", "en"]["chance"] == 10 / 12
    assert found["corpus"]["fingerprint"] == "f00d"
    measured = json.loads((released / "metrics.json").read_text())
    assert measured["unseen style acc1 de"] == pytest.approx(german["value"], abs=1e-4)


def test_the_emoji_share_is_the_colour_emoji(corpus: Path, tmp_path: Path):
    assert "6 images" in script("emoji_share.py", corpus, tmp_path / "emoji")
    copies = list_samples(tmp_path / "emoji" / "00000.tar", LeftOut())
    originals = list_samples(corpus / "train" / "00000.tar", LeftOut())[1::2]
    assert [one.key for one in copies] == [one.key for one in originals]
    assert [one.read_member("webp") for one in copies] == [
        one.read_member("webp") for one in originals
    ]
