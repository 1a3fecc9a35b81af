"""Fine-tune the embedded model on an icon set that it has never seen, and compare.

Run: python examples/finetune_icons.py    (needs npm, and pip install 'twinlens[data]')

1. Fetch: Aksel, the icons of the Norwegian welfare administration (MIT), as npm has them.
2. Split: outlined drawings to learn from, filled drawings of the same things to measure on.
3. Measure the model `icons`, fine-tune it, measure again, and once more half-way between the two.

Everything is written below ./finetune.
"""

import argparse
import csv
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import resvg_py

import twinlens
from twinlens.cli.train import progress_line
from twinlens.data.datasets import open_dataset
from twinlens.eval.zero_shot import measure
from twinlens.settings import override
from twinlens.train.between import save_between
from twinlens.train.recipes import recipe_named
from twinlens.train.trainer import fit

PACKAGE = "@navikt/aksel-icons@8.16.2"
ARCHIVE = "navikt-aksel-icons-8.16.2.tgz"
OUT = Path("finetune")
SIZE = 64


def words(name: str) -> str:
    """`FaceSmileFill` as "face smile"."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name.removesuffix("Fill"))).lower()


def build() -> tuple[Path, Path]:
    """Two tables of pictures: outlined ones with captions, and filled ones with their names."""
    OUT.mkdir(exist_ok=True)
    if not (OUT / ARCHIVE).exists():
        npm = shutil.which("npm") or "npm"
        subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=OUT, check=True)
    with tarfile.open(OUT / ARCHIVE) as archive:
        files = {
            one.name: archive.extractfile(one)
            for one in archive
            if one.name.endswith((".svg", ".js"))
        }
        contents = {name: file.read().decode() for name, file in files.items() if file is not None}
    script = contents["package/dist/metadata.js"]
    icons = json.JSONDecoder().raw_decode(script[script.index("{") :])[0]
    shutil.rmtree(OUT / "pictures", ignore_errors=True)
    (OUT / "pictures").mkdir()
    tables = {"Stroke": OUT / "train.csv", "Fill": OUT / "test.csv"}
    for variant, table in tables.items():
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "text", "label"])
            for name, icon in icons.items():
                if icon["variant"] == variant and {name, f"{name}Fill"} & icons.keys():
                    picture = f"pictures/{name}.png"
                    draw(contents[f"package/dist/svg/{name}.svg"], OUT / picture)
                    for text in dict.fromkeys([words(name), *icon["keywords"]]):
                        writer.writerow([picture, text, words(name)])
    return tables["Stroke"], tables["Fill"]


def draw(svg: str, path: Path) -> None:
    path.write_bytes(bytes(resvg_py.svg_to_bytes(svg, width=SIZE, height=SIZE, background="white")))


def say(what: str, model: str | Path, test: Path) -> None:
    result = measure(twinlens.load(model), open_dataset(test))
    low, high = result.intervals["acc1"]
    print(
        f"{what}: {result.metrics['acc1']:.1%} of {result.samples} pictures right among "
        f"{result.classes} names (95% interval {low:.1%} to {high:.1%})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune `icons` on an icon set new to it.")
    parser.add_argument("--steps", type=int, default=100, help="how long to train (100)")
    parser.add_argument("--recipe", default="finetune-contrastive", help="or lit")
    options = parser.parse_args()
    train, test = build()
    say("Before", "icons", test)
    settings = [f"steps={options.steps}", "optim.warmup_steps=10", "optim.lr=0.0003"]
    recipe = override(recipe_named(options.recipe, "icons"), settings)
    shutil.rmtree(OUT / "run", ignore_errors=True)
    with progress_line([]) as show:
        tuned = fit(recipe, open_dataset(train), OUT / "run", report=show)
    say("After", tuned, test)
    shutil.rmtree(OUT / "half", ignore_errors=True)
    save_between("icons", tuned, OUT / "half")
    say("Half-way", OUT / "half", test)


if __name__ == "__main__":
    main()
