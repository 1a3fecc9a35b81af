"""The package itself: light to import, and all it promises is there."""

import subprocess
import sys

import pytest

import twinlens


def test_importing_it_does_not_import_torch():
    code = "import sys, twinlens; print('torch' in sys.modules, 'numpy' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert answer.stdout.split() == ["False", "False"]


def test_every_promised_name_is_there():
    for name in twinlens.__all__:
        assert getattr(twinlens, name) is not None
    assert set(twinlens.__all__) <= set(dir(twinlens))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        twinlens.lod  # noqa: B018
