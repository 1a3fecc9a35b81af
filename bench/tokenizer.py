"""Texts to rows of 77 ids: ours, open_clip's tokenizer and the `tokenizers` library, in turn.

Run: python bench/tokenizer.py [--rounds 5] [--out bench/results/tokenizer.json]

Every round times each contestant once on the same texts, in one thread of one process. "cold" is
our tokenizer with its word cache empty, "warm" the same call again; open_clip's cache stays warm
from round to round. The library reads our saved vocabulary and does less: no ftfy, no HTML.
"""

# ruff: noqa: RUF001, SIM905

import argparse
import importlib.util
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when the library first works

import numpy as np
import tokenizers
import torch
from rich.console import Console
from rich.table import Table

from twinlens.text.clip_bpe import Tokenizer

LENGTH = 77

LOOKS = """red striped spotted giant dwarf common golden silver wild tame mountain river desert
arctic tropical antique folding electric wooden steel ceramic portable spotted-winged black-footed
short-haired""".split()
THINGS = """terrier lizard finch spider crab beetle antelope whale mushroom orchid acorn pretzel
burrito lighthouse viaduct palace greenhouse sailboat tractor tricycle locomotive typewriter
projector keyboard violin accordion drum teapot ladle corkscrew hourglass lampshade umbrella
sandal cardigan wig parachute hammock snowplow thimble""".split()
KINDS = [
    "a photo of a {}",
    "a blurry photo of the {}",
    "a drawing of one {}",
    "the origami {}",
    "itap of my {}",
    "a close-up photo of a clean {}",
    "art of the {}",
    "a plastic {}, big or small",
]
PLACES = [
    ".",
    " in a video game.",
    " at night.",
    ", seen from above.",
    " that's hard to see!",
    " in black & white.",
    " on a beach in summer.",
    " (cropped).",
    " beside a person.",
    " in the rain.",
]

CAPTIONS = [
    "ein gelber Vogel auf einem Ast über dem Fluss", "une tasse de café près de l’fenêtre",
    "un niño con un globo azul", "木の上の黄色い鳥", "河边的一只黄色的鸟", "жёлтая птица на ветке",
    "طائر أصفر على غصن", "나뭇가지 위의 노란 새", "a yellow bird 🐦 on a branch — in spring",
]  # fmt: skip


def prompts() -> list[str]:
    """80,000: 1,000 names in each of 80 templates, plain ASCII."""
    names = [f"{look} {thing}" for look in LOOKS for thing in THINGS]
    return [(kind + place).format(name) for kind in KINDS for place in PLACES for name in names]


def captions() -> list[str]:
    """9,000 captions in nine languages, which need the slow, full cleaning."""
    return [f"{caption} {number}" for number in range(1000) for caption in CAPTIONS]


def load_open_clip() -> Callable[[Sequence[str]], torch.Tensor]:
    """Its tokenizer's one file: the package itself takes seconds to import."""
    package = importlib.util.find_spec("open_clip")
    path = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def load_library(path: str) -> Callable[[Sequence[str]], torch.Tensor]:
    bpe = tokenizers.Tokenizer.from_file(path)
    bpe.enable_truncation(LENGTH)
    bpe.enable_padding(length=LENGTH, pad_id=0)
    return lambda texts: torch.as_tensor(np.array([row.ids for row in bpe.encode_batch(texts)]))


def seconds(call: Callable[[Sequence[str]], torch.Tensor], texts: Sequence[str]) -> float:
    start = time.perf_counter()
    rows = call(texts)
    taken = time.perf_counter() - start
    assert rows.shape == (len(texts), LENGTH)
    return taken


def race(texts: Sequence[str], rounds: int, path: str) -> dict[str, list[float]]:
    """Texts a second of each contestant in every round."""
    open_clip, library = load_open_clip(), load_library(path)
    assert torch.equal(Tokenizer.clip()(texts), open_clip(texts)), "the ids differ"
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        ours = Tokenizer.from_file(path)
        for name, call in {
            "twinlens, cold": ours,
            "twinlens, warm": ours,
            "open_clip": open_clip,
            "tokenizers": library,
        }.items():
            times.setdefault(name, []).append(len(texts) / seconds(call, texts))
    return times


def summary(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    peer = rates["open_clip"]
    return {
        name: {
            "texts_per_second": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
            "times_open_clip": statistics.median(
                mine / theirs for mine, theirs in zip(values, peer, strict=True)
            ),
        }
        for name, values in rates.items()
    }


def show(title: str, results: dict[str, dict[str, float]]) -> None:
    table = Table("", "texts/s, median", "lowest to highest", "times open_clip", title=title)
    for name, row in results.items():
        spread = f"{row['lowest']:,.0f} to {row['highest']:,.0f}"
        ratio = f"{row['times_open_clip']:.1f}"
        table.add_row(name, f"{row['texts_per_second']:,.0f}", spread, ratio)
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/tokenizer.json"
    )
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "tokenizer.json")
        Tokenizer.clip().save(path)
        for title, texts in {
            "ImageNet-style prompts": prompts(),
            "nine languages": captions(),
        }.items():
            results[title] = summary(race(texts, options.rounds, path))
            show(f"{len(texts):,} {title}", results[title])
    packages = ("torch", "numpy", "regex", "ftfy", "tokenizers", "open_clip_torch")
    report = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "rounds": options.rounds,
        "results": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
