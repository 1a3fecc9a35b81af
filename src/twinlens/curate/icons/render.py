"""A drawing on a background, as a small WebP image.

Everything that varies comes from the random generator that is handed in, so an image is a
pure function of its seed.
"""

from __future__ import annotations

import colorsys
import dataclasses
import io
from dataclasses import dataclass
from random import Random

from PIL import Image

from twinlens.curate.icons.iconify import Drawing
from twinlens.errors import DataError, MissingExtraError

_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_TRIM_SIZE = 200
_MARGIN = 0.04
"""Margin of a plain image, as a share of its side."""

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""

WHITE: Colour = (1.0, 1.0, 1.0)
BLACK: Colour = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Look:
    """How a drawing is shown.

    Attributes:
        stops: One background colour, or the two ends of a gradient.
        angle: Direction of the gradient, degrees.
        foreground: The colour of what the drawing leaves open (`currentColor`).
        box: Left, top and side of the drawing, as shares of the image's side.
    """

    stops: tuple[Colour, ...] = (WHITE,)
    angle: float = 0.0
    foreground: Colour = BLACK
    box: tuple[float, float, float] = (_MARGIN, _MARGIN, 1 - 2 * _MARGIN)


PLAIN = Look()
"""Black on white with a standard margin: how every held-out image is shown."""


def vary(rng: Random, *, coloured: bool) -> Look:
    """A look: white most often, then light, saturated, dark and two-coloured backgrounds."""
    stops = _background(rng)
    side = 1 - 2 * rng.uniform(0.0, 0.12)
    left, top = rng.uniform(0, 1 - side), rng.uniform(0, 1 - side)
    return Look(
        stops=stops,
        angle=rng.uniform(0, 360),
        foreground=_foreground(stops, rng, dark=coloured),
        box=(left, top, side),
    )


def _background(rng: Random) -> tuple[Colour, ...]:
    draw = rng.random()
    if draw < 0.40:
        return (WHITE,)
    if draw < 0.62:
        return (_hsv(rng, (0.02, 0.25), (0.88, 1.0)),)
    if draw < 0.76:
        return (_hsv(rng, (0.35, 0.9), (0.55, 1.0)),)
    if draw < 0.87:
        return (_hsv(rng, (0.0, 0.6), (0.0, 0.3)),)
    return (_hsv(rng, (0.05, 0.8), (0.4, 1.0)), _hsv(rng, (0.05, 0.8), (0.4, 1.0)))


def _hsv(rng: Random, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def _foreground(stops: tuple[Colour, ...], rng: Random, *, dark: bool) -> Colour:
    """A colour that stands out from every stop; black or white half of the time."""
    plain = max((BLACK, WHITE), key=lambda colour: _least_contrast(colour, stops))
    if dark or rng.random() < 0.5:
        return plain
    for _ in range(20):
        colour = _hsv(rng, (0.3, 1.0), (0.2, 1.0))
        if _least_contrast(colour, stops) >= 3:
            return colour
    return plain


def _least_contrast(colour: Colour, stops: tuple[Colour, ...]) -> float:
    return min(contrast(colour, stop) for stop in stops)


def contrast(a: Colour, b: Colour) -> float:
    """The WCAG contrast ratio of two colours, from 1 to 21.

    Example:
        >>> round(contrast(WHITE, BLACK), 3)
        21.0
    """
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def svg(drawing: Drawing, look: Look, size: int) -> str:
    """The whole image as SVG: a background and the drawing, fitted and centred in its box."""
    x, y, side = (size * share for share in look.box)
    view = f"{drawing.left:g} {drawing.top:g} {drawing.width:g} {drawing.height:g}"
    transform = drawing.transform()
    body = f'<g transform="{transform}">{drawing.body}</g>' if transform else drawing.body
    return (
        f'<svg {_NAMESPACES} width="{size}" height="{size}" viewBox="0 0 {size} {size}">'
        f"{_backdrop(look, size)}"
        f'<svg x="{x:.3f}" y="{y:.3f}" width="{side:.3f}" height="{side:.3f}" '
        f'viewBox="{view}" color="{_hex(look.foreground)}">{body}</svg></svg>'
    )


def _backdrop(look: Look, size: int) -> str:
    fill, gradient = _hex(look.stops[0]), ""
    if len(look.stops) == 2:
        ends = "".join(
            f'<stop offset="{offset}" stop-color="{_hex(stop)}"/>'
            for offset, stop in enumerate(look.stops)
        )
        turn = f'gradientTransform="rotate({look.angle:.1f} 0.5 0.5)"'
        gradient = f'<linearGradient id="backdrop" {turn}>{ends}</linearGradient>'
        fill = "url(#backdrop)"
    return f'{gradient}<rect width="{size}" height="{size}" fill="{fill}"/>'


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)


def trimmed(drawing: Drawing) -> Drawing:
    """The same drawing with its box cut to what is drawn.

    Raises:
        DataError: Nothing is drawn.
    """
    view = f"{drawing.left:g} {drawing.top:g} {drawing.width:g} {drawing.height:g}"
    scale = _TRIM_SIZE / max(drawing.width, drawing.height)
    text = (
        f'<svg {_NAMESPACES} width="{drawing.width * scale:g}" height="{drawing.height * scale:g}" '
        f'viewBox="{view}">{drawing.body}</svg>'
    )
    ink = render(text, drawing.font, mode="RGBA").getchannel("A").getbbox()
    if ink is None:
        raise DataError("drawing is empty: got a page without ink, expected an image")
    left, top, right, bottom = (edge / scale for edge in ink)
    return dataclasses.replace(
        drawing,
        left=drawing.left + left,
        top=drawing.top + top,
        width=right - left,
        height=bottom - top,
    )


def render(text: str, font: str = "", mode: str = "RGB") -> Image.Image:
    """Draw an SVG.

    Args:
        text: The SVG.
        font: A font file for its text; no font of the machine is used.
        mode: "RGB" or "RGBA".

    Raises:
        MissingExtraError: resvg-py is not installed.
        DataError: The SVG cannot be drawn.
    """
    try:
        import resvg_py  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("resvg-py", "data") from error
    try:
        # System fonts would make the images depend on the machine.
        png = resvg_py.svg_to_bytes(
            svg_string=text, skip_system_fonts=True, font_files=[font] if font else None
        )
    except ValueError as error:
        raise DataError(f"drawing cannot be rendered: {error}") from error
    return Image.open(io.BytesIO(png)).convert(mode)


def encode(image: Image.Image, quality: int) -> bytes:
    """An image as lossy WebP.

    Raises:
        DataError: The image is of one colour: there is nothing to see.
    """
    if image.getcolors(1) is not None:  # pixels of at most one colour
        raise DataError("drawing is empty: got one colour, expected an image")
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()
