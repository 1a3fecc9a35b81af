"""Fine-tune the embedded model on an icon set that it has never seen, and compare.

Run: python examples/finetune_icons.py    (needs npm, and pip install 'twinlens[data]')

1. Fetch: VK Icons (MIT), as npm has them. The model `icons` was trained on none of them.
2. Split by name: half of the names to learn from, a fifth to choose settings by, the rest to ask
   about in the end. Outlined drawings of names that are learned filled are asked about, too.
3. Measure the model `icons`, fine-tune it, measure again.

Everything is written below ./finetune; finetune/page.html shows what changed.
"""

import argparse
import csv
import hashlib
import random
import re
import shutil
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path

import resvg_py

import twinlens
from twinlens import html
from twinlens.cli.train import progress_bar
from twinlens.config_io import apply_overrides
from twinlens.data.datasets import open_dataset
from twinlens.eval import report
from twinlens.eval.context import EvalContext
from twinlens.eval.evaluators import ZeroShotEvaluator
from twinlens.eval.metrics.statistics import sign_test
from twinlens.eval.tasks.classification import ClassificationResult
from twinlens.eval.tasks.zero_shot import evaluate_zero_shot
from twinlens.train.recipes.builtin import find_recipe
from twinlens.train.trainer import fit

PACKAGE = "@vkontakte/icons@3.53.0"
ARCHIVE = "vkontakte-icons-3.53.0.tgz"
OUT = Path("finetune")
SIDE = 64
SHOWN = 12
USUAL_SIZE = 28
"""Most icons have a drawing for this size: of several that one is asked about."""

SETTINGS = [
    "steps=120",
    "optim.lr=0.001",
    "optim.warmup_steps=16",
    "adapt.unlocked_image_layers=1",
    "adapt.layer_decay=1",
    "adapt.interpolation=0.5",
    "augment.min_crop_side=0.8",
    "augment.max_rotation=10",
    "augment.max_stretch=0.1",
    "augment.brightness_std=0.05",
    "eval_every=40",
]
"""Chosen on the names of validation.csv."""

Drawings = dict[tuple[int, bool], bytes]
"""Of one name, by the size that a drawing is for and by whether it is outlined."""


def fetch() -> dict[str, Drawings]:
    """All drawings by their names, such as "cloud moon"."""
    OUT.mkdir(exist_ok=True)
    if not (OUT / ARCHIVE).exists():
        npm = shutil.which("npm") or "npm"
        subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=OUT, check=True)
    icons: dict[str, Drawings] = defaultdict(dict)
    with tarfile.open(OUT / ARCHIVE) as archive:
        for member in archive:
            named = re.fullmatch(r"package/src/svg/\d+/(\w+)_(\d+)\.svg", member.name)
            file = archive.extractfile(member) if named else None
            if named and file:
                name = named[1].replace("_outline", "").replace("_", " ")
                icons[name][int(named[2]), "_outline" in named[1]] = file.read()
    return icons


def split(icons: dict[str, Drawings]) -> None:
    """Four tables of images: train, validation, names and drawings."""
    shutil.rmtree(OUT / "images", ignore_errors=True)
    (OUT / "images").mkdir()
    rows: dict[str, list[list[str]]] = {
        part: [] for part in ("train", "validation", "names", "drawings")
    }
    for name, drawings in icons.items():
        usual = sorted(drawings, key=lambda key: (abs(key[0] - USUAL_SIZE), key[1]))
        filled = [key for key in usual if not key[1]]
        outlined = [key for key in usual if key[1]]
        tenth = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
        if tenth < 5:
            rows["names" if tenth < 3 else "validation"] += [draw(name, usual[0], drawings)]
        else:
            rows["train"] += [draw(name, key, drawings) for key in filled or outlined]
            if filled and outlined:
                rows["drawings"] += [draw(name, outlined[0], drawings)]
    for part, lines in rows.items():
        with (OUT / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["image", "text", "label"], *lines])


def draw(name: str, key: tuple[int, bool], drawings: Drawings) -> list[str]:
    """A line of a table, and its image."""
    size, outlined = key
    image = f"images/{name.replace(' ', '_')}-{size}{'-outlined' if outlined else ''}.png"
    svg = drawings[key].decode().replace("currentColor", "#222222")
    png = resvg_py.svg_to_bytes(svg, width=SIDE, height=SIDE, background="white")
    (OUT / image).write_bytes(bytes(png))
    return [image, name, name]


def train(recipe: str) -> Path:
    """The directory of a model that was fine-tuned."""
    shutil.rmtree(OUT / "run", ignore_errors=True)
    evaluator = ZeroShotEvaluator(open_dataset(str(OUT / "validation.csv")))
    with progress_bar([]) as show:
        return fit(
            apply_overrides(find_recipe(recipe, "icons"), SETTINGS),
            open_dataset(OUT / "train.csv"),
            OUT / "run",
            evaluators=[evaluator],
            report=show,
        )


def compare(before: twinlens.Embedder, after: twinlens.Embedder, part: str, heading: str) -> str:
    """Both models on one table, as a piece of a page; the same is printed."""
    dataset = open_dataset(OUT / f"{part}.csv")
    old, new = (evaluate_zero_shot(EvalContext(lens), dataset) for lens in (before, after))
    gained, lost = right(new) - right(old), right(old) - right(new)
    says = (
        f"{old.num_samples} images, as many names: {percent(old)} before, {percent(new)} after. "
        f"{len(gained)} images are right only now, {len(lost)} only were "
        f"(p = {sign_test(len(gained), len(lost)):.1g})."
    )
    print(f"{heading}: {says}", flush=True)
    some = random.Random(0).sample(dataset.samples, SHOWN)
    galleries = [
        f"<h3>{title}</h3>"
        + report.gallery(
            [
                report.GalleryImage(
                    image=one.source, predictions=answers[:3], truth=one.label, title=str(one.label)
                )
                for one, answers in zip(
                    some,
                    lens.classify([one.source for one in some], dataset.classnames),
                    strict=True,
                )
            ]
        )
        for title, lens in (("Before", before), ("After", after))
    ]
    return html.section(heading, *galleries, note=says)


def right(result: ClassificationResult) -> set[str]:
    """The names whose image was recognised; each has one."""
    return {one.classname for one in result.per_class if one.recall == 1}


def percent(result: ClassificationResult) -> str:
    low, high = result.intervals["acc1"]
    return f"{result.metrics['acc1']:.1%} (95% interval {low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune `icons` on an icon set new to it.")
    parser.add_argument("--recipe", default="finetune-contrastive", help="or lit")
    options = parser.parse_args()
    split(fetch())
    before, after = twinlens.load("icons"), twinlens.load(train(options.recipe))
    page = html.render_page(
        "Fine-tuned to an icon set",
        "What the embedded model says of icons that it never saw, before and after it learned from "
        "others of the set. The images were drawn by lot.",
        compare(before, after, "names", "Names that it did not learn"),
        compare(before, after, "drawings", "Outlines of what it learned filled"),
    )
    (OUT / "page.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
