"""The demo as a newcomer runs it, only shorter, and its page in a real browser."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import browser

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
TIME_LIMIT = 300

# What a browser makes of the page: images that it could decode, curves that have a length.
LOOK = """<script>addEventListener("load", () => {
  const drawn = [...document.images].filter((image) => image.naturalWidth > 0);
  const curves = [...document.querySelectorAll("polyline")].filter((c) => c.getTotalLength() > 0);
  document.title = `${drawn.length} of ${document.images.length} images, ${curves.length} curves`;
})</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the demo was run before."""
    folder = tmp_path_factory.mktemp("demo")
    stale = folder / "demo" / "run"
    stale.mkdir(parents=True)
    (stale / "recipe.json").write_text("{}")
    (stale / "stale.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def page(printed: list[str]) -> str:
    return Path(printed[-1].removeprefix("The page: ")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed(folder: Path) -> list[str]:
    ended = subprocess.run(
        [sys.executable, str(DEMO), "--steps", "2"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "step 2: loss" in ended.stderr
    return ended.stdout.splitlines()


def test_it_trains_afresh_and_measures_against_chance(printed: list[str], folder: Path):
    assert printed[0] == "Training on 2,855 images, 2 steps:"
    assert re.match(r"Zero-shot on the unseen style, 815 classes: accuracy .* chance", printed[1])
    assert not (folder / "demo" / "run" / "stale.txt").exists()
    assert len((folder / "demo" / "run" / "log.jsonl").read_text().splitlines()) == 2


def test_the_embedded_model_knows_the_sample_images(printed: list[str]):
    best = [line.partition(" (")[0] for line in printed[2:6]]
    assert best == ["cat.png: cat", "dog.png: dog", "bicycle.png: bicycle", "pizza.png: pizza"]


@browser.NEEDED
def test_a_browser_shows_images_and_curves(page: str, tmp_path: Path):
    watched = tmp_path / "watched.html"
    watched.write_text(page.replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    dom = browser.dom(watched, tmp_path / "profile")
    assert "<title>16 of 16 images, 2 curves</title>" in dom
    assert "times chance" in dom
    assert dom.count("<h2>") == 5


def test_the_good_model_comes_first(page: str):
    headings = re.findall(r"<h2>([^<]*)</h2>", page)
    assert headings[0] == "What the model icons says"
    assert headings[1] == "How well the new model does"


@browser.NEEDED
def test_nothing_is_cut_on_a_telephone(page: str, folder: Path, tmp_path: Path):
    run = (folder / "demo" / "run" / "train.html").read_text(encoding="utf-8")
    found = browser.faults({"demo": page, "run": run}, tmp_path)
    assert found == {"demo at 390": [], "demo at 1440": [], "run at 390": [], "run at 1440": []}
