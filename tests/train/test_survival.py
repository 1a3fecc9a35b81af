"""Killed without warning, at any moment: the weights are those of a run that was left alone."""

from pathlib import Path

from tests.train.runs import write_squares
from tests.train.test_worlds import program

KILLS = 20


def test_twenty_kills_leave_no_trace(tmp_path: Path):
    data = write_squares(tmp_path / "squares")
    killed, in_a_save = map(int, program("killed", data, tmp_path, KILLS, 0).split()[:2])
    assert killed == KILLS
    assert in_a_save > 0
    one, other = (
        (tmp_path / name / "model" / "model.safetensors").read_bytes()
        for name in ("whole", "killed")
    )
    assert one == other
