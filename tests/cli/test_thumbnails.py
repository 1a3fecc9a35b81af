"""Images in a terminal: what it would show is decoded again and compared."""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinlens.cli.thumbnails import TerminalGraphics, terminal_graphics, thumbnail
from twinlens.errors import DataError
from twinlens.images.decode import decode_image, decode_thumbnail

COLOUR = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


@pytest.mark.parametrize(
    ("environ", "how"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        (COLOUR | {"KITTY_WINDOW_ID": "1"}, "kitty"),
        (COLOUR | {"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        (COLOUR | {"TERM_PROGRAM": "iTerm.app"}, "iterm"),
        (COLOUR | {"TERM_PROGRAM": "WezTerm", "KITTY_WINDOW_ID": "1"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        (COLOUR, "blocks"),
        ({"TERM": "xterm", "COLORTERM": "24bit"}, "blocks"),
        ({"TERM": "xterm-direct"}, "blocks"),
        ({"TERM": "foot"}, "blocks"),
        ({"WT_SESSION": "x"}, "blocks"),
        (COLOUR | {"NO_COLOR": ""}, "blocks"),
        (COLOUR | {"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        (COLOUR | {"TMUX": "/tmp/tmux", "TERM_PROGRAM": "iTerm.app"}, "blocks"),
        ({"TERM": "screen", "STY": "1", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-256color", "COLORTERM": "yes"}, None),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, None),
        (COLOUR | {"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
        ({}, None),
    ],
)
def test_terminals_are_known_by_their_environment(
    environ: dict[str, str], how: TerminalGraphics | None
):
    assert terminal_graphics(environ, True) == how
    assert terminal_graphics(environ, False) is None


def test_nothing_in_a_pipe():
    code = (
        "import os, sys; from twinlens.cli.thumbnails import terminal_graphics; "
        "print(terminal_graphics(os.environ, sys.stdout.isatty()))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def save(path: Path, width: int, height: int, orientation: int = 1) -> Path:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


SIZES = [(300, 200), (200, 300), (500, 500), (40, 24), (1, 1), (900, 3), (3, 900)]


# kitty


def read_kitty(text: str) -> tuple[dict[str, str], np.ndarray]:
    """The keys of a transmission and its pixels, by the protocol's rules."""
    assert re.fullmatch(r"(?:\x1b_G[^;\x1b]*;[A-Za-z0-9+/=]*\x1b\\)+\n", text)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    keys = [dict(pair.split("=") for pair in head.split(",")) for head, _ in parts]
    assert [one["m"] for one in keys] == ["1"] * (len(parts) - 1) + ["0"]
    assert all(set(one) == {"m"} for one in keys[1:])
    chunks = [chunk for _, chunk in parts]
    assert all(len(chunk) == 4096 for chunk in chunks[:-1])
    assert 0 < len(chunks[-1]) <= 4096
    png = base64.b64decode("".join(chunks), validate=True)
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return keys[0], np.asarray(image)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_kitty_gets_the_pixels_in_chunks(width: int, height: int, tmp_path: Path):
    path = save(tmp_path / "a.png", width, height)
    keys, pixels = read_kitty(thumbnail(path, "kitty", 20))
    assert (keys["a"], keys["f"], keys["q"]) == ("T", "100", "2")
    assert np.array_equal(pixels, np.asarray(decode_thumbnail(path, 240)))
    assert ("c" in keys) != ("r" in keys)
    assert 1 <= int(keys.get("c", 1)) <= 20
    assert 1 <= int(keys.get("r", 1)) <= 10
    assert max(pixels.shape) <= 240


@pytest.mark.parametrize(
    ("size", "extent"),
    [((300, 200), "c=20"), ((200, 300), "r=10"), ((40, 24), "c=3"), ((1, 1), "r=1")],
)
def test_kitty_is_told_one_side(size: tuple[int, int], extent: str, tmp_path: Path):
    text = thumbnail(save(tmp_path / "a.png", *size), "kitty", 20)
    assert f",{extent},m=" in text


# iTerm2


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_iterm_gets_the_pixels_at_once(width: int, height: int, tmp_path: Path):
    path = save(tmp_path / "a.png", width, height)
    found = re.fullmatch(
        r"\x1b\]1337;File=inline=1;size=(\d+);width=(\d+);height=(\d+);"
        r"preserveAspectRatio=1:([A-Za-z0-9+/=]+)\x07\n",
        thumbnail(path, "iterm", 20),
    )
    assert found
    png = base64.b64decode(found[4], validate=True)
    assert len(png) == int(found[1])
    assert 1 <= int(found[2]) <= 20
    assert 1 <= int(found[3]) <= 10
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert np.array_equal(pixels, np.asarray(decode_thumbnail(path, 240)))


# Half blocks


def read_blocks(text: str) -> np.ndarray:
    """The pixels that a terminal shows, with -1 where its own ground is."""
    rows: list[list[tuple[int, ...]]] = []
    nothing = (-1, -1, -1)
    for line in text.removesuffix("\n").split("\n"):
        assert line.endswith("\x1b[0m")
        upper: list[tuple[int, ...]] = []
        lower: list[tuple[int, ...]] = []
        above, below = nothing, nothing
        for colour, cell in re.findall(r"\x1b\[([\d;]+)m|(.)", line):
            if cell:
                assert cell == "▀"
                upper.append(above)
                lower.append(below)
            elif colour != "0":
                kind, _, *rgb = map(int, colour.split(";"))
                if kind == 38:
                    above = tuple(rgb)
                else:
                    below = tuple(rgb)
        rows += [upper, lower]
    return np.array(rows)


@pytest.mark.parametrize(("width", "height"), [*SIZES, (10, 7)])
def test_half_blocks_show_two_pixels_a_cell(width: int, height: int, tmp_path: Path):
    path = save(tmp_path / "a.png", width, height)
    text = thumbnail(path, "blocks", 20)
    expected = np.asarray(decode_thumbnail(path, 20)).astype(int)
    if len(expected) % 2:
        expected = np.concatenate([expected, np.full_like(expected[:1], -1)])
    assert np.array_equal(read_blocks(text), expected)
    assert text.count("\n") == len(expected) // 2 <= 10


def test_colours_are_set_where_they_change(tmp_path: Path):
    Image.new("RGB", (8, 4), (1, 2, 3)).save(tmp_path / "a.png")
    line = f"\x1b[38;2;1;2;3m\x1b[48;2;1;2;3m{'▀' * 8}\x1b[0m\n"
    assert thumbnail(tmp_path / "a.png", "blocks", 20) == 2 * line


@pytest.mark.parametrize("how", ["kitty", "iterm", "blocks"])
def test_thumbnails_are_upright(how: TerminalGraphics, tmp_path: Path):
    path = save(tmp_path / "a.png", 16, 12, orientation=6)
    assert decode_image(path).size == (12, 16)
    text = thumbnail(path, how, 20)
    if how == "blocks":
        assert read_blocks(text).shape == (16, 12, 3)
    else:
        [data] = re.findall(r"[;:]([A-Za-z0-9+/=]{60,})", text)
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (12, 16)


def test_metadata_is_not_sent(tmp_path: Path):
    profile = bytes(500_000)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg", icc_profile=profile, exif=Image.Exif())
    assert len(thumbnail(tmp_path / "a.jpg", "kitty", 20)) < 500


@pytest.mark.parametrize("how", ["kitty", "iterm", "blocks"])
def test_images_that_cannot_be_read_are_refused(how: TerminalGraphics, tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        thumbnail(tmp_path / "gone.png", how, 20)
