# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""Images in a terminal: by kitty's or iTerm2's protocol, else as half blocks in two colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image

    from twinlens.types import ImageInput

TerminalGraphics = Literal["kitty", "iterm", "blocks"]

_KITTY_TERMS = frozenset({"xterm-kitty", "xterm-ghostty"})
_KITTY_PROGRAMS = frozenset({"ghostty"})
_ITERM_PROGRAMS = frozenset({"iTerm.app", "WezTerm"})
_TRUE_COLOUR_TERMS = frozenset({"alacritty", "contour", "foot"})
"""Terminals that have 24-bit colours and do not say so where COLORTERM is lost, as by SSH."""

_CELL_SIZE = 12, 24
"""Width and height in pixels that are sent for a cell; sharp screens have up to 20 x 40."""

_KITTY_CHUNK = 4096
"""Characters of base64 that one escape sequence may have."""

_RESET = "\x1b[0m"


def terminal_graphics(environ: Mapping[str, str], is_terminal: bool) -> TerminalGraphics | None:
    """The best way to show an image in the terminal; None where there is none.

    The terminal is not asked, for an answer could be lost among what is typed: what it is follows
    from the environment. Within tmux and screen, which pass no images on, it is "blocks".

    Args:
        environ: The environment's variables.
        is_terminal: True if standard output is a terminal.

    Example:
        >>> terminal_graphics({"TERM": "xterm-kitty"}, True)
        'kitty'
        >>> terminal_graphics({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, True)
        'blocks'
    """
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if not is_terminal or environ.get("NO_COLOR") or term == "dumb":
        return None
    is_multiplexed = term.startswith(("screen", "tmux")) or environ.keys() & {"TMUX", "STY"}
    if not is_multiplexed:
        if program in _ITERM_PROGRAMS or environ.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
        is_kitty = "KITTY_WINDOW_ID" in environ or term in _KITTY_TERMS
        if is_kitty or program in _KITTY_PROGRAMS:
            return "kitty"
    has_colours = environ.get("COLORTERM") in ("truecolor", "24bit") or "WT_SESSION" in environ
    if has_colours or term.endswith("-direct") or term in _TRUE_COLOUR_TERMS:
        return "blocks"
    return None


def thumbnail(image: ImageInput, how: TerminalGraphics, width_cells: int) -> str:
    """The text that shows an image in the terminal, with the end of its last line.

    Args:
        image: The image.
        how: As `terminal_graphics` gives it.
        width_cells: Columns it may take. It takes at most half as many lines, since a cell is
            about twice as high as wide; smaller images take fewer of both.

    Raises:
        DataError: The image cannot be decoded.
    """
    from twinlens.images.decode import decode_thumbnail

    if how == "blocks":
        return _half_blocks(decode_thumbnail(image, width_cells))
    small = decode_thumbnail(image, width_cells * _CELL_SIZE[0])
    png = io.BytesIO()
    small.save(png, "png", compress_level=1, icc_profile=None)  # else the file's, of any size
    columns, lines = (
        max(round(side / pixels), 1) for side, pixels in zip(small.size, _CELL_SIZE, strict=True)
    )
    show = _kitty_image if how == "kitty" else _iterm_image
    return show(png.getvalue(), columns, lines) + "\n"


def _kitty_image(png: bytes, columns: int, lines: int) -> str:
    """A PNG in kitty's graphics protocol, in chunks; `q=2` keeps the terminal from answering."""
    # The terminal would stretch the image to both; the other side follows from its ratio.
    extent = f"c={columns}" if columns >= 2 * lines else f"r={lines}"
    text = base64.b64encode(png).decode()
    chunks = [text[start : start + _KITTY_CHUNK] for start in range(0, len(text), _KITTY_CHUNK)]
    heads = [f"a=T,f=100,q=2,{extent},", *[""] * (len(chunks) - 1)]
    return "".join(
        f"\x1b_G{head}m={int(number < len(chunks))};{chunk}\x1b\\"
        for number, (head, chunk) in enumerate(zip(heads, chunks, strict=True), start=1)
    )


def _iterm_image(png: bytes, columns: int, lines: int) -> str:
    """A PNG in iTerm2's protocol of inline images."""
    return (
        f"\x1b]1337;File=inline=1;size={len(png)};width={columns};height={lines};"
        f"preserveAspectRatio=1:{base64.b64encode(png).decode()}\x07"
    )


def _half_blocks(image: Image.Image) -> str:
    """Lines of upper halves of blocks: each shows two pixels, as its colour and its ground's."""
    import numpy as np

    rows = np.asarray(image).tolist()
    if len(rows) % 2:
        rows.append([None] * len(rows[0]))
    lines = (
        "".join(_cells(list(zip(upper, lower, strict=True))))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )
    return "".join(f"{line}{_RESET}\n" for line in lines)


def _cells(pairs: list[tuple[list[int], list[int] | None]]) -> Iterator[str]:
    """The cells of a line; colours are only set where they change."""
    upper: list[int] | None = None
    lower: list[int] | None = None
    for above, below in pairs:
        if above != upper:
            yield "\x1b[38;2;{};{};{}m".format(*above)
        if below is not None and below != lower:
            yield "\x1b[48;2;{};{};{}m".format(*below)
        yield "▀"
        upper, lower = above, below
