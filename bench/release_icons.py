"""Make the embedded model `icons` of a training run: weights, measures, model card.

Run: python bench/release_icons.py RUN CORPUS [--out DIR] [--note TEXT]

RUN is what `twinlens train --out RUN` wrote, CORPUS what `twinlens data icons --out CORPUS` built.
DIR (by default the package's own) gets the weights as float16, the vocabulary, config.json with
where it all came from, metrics.json, ATTRIBUTION.md of the corpus, and README.md, the card, with
the figures of `bench/icons.py` measured on these very files. TEXT tells in the card what was
particular about the run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from icons import Figure, languages, measure, pick, show

import twinlens
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.reader import load_model
from twinlens.config import Provenance
from twinlens.config_io import flatten, read_dataclass, to_dict
from twinlens.errors import CheckpointError, TwinlensError
from twinlens.eval.metrics.statistics import wilson_interval
from twinlens.images.drawing_detector import DRAWING_DETECTOR_FILE, DrawingDetector
from twinlens.model.clip import CLIP
from twinlens.text.loading import load_tokenizer
from twinlens.train.recipes.builtin import Recipe, find_recipe

EMBEDDED = Path(twinlens.__file__).parent / "assets" / "icons"
MAX_BYTES = 24_000_000
AIM = 0.8
LICENCE = "Apache-2.0"
EMOJI_TIMES = 6
"""How often an epoch counted the colour emoji: once in the corpus, the rest by `emoji_share.py`."""

CARD = """\
---
license: apache-2.0
language: [{codes}]
tags: [clip, zero-shot-image-classification, icons, emoji]
library_name: twinlens
---

# icons

A small CLIP that knows drawings: emoji, icons and pictograms, {size} pixels a side, in words
of English and, for emoji, of {others} more languages. {parameters:.1f} million parameters,
{megabytes:.1f} MB of float16 weights, made to run anywhere in seconds. It comes with `twinlens`:

```python
import twinlens

lens = twinlens.load("icons")
lens.classify("drawing.png", ["cat", "dog", "bicycle", "pizza"])
```

It is for sorting and searching drawings, for learning and for tests. It is not for photographs.

## Measured

On what no training image showed. Intervals are 95% Wilson intervals over images; chance is
guessing among all the names.

| question | names | measure | value | 95% interval | chance | times chance |
| --- | ---: | --- | ---: | ---: | ---: | ---: |
{table}

- **A style never seen**: twemoji's base emoji, one image a concept, among the names of all of
  them, asked as {templates}.
  Their concepts were trained on, in other styles.
- **Concepts never seen**: drawings in styles of the training, up to four a concept, among names
  drawn with seed 0. A concept's images are alike, so the interval is somewhat too narrow.
- **Both**: twemoji's emoji of concepts never seen; few, so the interval is wide.

The figures on the unseen style are a little flattering: there was no separate style to validate
on. The share of the colour emoji, the learning rate, the augmentation, the batch size, the moving
average, the sampling of captions and the length of the schedule were all chosen while looking at
this style's accuracy, in earlier runs and in this one. The weights are those of the last step
(their moving average): none were picked.{doubt}

A style never seen, with class names in other languages, bare:

| language | top-1 | 95% interval | of English |
| --- | ---: | ---: | ---: |
{language_table}

## What does not look like a drawing

`twinlens classify` says in a line on stderr which images do not look like drawings. It goes by the
{size} x {size} pixels that the model sees: how many neighbouring pixels are equal, how many differ
slightly or much, how even the edge is. A logistic regression weighs these (`drawings.json`). Its
numbers are fitted to photographs and drawings of some packages, so that of these drawings 2 in 100
are taken for something else. Asked about those of other packages, it was wrong so often:

| images | wrong | of | share | 95% interval |
| --- | ---: | ---: | ---: | ---: |
{drawings}

- **Drawings**: of Oxygen, Breeze, Papirus, Tango and Tux Paint, and twemoji; as JPEG of 96 to 800
  pixels a side and qualities 50 to 92.
- **Photographs**: of OpenCV's and ImageMagick's documentation, scikit-image, scikit-learn,
  insightface, ultralytics and Palapeli, each looked at, one of a scene. The numbers saw none of
  them; the list of measures was drawn up when results on them had been seen.
- **Cut out**: photographs of one thing with nothing round it. They are taken for drawings.

`python bench/drawing_detector.py PACKAGES` measures it again.

## How it was made

- **Architecture**: {architecture}.
  CLIP's contrastive loss; a vocabulary of {vocabulary:,} learned from the captions.
- **Recipe**: `{recipe}`, from random weights: {steps:,} steps of {batch:,} pairs,
  {samples:,} in all, {minutes:.0f} minutes on 2 processor cores. Images of equal concept in a
  batch are no negatives of each other.{note}
- **Data**: the open icon corpus, fingerprint `{fingerprint}`: {images:,} images of
  {concepts:,} concepts. Colour emoji of eight sets were counted {emoji_times} times an epoch.
- **Held out**, by concept and by style, never by image: {held_out}.
- **Sources**: icon sets of the Iconify collection, Fluent Emoji 3D, the Noto Emoji font{clip_art};
  names from Unicode CLDR, Lucide, Tabler and Phosphor. They are under permissive, public-domain or
  attribution licences, and some sets, the Noto Emoji font among them, under the SIL Open Font
  License (OFL-1.1). ATTRIBUTION.md lists every set, author and licence, and what was left out:
  share-alike, copyleft, non-commercial, logos and brands.
- **OFL-1.1** is reciprocal: fonts derived from such a font stay under it. Its text says that this
  does not bind documents made with the font, and images drawn of single icons are taken for such
  documents here. That is our reading; we are no lawyers.

## Limits

- It knows drawings of one thing on a plain ground. On photographs, scenes, screenshots and text
  its answers mean nothing, and they look as certain as any.
- It always chooses among the labels given; where none fits it still does. Probabilities are
  relative to those labels and are not calibrated.
- It knows names, and few others than those of the corpus; it does not know sentences: order,
  number and negation are lost on it. Texts of more than {words} tokens (pieces of words) are
  refused.
- Other languages were learned from emoji alone: icons that are no emoji have English names only.
- It sees as the makers of emoji draw: their choices of what exists, of food, dress, places and
  symbols, of gender and skin. Persons are mostly the yellow default; skin tones and flags were
  capped. Never use it to judge, sort or identify people.

## Again

A run of this recipe, in one go:

```console
pip install 'twinlens[data]'
twinlens data icons --out corpus
python bench/emoji_share.py corpus emoji
twinlens train --recipe {recipe} --data "corpus/train{emoji}" \\
    --out run{settings}
python bench/release_icons.py run corpus
python bench/icons.py icons corpus
```

What the bytes of a run depend on is said in the README of `twinlens`.

## Licence

The weights: {licence}. The drawings it learned from are not in them; their authors are named in
ATTRIBUTION.md.
"""

DRAWINGS = {
    "drawing": "drawings",
    "drawing as JPEG": "the same drawings as JPEG, without twemoji",
    "photograph": "photographs",
    "window": "four random windows of each",
    "cut-out": "photographs cut out on white",
}

QUESTIONS = {
    "unseen-style": ("a style never seen", ("acc1", "acc5")),
    "unseen-concepts": ("concepts never seen", ("recall@1", "recall@5", "recall@10")),
    "unseen-both": ("both", ("recall@1", "recall@5", "recall@10")),
}


def save(run: Path, corpus: Path, out: Path, manifest: Mapping[str, Any]) -> CLIP:
    """Write weights, vocabulary, configuration and attribution; returns the model of the run.

    Raises:
        CheckpointError: The weights are too large to come with the package.
    """
    source = run / "model"
    model = load_model(source)
    size = 2 * sum(value.numel() for value in model.state_dict().values())
    if size > MAX_BYTES:
        raise CheckpointError(f"{source}: got {size:,} bytes, expected at most {MAX_BYTES:,}")
    tokenizer = load_tokenizer(source, model.config)
    recipe = read_dataclass(Recipe, run / "recipe.json")
    model.config = replace(
        model.config,
        # The sentences that the recipe's captions are made of, also for runs of before it said so.
        templates=find_recipe(recipe.name).model.templates,
        provenance=Provenance(
            name="icons",
            source="trained from scratch",
            licence=LICENCE,
            recipe=recipe.name,
            data=(
                f"open icon corpus {manifest['fingerprint']}, "
                f"colour emoji {EMOJI_TIMES} times an epoch"
            ),
            samples_seen=recipe.steps * recipe.batch_size,
        ),
    )
    save_model(model, out, tokenizer, dtype=torch.float16)
    shutil.copyfile(corpus / "ATTRIBUTION.md", out / "ATTRIBUTION.md")
    return model


def metrics(figures: Sequence[Figure]) -> dict[str, float]:
    """The figures by name, as `twinlens models` shows them."""
    named: dict[str, float] = {}
    for one in figures:
        language = "" if one.language == "en" else f" {one.language}"
        named[f"{one.part.replace('-', ' ')} {one.metric}{language}"] = round(one.value, 4)
    return named


def training_minutes(run: Path) -> float:
    """How long the steps took, by the run's log; stops in between do not count."""
    seconds, before = 0.0, 0
    for text in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        seconds += (line["samples_seen"] - before) / line["pairs_per_second"]
        before = line["samples_seen"]
    return seconds / 60


def settings(recipe: Recipe) -> list[str]:
    """In what the run differs from the recipe of its name, for `--set`; the model is the same.

    How often it was evaluated changes no weights.
    """
    usual, own = to_dict(find_recipe(recipe.name)), to_dict(recipe)
    return [
        f"{name}={json.dumps(_at(own, name))}"
        for name in flatten(own)
        if not name.startswith("model.")
        and name != "eval_every"
        and _at(own, name) != _at(usual, name)
    ]


def _at(data: Any, name: str) -> Any:
    return reduce(lambda table, key: table[key], name.split("."), data)


def main_rows(figures: Sequence[Figure]) -> str:
    """The card's first table, without its head."""
    rows: list[str] = []
    for part, (question, wanted) in QUESTIONS.items():
        for one in (pick(figures, part, metric) for metric in wanted):
            metric = one.metric.replace("acc", "top-")
            rows.append(
                f"| {question} | {one.names:,} | {metric} | {one.value:.1%} | {one.interval} "
                f"| {one.chance:.2%} | {one.times_chance:,.0f} |"
            )
    return "\n".join(rows)


def language_rows(figures: Sequence[Figure]) -> str:
    """The card's table of languages, without its head."""
    english = pick(figures, "unseen-style", "acc1")
    return "\n".join(
        f"| {one.language} | {one.value:.1%} | {one.interval} "
        f"| {one.value / max(english.value, 1e-9):.0%} |"
        for one in [english, *languages(figures)]
    )


def drawing_rows(test: DrawingDetector) -> str:
    """The card's table of what was taken for a drawing, or not, wrongly."""
    rows: list[str] = []
    for one in test.measured:
        share = one.wrong / one.of
        low, high = wilson_interval(share, one.of)
        # Windows of one photograph are alike: an interval over them would be too narrow.
        interval = "" if one.images == "window" else f"{low:.1%} to {high:.1%}"
        counts = f"{one.wrong:,} | {one.of:,} | {share:.1%}"
        rows.append(f"| {DRAWINGS[one.images]} | {counts} | {interval} |")
    return "\n".join(rows)


def doubt(figures: Sequence[Figure]) -> str:
    """The card's warning where top-5 may be less than the 80% that were aimed at."""
    top5 = pick(figures, "unseen-style", "acc5")
    if top5.low >= AIM:
        return ""
    return (
        f"\nThe interval of top-5 on this style ({top5.interval}) reaches below {AIM:.0%}, "
        "the aim\nof this model."
    )


def clip_art(out: Path) -> str:
    """Whether the corpus had Openclipart's drawings: a machine may have none."""
    attribution = (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    if "(`openclipart`)" in attribution:
        return ", drawings\n  of Openclipart"
    return " (no\n  drawings of Openclipart: `openclipart-svg` was not installed)"


def card(
    model: CLIP,
    run: Path,
    out: Path,
    manifest: Mapping[str, Any],
    figures: Sequence[Figure],
    *,
    note: str,
) -> str:
    """The model card."""
    config, recipe = model.config, read_dataclass(Recipe, run / "recipe.json")
    vision, text, parts = config.vision, config.text, dict(manifest["parts"])
    tower = "ModifiedResNet" if vision.kind == "resnet" else "vision transformer"
    train = parts.pop("train")
    test = read_dataclass(DrawingDetector, out / DRAWING_DETECTOR_FILE)
    return CARD.format(
        codes=", ".join(["en", *sorted(one.language for one in languages(figures))]),
        others=len(languages(figures)),
        size=vision.image_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        megabytes=(out / "model.safetensors").stat().st_size / 1e6,
        table=main_rows(figures),
        doubt=doubt(figures),
        drawings=drawing_rows(test),
        language_table=language_rows(figures),
        templates=", ".join(f'"{template}"' for template in config.templates),
        architecture=f"{tower}, width {vision.width}, layers {vision.layers}, and a causal text "
        f"transformer, width {text.width}, {text.layers} layers, meeting in {config.embed_dim} "
        "dimensions",
        vocabulary=text.vocab_size,
        recipe=recipe.name,
        steps=recipe.steps,
        batch=recipe.batch_size,
        samples=recipe.steps * recipe.batch_size,
        minutes=training_minutes(run),
        fingerprint=manifest["fingerprint"],
        images=train["images"],
        concepts=train["concepts"],
        held_out=", ".join(
            f"{name} ({part['images']:,} images of {part['concepts']:,} concepts)"
            for name, part in parts.items()
        ),
        words=text.context_length - 2,
        clip_art=clip_art(out),
        emoji_times=EMOJI_TIMES,
        emoji="::emoji" * (EMOJI_TIMES - 1),
        settings="".join(f" \\\n    --set {one}" for one in settings(recipe)),
        note=f"\n  {note}" if note else "",
        licence=LICENCE,
    )


def release(run: Path, corpus: Path, out: Path, note: str = "") -> None:
    """Everything, in order: the card is written of what was measured on the files saved."""
    manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    model = save(run, corpus, out, manifest)
    if out.resolve() != EMBEDDED.resolve():  # it goes by the pixels, not by the weights
        shutil.copyfile(EMBEDDED / DRAWING_DETECTOR_FILE, out / DRAWING_DETECTOR_FILE)
    figures = measure(twinlens.load(out, device="cpu"), corpus)
    show(figures)
    found = json.dumps(metrics(figures), indent=2)
    (out / "metrics.json").write_text(found + "\n", encoding="utf-8")
    text = card(model, run, out, manifest, figures, note=note)
    (out / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    parser.add_argument("--note", default="", help="a sentence for the card")
    options = parser.parse_args()
    try:
        release(options.run, options.corpus, options.out, options.note)
    except (TwinlensError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
