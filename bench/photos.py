"""Images that look to a decoder as photographs do, made of nothing."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ((4, 3), (3, 4), (3, 2), (1, 1))
LENS = 0.5
"""Blur of what is drawn, in pixels: no lens shows an edge within one."""


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Texture at every scale, as strong as in nature; things with edges; a lens; grain."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    colours = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(colours, np.float32) * 0.4 + 60
    pixels += 40 * _texture(width, height, rng)[..., None]
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    _draw_things(image, rng)
    blurred = image.filter(ImageFilter.GaussianBlur(LENS))
    grain = rng.normal(0, 3, (height, width, 1)).astype(np.float32)
    return Image.fromarray((np.asarray(blurred) + grain).clip(0, 255).astype(np.uint8))


def jpeg(number: int, side: float) -> bytes:
    """Photograph `number` of about `side` pixels squared, of a usual shape and quality."""
    wide, high = SHAPES[number % len(SHAPES)]
    scale = side / (wide * high) ** 0.5
    file = io.BytesIO()
    quality = int(np.random.default_rng(number).integers(80, 96))
    photograph(round(wide * scale), round(high * scale), number).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _texture(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls as one by the frequency, as that of natural scenes; spread 1."""
    noise = np.fft.rfft2(rng.normal(size=(height, width)).astype(np.float32))
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    texture = np.fft.irfft2(noise / frequency, (height, width))
    return (texture / texture.std()).astype(np.float32)


def _draw_things(image: Image.Image, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = rng.uniform(0, image.width), rng.uniform(0, image.height)
        box = (
            left,
            top,
            left + rng.uniform(1, image.width / 3),
            top + rng.uniform(1, image.height / 3),
        )
        colour = tuple(rng.integers(0, 256, 3).tolist())
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(
            box,
            fill=colour if rng.random() < 0.4 else None,
            outline=colour,
            width=max(1, min(image.size) // 150),
        )
