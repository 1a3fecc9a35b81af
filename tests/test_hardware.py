"""How many cores are ours, and how threads wait on them."""

import subprocess
import sys
from pathlib import Path

import pytest

from twinlens import hardware
from twinlens.cli.main import main


@pytest.mark.parametrize(
    ("quota", "bound", "expected"),
    [
        ("max 100000\n", 4, 4),
        ("150000 100000\n", 8, 2),
        ("10000 100000\n", 8, 1),
        ("800000 100000\n", 4, 4),
        ("nonsense", 3, 3),
        (None, 3, 3),
    ],
)
def test_cores_are_those_we_are_bound_to_within_the_container_s_share(
    quota: str | None, bound: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(hardware, "_CGROUP_V2_QUOTA", file)
    monkeypatch.setattr(hardware, "_CGROUP_V1_QUOTA", tmp_path / "none")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(bound)), raising=False)
    assert hardware.usable_cpu_count() == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("-1", 4), ("150000", 2), ("10000", 1), ("900000", 4)]
)
def test_the_older_control_groups_give_shares_too(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "quota").write_text(f"{quota}\n")
    (tmp_path / "period").write_text("100000\n")
    monkeypatch.setattr(hardware, "_CGROUP_V2_QUOTA", tmp_path / "none")
    monkeypatch.setattr(hardware, "_CGROUP_V1_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(hardware, "_CGROUP_V1_PERIOD", tmp_path / "period")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert hardware.usable_cpu_count() == expected


WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


@pytest.fixture
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    environment = {"PATH": "/usr/bin"}
    monkeypatch.setattr("os.environ", environment)
    return environment


def test_threads_sleep_while_they_wait(nothing_chosen: dict[str, str]):
    hardware.use_passive_openmp_wait()
    assert nothing_chosen["OMP_WAIT_POLICY"] == "passive"


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_chose_stays(nothing_chosen: dict[str, str], name: str):
    nothing_chosen[name] = "active"
    hardware.use_passive_openmp_wait()
    chosen = {key: value for key, value in nothing_chosen.items() if key in WAITING}
    assert chosen == {name: "active"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        # Asked where torch is looked for: what libgomp reads when it is loaded.
        ("import twinlens; twinlens.load; import os", None),
        (
            "import sys, os; from twinlens.cli.main import main\n"
            "sys.argv = ['twinlens', 'models']\n"
            "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules",
            "passive",
        ),
    ],
)
def test_the_command_line_alone_sets_it(code: str, expected: str | None):
    env = {key: value for key, value in hardware.os.environ.items() if key not in WAITING}
    command = [sys.executable, "-c", f"{code}\nprint(os.environ.get('OMP_WAIT_POLICY'))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines()[-1] == str(expected)


def test_bench_measures_as_programs_run(
    nothing_chosen: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.argv", ["twinlens", "bench", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "OMP_WAIT_POLICY" not in nothing_chosen
