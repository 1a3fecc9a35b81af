"""How many cores are ours."""

from pathlib import Path

import pytest

from twinlens import machine


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
    monkeypatch.setattr(machine, "_QUOTA", file)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(bound)), raising=False)
    assert machine.usable_cores() == expected
