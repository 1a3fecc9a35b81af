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
_TRIM_RENDER_SIZE = 200
_MARGIN = 0.04
"""Margin of a plain image, as a share of its side."""

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""

WHITE: Colour = (1.0, 1.0, 1.0)
BLACK: Colour = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class RenderStyle:
    """The background, colour and placement of a drawing.

    Attributes:
        background_stops: One background colour, or the two ends of a gradient.
        gradient_angle: Direction of the gradient, degrees.
        foreground: The colour of what the drawing leaves open (`currentColor`).
        box: Left, top and side of the drawing, as shares of the image's side.
    """

    background_stops: tuple[Colour, ...] = (WHITE,)
    gradient_angle: float = 0.0
    foreground: Colour = BLACK
    box: tuple[float, float, float] = (_MARGIN, _MARGIN, 1 - 2 * _MARGIN)


PLAIN_STYLE = RenderStyle()
"""Black on white with a standard margin: how every held-out image is shown."""


def random_style(rng: Random, *, is_coloured: bool) -> RenderStyle:
    """A look: white most often, then light, saturated, dark and two-coloured backgrounds."""
    stops = _random_background(rng)
    side = 1 - 2 * rng.uniform(0.0, 0.12)
    left, top = rng.uniform(0, 1 - side), rng.uniform(0, 1 - side)
    return RenderStyle(
        background_stops=stops,
        gradient_angle=rng.uniform(0, 360),
        foreground=_random_foreground(stops, rng, dark=is_coloured),
        box=(left, top, side),
    )


def _random_background(rng: Random) -> tuple[Colour, ...]:
    draw = rng.random()
    if draw < 0.40:
        return (WHITE,)
    if draw < 0.62:
        return (_random_hsv(rng, (0.02, 0.25), (0.88, 1.0)),)
    if draw < 0.76:
        return (_random_hsv(rng, (0.35, 0.9), (0.55, 1.0)),)
    if draw < 0.87:
        return (_random_hsv(rng, (0.0, 0.6), (0.0, 0.3)),)
    return (_random_hsv(rng, (0.05, 0.8), (0.4, 1.0)), _random_hsv(rng, (0.05, 0.8), (0.4, 1.0)))


def _random_hsv(rng: Random, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def _random_foreground(stops: tuple[Colour, ...], rng: Random, *, dark: bool) -> Colour:
    """A colour that stands out from every stop; black or white half of the time."""
    plain = max((BLACK, WHITE), key=lambda colour: _min_contrast(colour, stops))
    if dark or rng.random() < 0.5:
        return plain
    for _ in range(20):
        colour = _random_hsv(rng, (0.3, 1.0), (0.2, 1.0))
        if _min_contrast(colour, stops) >= 3:
            return colour
    return plain


def _min_contrast(colour: Colour, stops: tuple[Colour, ...]) -> float:
    return min(contrast_ratio(colour, stop) for stop in stops)


def contrast_ratio(a: Colour, b: Colour) -> float:
    """The WCAG contrast ratio of two colours, from 1 to 21.

    Example:
        >>> round(contrast_ratio(WHITE, BLACK), 3)
        21.0
    """
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def to_svg(drawing: Drawing, style: RenderStyle, size: int) -> str:
    """The whole image as SVG: a background and the drawing, fitted and centred in its box."""
    x, y, side = (size * share for share in style.box)
    view = f"{drawing.left:g} {drawing.top:g} {drawing.width:g} {drawing.height:g}"
    transform = drawing.svg_transform()
    body = f'<g transform="{transform}">{drawing.body}</g>' if transform else drawing.body
    return (
        f'<svg {_NAMESPACES} width="{size}" height="{size}" viewBox="0 0 {size} {size}">'
        f"{_background_svg(style, size)}"
        f'<svg x="{x:.3f}" y="{y:.3f}" width="{side:.3f}" height="{side:.3f}" '
        f'viewBox="{view}" color="{_hex_colour(style.foreground)}">{body}</svg></svg>'
    )


def _background_svg(style: RenderStyle, size: int) -> str:
    fill, gradient = _hex_colour(style.background_stops[0]), ""
    if len(style.background_stops) == 2:
        ends = "".join(
            f'<stop offset="{offset}" stop-color="{_hex_colour(stop)}"/>'
            for offset, stop in enumerate(style.background_stops)
        )
        turn = f'gradientTransform="rotate({style.gradient_angle:.1f} 0.5 0.5)"'
        gradient = f'<linearGradient id="backdrop" {turn}>{ends}</linearGradient>'
        fill = "url(#backdrop)"
    return f'{gradient}<rect width="{size}" height="{size}" fill="{fill}"/>'


def _hex_colour(colour: Colour) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)


def trim_drawing(drawing: Drawing) -> Drawing:
    """The same drawing with its box cut to what is drawn.

    Raises:
        DataError: Nothing is drawn.
    """
    view = f"{drawing.left:g} {drawing.top:g} {drawing.width:g} {drawing.height:g}"
    scale = _TRIM_RENDER_SIZE / max(drawing.width, drawing.height)
    text = (
        f'<svg {_NAMESPACES} width="{drawing.width * scale:g}" height="{drawing.height * scale:g}" '
        f'viewBox="{view}">{drawing.body}</svg>'
    )
    ink = render_svg(text, drawing.font, mode="RGBA").getchannel("A").getbbox()
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


def render_svg(text: str, font: str = "", mode: str = "RGB") -> Image.Image:
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


def encode_webp(image: Image.Image, quality: int) -> bytes:
    """An image as lossy WebP.

    Raises:
        DataError: The image is of one colour: there is nothing to see.
    """
    if image.getcolors(1) is not None:  # pixels of at most one colour
        raise DataError("drawing is empty: got one colour, expected an image")
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()
