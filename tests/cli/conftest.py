"""The command line in this process: what it printed and how it ended."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from twinlens.cli.main import main


@dataclass(frozen=True)
class Ending:
    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*words: object) -> Ending:
        monkeypatch.setattr("twinlens.cli.main.use_passive_openmp_wait", lambda: None)
        monkeypatch.setattr(sys, "argv", ["twinlens", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ending(int(ended.value.code or 0), printed.out, printed.err)

    return call


Run = Callable[..., Ending]
