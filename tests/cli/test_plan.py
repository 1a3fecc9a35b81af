"""`plan`: tables for people, JSON for programs, and nothing run."""

import json

import pytest

PLAN = ["plan", "--recipe", "openai-vit-b-32", "--devices", "8xH100,64xA100-80"]


def test_a_plan_says_parameters_operations_memory_time_and_storage(run):
    ending = run(*PLAN)
    assert (ending.status, ending.err) == (0, "")
    rows = {line.split("  ")[0]: line.split() for line in ending.out.splitlines()}
    assert "openai-vit-b-32: 390,625 steps of 32,768, 12,800,000,000 pairs" in ending.out
    assert rows["image tower"][2:5] == ["87,849,216", "8.29", "GFLOP"]
    assert "151,277,313" in rows["a pair"]
    assert rows["GB a device"][3:] == ["8xH100", "64xA100-80"]
    assert rows["pairs at a time"][-2:] == ["4,096", "512"]
    for part in ("weights", "gradients", "activations", "similarities, dense", "needed"):
        assert part in rows
    for words in ("images/s to read", "MB/s", "shards/s", "device hours", "cost", "days"):
        assert words in ending.out


def test_json_holds_the_same(run):
    answer = json.loads(run(*PLAN, "--json", "--mfu", 0.5, "--price-per-hour", 3).out)
    assert answer["parameters"]["total"] == 151_277_313
    assert answer["operations"]["image"] == pytest.approx(8.29e9, rel=0.01)
    assert answer["assumed"]["mfu"] == 0.5
    first = answer["groups"][0]
    assert first["cost"] == pytest.approx(3 * first["device_hours"])
    assert first["needed"] == pytest.approx(sum(first["parts"].values()))


def test_settings_and_assumptions_count(run):
    words = [*PLAN, "--json", "--caption-tokens", 77, "--sample-kb", 10]
    answer = json.loads(run(*words, "--set", "steps=10", "--set", "compute.parallel=fsdp").out)
    assert answer["pairs"] == 327_680
    assert answer["operations"]["text"] == answer["operations"]["text_full_context"]
    assert answer["groups"][0]["parts"]["gathered blocks"] > 0


def test_this_machine_is_the_default(run):
    ending = run("plan", "--recipe", "icons-demo")
    assert ending.status == 0
    assert "on this machine now" in ending.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*PLAN, "--devices", "8xB9"], "unknown device 'B9'"),
        ([*PLAN, "--mfu", "2"], "--mfu: got 2.0, expected a share in (0, 1]"),
    ],
)
def test_mistakes_are_one_line(run, words: list[str], message: str):
    ending = run(*words)
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert message in ending.err
