"""Train a CLIP from nothing, ask it about a style it never saw, and look at the answers.

Run: python examples/demo.py    (or `make demo`; about four minutes on two cores)

1. Learn: 2,855 drawings of 815 things in four emoji styles, each with a few captions.
2. Measure: 815 drawings in a fifth style, told apart by nothing but the names of their classes.
3. Use: the model that comes with the package, on four images, with labels made up here.

Everything is written below ./demo (demo/run anew each time); the last line printed is the page.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import twinlens
from twinlens import html
from twinlens.cli.train import progress_bar
from twinlens.config_io import apply_overrides
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.eval import report
from twinlens.eval.context import EvalContext
from twinlens.eval.evaluators import ZeroShotEvaluator
from twinlens.eval.tasks.classification import ClassificationResult
from twinlens.eval.tasks.zero_shot import evaluate_zero_shot
from twinlens.train.recipes.builtin import find_recipe
from twinlens.train.trainer import fit

ASSETS = Path(twinlens.__file__).parent / "assets"
TRAIN, UNSEEN_STYLE = (str(ASSETS / "shards" / part) for part in ("train", "unseen-style"))
IMAGES = ("cat", "dog", "bicycle", "pizza")
LABELS = ("cat", "dog", "bicycle", "pizza", "car", "tree", "fish", "house", "slice of cake")
OUT = Path("demo")
SHOWN = 12


def train(steps: int) -> Path:
    """Learn from pairs of images and captions; returns the model's directory."""
    settings = [f"steps={steps}", f"log_every={steps // 50 or 1}", f"eval_every={steps // 5 or 1}"]
    recipe = apply_overrides(find_recipe("icons-demo"), settings)
    pairs = open_dataset(TRAIN)
    evaluator = ZeroShotEvaluator(open_dataset(UNSEEN_STYLE))
    shutil.rmtree(OUT / "run", ignore_errors=True)
    print(f"Training on {len(pairs.samples):,} images, {steps} steps:", flush=True)
    with progress_bar([]) as show:
        return fit(recipe, pairs, OUT / "run", evaluators=[evaluator], report=show)


def say(result: ClassificationResult) -> None:
    accuracy, chance = result.metrics["acc1"], result.chance["acc1"]
    low, high = result.intervals["acc1"]
    print(
        f"Zero-shot on the unseen style, {result.num_classes} classes: accuracy {accuracy:.1%} "
        f"(95% interval {low:.1%} to {high:.1%}), chance {chance:.2%}: "
        f"{accuracy / chance:.0f} times chance"
    )


def classify(lens: twinlens.Embedder) -> list[report.GalleryImage]:
    """Four images, each with the best of our labels."""
    paths = [ASSETS / "images" / f"{name}.png" for name in IMAGES]
    answers = lens.classify(paths, LABELS)
    for path, (best, *_) in zip(paths, answers, strict=True):
        print(f"{path.name}: {best.label} ({best.probability:.0%})")
    return [
        report.GalleryImage(image=path, predictions=answer[:4], title=path.name, truth=path.stem)
        for path, answer in zip(paths, answers, strict=True)
    ]


def some_unseen(lens: twinlens.Embedder, unseen: Dataset) -> list[report.GalleryImage]:
    """A few images spread over the unseen style, each with the best of all its names."""
    samples = unseen.samples[:: len(unseen.samples) // SHOWN][:SHOWN]
    images = [sample.image_bytes() for sample in samples]
    answers = lens.classify(images, unseen.classnames)
    return [
        report.GalleryImage(
            image=image, predictions=answer[:3], title=str(one.label), truth=one.label
        )
        for one, image, answer in zip(samples, images, answers, strict=True)
    ]


def curves() -> str:
    """Loss and accuracy over the steps, as the run logged them."""
    log = [json.loads(line) for line in (OUT / "run" / "log.jsonl").read_text().splitlines()]
    loss = [(line["step"], line["loss"]) for line in log]
    accuracy = [(line["step"], line["metrics"]["acc1"]) for line in log if line["metrics"]]
    return html.chart_row(
        html.line_chart(loss, title="Contrastive loss", x_label="step"),
        html.line_chart(accuracy, title="Unseen style, top-1", x_label="step", y_as_percent=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a CLIP, measure it, and use one.")
    usual = find_recipe("icons-demo").steps
    parser.add_argument("--steps", type=int, default=usual, help=f"how long to train ({usual})")
    parser.add_argument("--model", default="icons", help="the trained model of part 3 (icons)")
    options = parser.parse_args()
    start = time.monotonic()
    ready = twinlens.load(options.model)  # before the training: what is missing is said at once
    own = twinlens.load(train(options.steps))
    unseen = open_dataset(UNSEEN_STYLE)
    result = evaluate_zero_shot(EvalContext(own), unseen)
    say(result)
    images = classify(ready)
    minutes = (time.monotonic() - start) / 60
    page = html.render_page(
        "CLIP, from nothing",
        f"Two models that match drawings with words: one that comes with the package, and one that "
        f"learned in {minutes:.1f} minutes just now.",
        html.section(
            f"What the model {options.model} says",
            report.gallery(images),
            note="It comes with the package, and was told nothing but these labels: "
            f"{', '.join(LABELS)}.",
        ),
        html.section(
            "How well the new model does",
            report.metric_bars(result, ["acc1", "acc5"]),
            note=f"Trained here, and asked about a style that it had never seen, among "
            f"{result.num_classes} names.",
        ),
        html.section("How it learned", curves()),
        html.section("What it says", report.gallery(some_unseen(own, unseen))),
        html.section(
            report.class_table_heading(result.per_class), report.class_table(result.per_class)
        ),
    )
    (OUT / "index.html").write_text(page, encoding="utf-8")
    print(f"The page: {(OUT / 'index.html').resolve()}")


if __name__ == "__main__":
    main()
