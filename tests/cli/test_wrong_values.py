"""Every path, list and number of every verb, wrong: one line, status 2, nothing left behind."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from tests.cli import wrong_values as wrong
from twinlens.cli.main import app
from twinlens.embed.loading import load
from twinlens.search.index import Index

SWEEP = [
    *((verb, name, value) for verb, name in wrong.INPUTS for value in wrong.WRONG_INPUTS),
    *(
        (verb, name, value)
        for verb, name in wrong.NEW_DIRECTORIES
        for value in wrong.WRONG_NEW_DIRECTORIES
    ),
    *((verb, name, value) for verb, name in wrong.DIRECTORIES for value in wrong.WRONG_DIRECTORIES),
    *((verb, name, value) for verb, name in wrong.FILES for value in wrong.WRONG_FILES),
    *((verb, name, value) for (verb, name), values in wrong.NUMBERS.items() for value in values),
    *wrong.LISTS,
]


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, tiny_directory: Path, image_folders: Path
) -> dict[str, str]:
    root = tmp_path_factory.mktemp("places")
    (root / "file").write_text("words\n")
    (root / "empty").mkdir()
    (root / "full").mkdir()
    (root / "full" / "a.txt").write_text("here\n")
    index = Index.create(root / "index", load(tiny_directory), str(tiny_directory))
    index.update([str(image_folders)])
    return {
        "MODEL": str(tiny_directory),
        "IMAGES": str(image_folders),
        "IMAGE": str(image_folders / "red" / "0.png"),
        "INDEX": str(root / "index"),
        "FILE": str(root / "file"),
        "EMPTY": str(root / "empty"),
        "FULL": str(root / "full"),
        "MISSING": str(root / "missing"),
        "SEALED": "/proc/self",  # takes no files, not even the superuser's
    }


@pytest.fixture
def made(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """The same, and NEW in an empty working directory, in which nothing may appear."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield places | {"NEW": str(tmp_path / "here" / "new")}
    shutil.rmtree(tmp_path / "here", ignore_errors=True)


def words_of(verb: str, name: str, value: str, made: dict[str, str]) -> list[str]:
    """The command with one thing put wrong."""
    words = list(wrong.ASKED[verb])
    if not name.startswith("--"):
        words[words.index(name)] = value
    elif name in words:
        words[words.index(name) + 1] = value
    else:
        words += [f"{name}={value}"]
    return [_filled(word, made) for word in words]


def _filled(word: str, made: dict[str, str]) -> str:
    option, given, value = word.partition("=") if word.startswith("--") else ("", "", word)
    first, below, rest = value.partition("/")
    return option + given + made.get(first, first) + below + rest


@pytest.mark.parametrize(("verb", "name", "value"), SWEEP)
def test_wrong_values_are_a_line(run, verb: str, name: str, value: str, made: dict[str, str]):
    ended = run(*words_of(verb, name, value, made))
    assert (ended.status, ended.out) == (2, ""), ended.err
    said = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, ended.err
    assert "Traceback" not in ended.err
    assert "a bug" not in ended.err
    if not value.strip() and name.startswith("--"):
        assert name in said[0]
        assert "got ''" in said[0] or "got ' '" in said[0]
    assert not list(Path(made["NEW"]).parent.iterdir())


def test_every_option_with_a_value_is_in_the_sweep():
    """An option that is added is added here, too."""
    swept = {(verb, name) for verb, name, _ in SWEEP}
    missing = [
        (verb, option)
        for verb, command in _commands(typer.main.get_command(app), "")
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.is_flag and parameter.nargs == 1
        for option in parameter.opts[:1]
        if (verb, option) not in swept
    ]
    assert not missing


def _commands(command: TyperCommand | TyperGroup, name: str) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for verb, inner in command.commands.items():
            yield from _commands(inner, f"{name} {verb}".strip())
    else:
        yield name, command
