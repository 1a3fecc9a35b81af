"""What tests of hostile files share."""

from pathlib import Path

import pytest


@pytest.fixture
def trap(tmp_path: Path):
    """A file that hostile pickles make if they are run."""
    mark = tmp_path / "it-was-run"
    yield mark
    assert not mark.exists()
