"""How the command ends: 0, 1 for a bug, 2 for a mistake, 130 interrupted."""

import errno
import os

import pytest

import twinlens
from twinlens.cli import models
from twinlens.errors import DataError
from twinlens.signals import Terminated

VERBS = (
    "models", "classify", "train", "plan", "eval", "compare", "bench", "convert", "export",
    "index", "interpolate", "search", "data",
)  # fmt: skip


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def known_models() -> list[object]:
        raise error

    monkeypatch.setattr("twinlens.hub.resolve.known_models", known_models)


def test_help_lists_every_verb(run):
    ending = run("--help")
    assert ending.status == 0
    assert all(f" {verb} " in ending.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run, verb: str):
    ending = run(verb, "--help")
    assert ending.status == 0
    assert f"twinlens {verb}" in ending.out


@pytest.mark.parametrize("verb", ["models", "classify", "index", "search", "train", "eval"])
def test_every_verb_that_answers_has_json(run, verb: str):
    assert "--json" in run(verb, "--help").out


def test_version_is_the_package_s(run):
    assert run("--version").out == f"{twinlens.__version__}\n"


def test_a_mistake_is_one_line_and_status_2(run, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, DataError("a.png: got nothing,\n expected something"))
    ending = run("models")
    assert ending == type(ending)(2, "", "error: a.png: got nothing, expected something\n")


@pytest.mark.parametrize("words", [["--traceback", "models"], ["models", "--traceback"]])
def test_traceback_shows_the_rest(run, monkeypatch: pytest.MonkeyPatch, words: list[str]):
    failing(monkeypatch, DataError("what, got, expected"))
    ending = run(*words)
    assert ending.status == 2
    assert "Traceback" in ending.err
    assert ending.err.endswith("error: what, got, expected\n")


def test_a_bug_is_one_line_and_status_1(run, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, ZeroDivisionError("by zero"))
    ending = run("models")
    assert (ending.status, ending.out) == (1, "")
    assert ending.err.count("\n") == 1
    assert "ZeroDivisionError: by zero" in ending.err
    assert "--traceback" in ending.err


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "No space left"), (errno.EACCES, "Permission denied")]
)
def test_what_the_system_refuses_is_a_line(
    run, monkeypatch: pytest.MonkeyPatch, code: int, words: str
):
    failing(monkeypatch, OSError(code, os.strerror(code), "/data/out"))
    ending = run("models")
    assert ending.status == 2
    assert ending.err.startswith(f"error: /data/out: {words}")
    assert ending.err.count("\n") == 1


def test_interrupted_is_130(run, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, KeyboardInterrupt())
    assert run("models").status == 130


def test_an_import_that_a_signal_broke_is_no_bug(run, monkeypatch: pytest.MonkeyPatch):
    error = ImportError("initialization failed")
    error.__cause__ = Terminated()
    failing(monkeypatch, error)
    ended = run("models")
    assert (ended.status, ended.err) == (130, "")


@pytest.mark.parametrize("words", [["modles"], ["classify"], ["eval", "icons"], ["models", "--x"]])
def test_wrong_usage_is_one_line_and_status_2(run, words: list[str]):
    ending = run(*words)
    assert (ending.status, ending.out) == (2, "")
    assert ending.err.startswith("error: ")
    assert ending.err.count("\n") == 1


def test_an_unknown_choice_is_named_with_those_that_there_are(run):
    ended = run("classify", "x.png", "--engine", "nope")
    assert (ended.status, ended.err) == (
        2,
        "error: Invalid value for '--engine': 'nope' is not one of 'auto', 'openvino', 'torch'; "
        "see --help\n",
    )


def test_no_verb_shows_help(run):
    assert "Commands" in "".join([(ending := run()).out, ending.err])


def test_the_verbs_are_the_modules(run):
    assert models.list_models.__doc__
    assert models.list_models.__doc__.splitlines()[0][:20] in run("--help").out
