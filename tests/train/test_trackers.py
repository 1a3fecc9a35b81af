"""Trackers: TensorBoard for real, the others by modules that write down what they are told."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.train.runs import tiny_recipe
from twinlens.errors import MissingExtraError, UnknownNameError
from twinlens.train.log import LogEntry
from twinlens.train.trackers import open_trackers, scalar_metrics


@pytest.fixture(params=["wandb", "trackio"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """A module of that name, and the calls that it got."""
    calls: list[tuple[str, tuple[object, ...], dict[str, object]]] = []
    module = ModuleType(request.param)

    def method(name: str):
        def call(*values: object, **named: object) -> None:
            calls.append((name, values, named))
            if name != "log":
                sys.stdout.write("a greeting\n")

        return call

    for name in ("init", "log", "finish"):
        setattr(module, name, method(name))
    monkeypatch.setitem(sys.modules, request.param, module)
    return request.param, calls


def test_a_run_is_begun_once_logged_and_ended(
    fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name, calls = fake
    [tracker] = open_trackers([name, name], tmp_path / "run", tiny_recipe())
    assert calls == []
    tracker.log(2, {"loss": 3.0})
    tracker.log(4, {"loss": 2.0, "val/acc1": 0.5})
    tracker.close()
    assert [call[0] for call in calls] == ["init", "log", "log", "finish"]
    assert capsys.readouterr() == ("", "a greeting\na greeting\n")
    init = calls[0][2]
    assert (init["project"], init["resume"]) == ("twinlens", "allow")
    assert init["config"]["optim"]["lr"] == 0.01
    assert calls[2] == ("log", ({"loss": 2.0, "val/acc1": 0.5},), {"step": 4})


def test_a_resumed_run_has_the_same_name_and_another_another(fake, tmp_path: Path):
    name, calls = fake
    key = {"wandb": "id", "trackio": "name"}[name]
    for out in ("one", "one", "two"):
        [tracker] = open_trackers([name], tmp_path / out, tiny_recipe())
        tracker.log(1, {"loss": 1.0})
    first, again, other = (call[2][key] for call in calls if call[0] == "init")
    assert first == again != other


def test_a_run_without_a_line_was_never_begun(fake, tmp_path: Path):
    name, calls = fake
    for tracker in open_trackers([name, "tensorboard"], tmp_path / "run", tiny_recipe()):
        tracker.close()
    assert calls == []
    assert not (tmp_path / "run").exists()


def test_tensorboard_reads_what_was_written(tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first in (1, 2):  # killed after step 2, resumed from step 1
        [tracker] = open_trackers(["tensorboard"], tmp_path, tiny_recipe())
        for step in range(first, 4):
            tracker.log(step, {"loss": 10.0 * first + step, "val/acc1": 0.5})
        tracker.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "val/acc1"}
    losses = {event.step: event.value for event in events.Scalars("loss")}
    assert losses == {1: 11.0, 2: 22.0, 3: 23.0}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("wandb", "wandb is not installed: run  pip install 'twinlens[wandb]'"),
        ("trackio", "trackio is not installed: run  pip install 'twinlens[trackio]'"),
        ("tensorboard", "tensorboard is not installed: run  pip install 'twinlens[train]'"),
    ],
)
def test_a_missing_package_says_how_to_get_it(
    name: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(MissingExtraError) as error:
        open_trackers([name], tmp_path, tiny_recipe())
    assert str(error.value) == line


def test_unknown_trackers_suggest_close_ones(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="unknown tracker 'wandbb': did you mean 'wandb'"):
        open_trackers(["wandbb"], tmp_path, tiny_recipe())


def test_figures_are_the_numbers_of_a_line():
    progress = LogEntry(
        step=2,
        steps=4,
        samples_seen=16,
        loss=1.5,
        lr=0.1,
        scale=14.0,
        pairs_per_second=100.0,
        seconds_left=3.0,
        truncated_captions=0,
        metrics={"acc1": 0.5},
    )
    values = scalar_metrics(progress)
    assert (values["loss"], values["samples_seen"], values["val/acc1"]) == (1.5, 16.0, 0.5)
    assert "grad_norm" not in values  # not known
    assert {"step", "steps", "metrics"} & set(values) == set()
