import io
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from twinlens.curate.icons.iconify import Drawing
from twinlens.curate.icons.render import (
    BLACK,
    PLAIN_STYLE,
    WHITE,
    RenderStyle,
    contrast_ratio,
    encode_webp,
    random_style,
    render_svg,
    to_svg,
    trim_drawing,
)
from twinlens.errors import DataError

SQUARE = '<path fill="currentColor" d="M0 0h10v10H0z"/>'
LEFT_HALF = '<path fill="#f00" d="M0 0h5v10H0z"/>'


def drawn(drawing: Drawing, look: RenderStyle = PLAIN_STYLE, size: int = 50) -> Image.Image:
    return render_svg(to_svg(drawing, look, size), drawing.font)


@given(seed=st.integers(), coloured=st.booleans())
def test_every_look_can_be_seen_and_lies_within_the_image(seed: int, coloured: bool) -> None:
    look = random_style(Random(seed), is_coloured=coloured)
    left, top, side = look.box
    assert min(left, top) >= 0
    assert max(left, top) + side <= 1
    assert side >= 0.75
    best = max(
        min(contrast_ratio(colour, stop) for stop in look.background_stops)
        for colour in (BLACK, WHITE)
    )
    assert min(contrast_ratio(look.foreground, stop) for stop in look.background_stops) >= min(
        3, best
    )


def test_white_is_the_most_frequent_background() -> None:
    stops = [random_style(Random(seed), is_coloured=True).background_stops for seed in range(1000)]
    white = sum(each == (WHITE,) for each in stops)
    assert 350 < white < 450
    assert 80 < sum(len(each) == 2 for each in stops) < 180


def test_a_look_is_decided_by_its_seed() -> None:
    assert random_style(Random(3), is_coloured=True) == random_style(Random(3), is_coloured=True)
    assert random_style(Random(3), is_coloured=True) != random_style(Random(4), is_coloured=True)


def test_a_plain_image_is_black_on_white_with_a_margin() -> None:
    image = drawn(Drawing(SQUARE, 0, 0, 10, 10))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    ink = image.convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    assert ink == (2, 2, 48, 48)  # 4% of 50 pixels


def test_a_drawing_that_is_not_square_is_fitted_and_centred() -> None:
    image = drawn(Drawing('<path d="M0 0h20v10H0z"/>', 0, 0, 20, 10))
    ink = image.convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    assert ink is not None
    left, top, right, bottom = ink
    assert right - left == pytest.approx(2 * (bottom - top), abs=2)
    assert top == pytest.approx(50 - bottom, abs=1)


def test_one_coloured_drawings_take_the_foreground_and_gradients_have_two_ends() -> None:
    look = RenderStyle(
        background_stops=((1, 0, 0), (0, 0, 1)), foreground=(0, 1, 0), box=(0.4, 0.4, 0.2)
    )
    image = drawn(Drawing(SQUARE, 0, 0, 10, 10), look)
    assert image.getpixel((25, 25)) == (0, 255, 0)
    left, right = image.getpixel((1, 1)), image.getpixel((48, 48))
    assert left[0] > left[2]
    assert right[2] > right[0]


@pytest.mark.parametrize(
    ("turn", "red"),
    [
        ({}, (10, 25)),
        ({"h_flip": True}, (40, 25)),
        ({"rotate": 1}, (25, 10)),
        ({"rotate": 3}, (25, 40)),
        ({"rotate": 1, "v_flip": True}, (25, 10)),
        ({"rotate": 1, "h_flip": True}, (25, 40)),
    ],
)
def test_turns_and_flips(turn: dict[str, int], red: tuple[int, int]) -> None:
    image = drawn(Drawing(LEFT_HALF, 0, 0, 10, 10, **turn))
    assert image.getpixel(red) == (255, 0, 0)
    assert image.getpixel((49 - red[0], 49 - red[1])) == (255, 255, 255)


def test_trimming_cuts_the_page_to_the_drawing() -> None:
    page = Drawing('<path d="M40 60h20v10H40z"/>', 0, 0, 100, 100, should_trim=True)
    cut = trim_drawing(page)
    assert (cut.left, cut.top, cut.width, cut.height) == pytest.approx((40, 60, 20, 10), abs=1)
    with pytest.raises(DataError, match="page without ink"):
        trim_drawing(Drawing("<g/>", 0, 0, 10, 10))


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(DataError, match="cannot be rendered"):
        render_svg("<svg")
    with pytest.raises(DataError, match="one colour"):
        encode_webp(drawn(Drawing("<g/>", 0, 0, 10, 10)), 90)


def test_the_image_survives_its_encoding() -> None:
    image = drawn(Drawing(LEFT_HALF, 0, 0, 10, 10))
    again = Image.open(io.BytesIO(encode_webp(image, 90))).convert("RGB")
    assert again.size == image.size
    assert again.getpixel((10, 25))[0] > 230
