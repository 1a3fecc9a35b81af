"""The documentation is true: links lead somewhere, examples run, commands and recipes exist."""

import doctest
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from twinlens.cli.main import app, main
from twinlens.config import ResNetConfig, ViTConfig
from twinlens.config_io import apply_overrides, flatten, to_dict
from twinlens.hub.published import published_models
from twinlens.train.recipes.builtin import PRETRAIN_RECIPES, find_recipe

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("docs", "bench", "src", "examples")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
)
WITH_EXAMPLES = [ROOT / "README.md", ROOT / "docs" / "python.md", ROOT / "docs" / "data.md"]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def ids(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


def blocks(page: Path, language: str | None = None) -> list[str]:
    """Fenced blocks, in order."""
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [text for kind, text in found if language is None or kind == language]


def anchors(page: Path) -> set[str]:
    """The names that links to the page's headings use."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in headings}


def broken_links(page: Path) -> list[str]:
    broken: list[str] = []
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_relative_links_lead_somewhere(page: Path):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# A `b`, c\n[x](#a-b-c) [y](#nowhere) [z](gone.md) [w](https://a.b/c)\n")
    assert broken_links(page) == ["#nowhere", "gone.md"]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that has the package's files as a clone has them."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=ids(WITH_EXAMPLES))
@pytest.mark.usefixtures("clone")
def test_python_examples_run(page: Path, capsys: pytest.CaptureFixture[str]):
    names: dict[str, object] = {"__name__": "example"}
    found = blocks(page, "python")
    assert found
    runner = doctest.DocTestRunner()
    for number, text in enumerate(found):
        where = f"{page.name}, example {number + 1}"
        if text.startswith(">>> "):
            test = doctest.DocTestParser().get_doctest(text, names, where, str(page), 0)
            runner.run(test, clear_globs=False)
            names = test.globs  # the parser copies them
        else:
            exec(compile(text, where, "exec"), names)
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out


def commands(page: Path) -> list[list[str]]:
    """The words of every `twinlens` command in the page's blocks, without the first."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    found = [line.removeprefix("$ ") for line in lines]
    return [shlex.split(line, comments=True)[1:] for line in found if line.startswith("twinlens ")]


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_commands_are_ones_that_exist(page: Path):
    for words in commands(page):
        verb, options = typer.main.get_command(app), words
        while inner := getattr(verb, "commands", None):
            verb, options = inner[options[0]], options[1:]
        # Reads the words; an unknown option raises.
        given = verb.make_context("twinlens", list(options)).params
        if words[0] == "train":
            recipe = find_recipe(given["recipe"], given["init"])
            assert apply_overrides(recipe, given["settings"]).name == given["recipe"]


PATH_LIKE = re.compile(
    r"(?<![\w:/.*-])(?:[\w.-]+/[\w./-]*|[\w.-]+\.(?:png|jpg|pt|md|py|txt|csv|html|onnx))"
)


def made_by(words: list[str]) -> list[str]:
    """The paths that a command writes."""
    named = [words[place + 1] for place, word in enumerate(words) if word in ("--out", "--html")]
    return named + ([words[2]] if words[0] in ("convert", "export") else [])


def not_there(page: Path, root: Path) -> list[str]:
    """What a page names as a file or folder that neither the clone has nor a command made.

    Commands have to come after those that make what they read. Published models are named as
    paths are.
    """

    def missing(text: str, made: list[str]) -> list[str]:
        return [
            path
            for path in PATH_LIKE.findall(text)
            if path not in published_models()
            and not (root / path).exists()
            and not any(path == one or path.startswith(f"{one}/") for one in made)
        ]

    made: list[str] = []
    wrong: list[str] = []
    for words in commands(page):
        written = made_by(words)
        wrong += missing(" ".join(word for word in words if word not in written), made)
        made += written
    text = page.read_text(encoding="utf-8")
    prose = FENCED.sub("", text)
    named = [*re.findall(r"`([^`]+)`", prose), *LINK.findall(prose)]
    others = [block for kind, block in FENCED.findall(text) if kind != "console"]
    return wrong + missing(" ".join(named + others), made)


def test_every_file_that_the_readme_names_is_there_or_made():
    assert not_there(ROOT / "README.md", ROOT) == []


def test_a_file_that_is_not_there_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    late = "twinlens eval runs/a/model --data here\ntwinlens train --data here --out runs/a\n"
    code = f"```console\ntwinlens classify cat.png --labels a\n{late}```\n"
    page.write_text(f"{code}`gone/x.txt` [y](docs/z.md) `runs/a/log`\n```\nold/   is here\n```\n")
    expected = ["cat.png", "runs/a/model", "gone/x.txt", "docs/z.md", "old/"]
    assert not_there(page, tmp_path) == expected


DOWNLOADS = "# downloads"


def test_what_the_readme_downloads_is_marked():
    lines = "\n".join(blocks(ROOT / "README.md", "console")).replace("\\\n", " ").splitlines()
    for line in lines:
        words = shlex.split(line, comments=True)
        fetches = words[:1] == ["twinlens"] and bool({*words} & {*published_models()})
        assert fetches == (DOWNLOADS in line), line


ITALIAN = {
    "bicycle": "bicicletta",
    "cat": "gatto",
    "dog": "cane",
    "guitar": "chitarra",
    "pizza": "pizza",
    "sailboat": "barca a vela",
}


@pytest.mark.usefixtures("clone")
def test_the_commands_of_the_readme_answer_rightly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def ask(words: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", ["twinlens", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (int(ended.value.code or 0), printed.err) == (0, "")
        return printed.out

    asked = [words for words in commands(ROOT / "README.md") if words[0] == "classify"]
    english, italian, published = asked
    assert ask(english).splitlines()[1].split()[1] == "cat"
    answers = {
        Path(one["image"]).stem: one["predictions"][0]["label"] for one in json.loads(ask(italian))
    }
    assert answers == ITALIAN
    assert published[-1] in published_models()


def test_the_pages_have_commands():
    assert commands(ROOT / "README.md")
    assert commands(ROOT / "docs" / "training.md")


def image_tower(config: ViTConfig | ResNetConfig) -> tuple[str, ...]:
    """How a table may describe a tower; that of the small models says the size above it."""
    if isinstance(config, ResNetConfig):
        short = f"ResNet {config.width}, {config.layers}"
        return (short,) if config.image_size == 64 else (f"{short}, {config.image_size} px",)
    sizes = f"{config.layers} x {config.width}, patches of {config.patch_size}"
    return (f"ViT {sizes}, {config.image_size} px",)


@pytest.mark.parametrize("name", PRETRAIN_RECIPES)
def test_the_table_of_recipes_is_that_of_the_code(name: str):
    recipe = PRETRAIN_RECIPES[name]()
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    [row] = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2] in image_tower(recipe.model.vision)
    text_tower = recipe.model.text
    assert f"{text_tower.layers} x {text_tower.width}, {text_tower.vocab_size:,} ids" in cells
    counts = (recipe.batch_size, recipe.steps, recipe.batch_size * recipe.steps)
    assert cells[5:8] == [f"{count:,}" for count in counts]


def test_the_settings_named_are_those_of_a_recipe():
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    [table] = re.findall(r"^\| key \| is \|\n((?:\|.*\n)+)", text, re.MULTILINE)
    keys = {
        key for row in table.splitlines() for key in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    known = flatten(to_dict(PRETRAIN_RECIPES["icons-demo"]()))
    assert len(keys) > 20
    assert keys <= set(known)
    assert {key for key in known if not key.startswith("model.")} - keys == {"name"}


def test_every_decision_says_context_decision_and_consequence():
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequence"]


def test_the_notice_names_what_comes_with_the_package():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assets = ROOT / "src" / "twinlens" / "assets"
    for folder in ("vocabulary", "shards", "images", "icons"):
        assert f"src/twinlens/assets/{folder}" in notice
    for path in (assets / "vocabulary").iterdir():
        assert path.name == "README.md" or path.name in notice
    assert "Copyright (c) 2021 OpenAI" in notice
