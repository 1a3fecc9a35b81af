"""OpenVINO's version, and its silence."""

import subprocess
import sys

import pytest

from twinlens.errors import ConfigError
from twinlens.inference.openvino_runtime import openvino, require_version


def test_old_versions_are_refused_in_one_line():
    require_version(openvino.__version__)
    require_version("2031.0.0-1234-releases/2031/0")
    with pytest.raises(ConfigError, match=r"openvino: got 2024\.6\.0-1, expected 2026\.1 or later"):
        require_version("2024.6.0-1")


PROGRAM = """
import socket, sys

def refused(*arguments, **_):
    raise AssertionError(f"a network call: {arguments}")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
import twinlens
twinlens.load("icons", engine="openvino").embed_texts("a cat")
found = [name for name in sys.modules if name.startswith(("openvino_telemetry", "openvino.tools"))]
assert not found, found
import openvino
assert openvino.tools.ovc.convert_model is openvino.convert_model
assert not hasattr(openvino, "convert_modal")
"""


def test_nothing_is_reported_over_the_network():
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
