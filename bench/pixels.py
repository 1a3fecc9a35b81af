"""JPEG files to normalised 224-pixel tensors: ours and the plain Pillow path, in turn.

Run: python bench/pixels.py [--photos 128] [--rounds 7] [--out bench/results/pixels.json]

The plain path is what torchvision's Resize, CenterCrop, ToTensor and Normalize do, one image at
a time; both must give the same tensors to the last bit. One thread; each round takes every photo
through one contestant after the other. Seconds are those of the processor, not of the wall: other
programs on the machine then move the figures less.
"""

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from twinlens.config import PreprocessConfig
from twinlens.images.decode import decode_image, to_pixels
from twinlens.inference.preprocess import normalize

SIZE = 224
CONFIG = PreprocessConfig(image_size=SIZE)
BATCH = 64
SHAPES = ((500, 375), (375, 500), (500, 333), (433, 433))
"""ImageNet's usual sizes: about 433 pixels squared."""

Photos = Sequence[bytes]


def photo(number: int) -> bytes:
    """Detail at every scale, as in nature, under a slow change of light; quality 80 to 95."""
    rng = np.random.default_rng(number)
    width, height = SHAPES[number % len(SHAPES)]
    light = np.linspace(0, rng.uniform(20, 90), width) + np.linspace(0, 60, height)[:, None]
    pixels = 60 + np.repeat(light[..., None], 3, axis=2)
    for octave in range(2, 9):
        shape = (2**octave, 2**octave, 3)
        grain = rng.integers(0, 256, shape, dtype=np.uint8)
        layer = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(layer, np.float32) - 128) * (1.6 / octave)
    file = io.BytesIO()
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=int(rng.integers(80, 96)))
    return file.getvalue()


def plain(photos: Photos) -> torch.Tensor:
    """Pillow and torch, image by image, by torchvision's rules."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CONFIG.mean, CONFIG.std))
    rows: list[torch.Tensor] = []
    for data in photos:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        short = min(image.size)
        width, height = (int(SIZE * side / short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
        image = image.crop((left, top, left + SIZE, top + SIZE))
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        rows.append(tensor.sub(mean).div(std))
    return torch.stack(rows)


def ours(photos: Photos) -> torch.Tensor:
    batches: list[torch.Tensor] = []
    for start in range(0, len(photos), BATCH):
        pixels = np.stack([to_pixels(data, CONFIG) for data in photos[start : start + BATCH]])
        batches.append(normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2), CONFIG))
    return torch.cat(batches)


def plain_decode(photos: Photos) -> None:
    for data in photos:
        Image.open(io.BytesIO(data)).convert("RGB")


def our_decode(photos: Photos) -> None:
    for data in photos:
        decode_image(data)


CONTESTANTS: dict[str, Callable[[Photos], object]] = {
    "plain Pillow": plain,
    "twinlens": ours,
    "plain Pillow, decode alone": plain_decode,
    "twinlens, decode alone": our_decode,
}


def race(photos: Photos, rounds: int) -> dict[str, list[float]]:
    """Photos a second of each contestant in every round."""
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name, call in CONTESTANTS.items():
            start = time.process_time()
            call(photos)
            rates[name].append(len(photos) / (time.process_time() - start))
    return rates


def summary(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "photos_per_second": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
            "times_plain": statistics.median(
                mine / theirs
                for mine, theirs in zip(
                    values, rates[name.replace("twinlens", "plain Pillow")], strict=True
                )
            ),
        }
        for name, values in rates.items()
    }


def show(results: dict[str, dict[str, float]]) -> None:
    table = Table("", "photos/s, median", "lowest to highest", "times plain")
    for name, row in results.items():
        spread = f"{row['lowest']:,.0f} to {row['highest']:,.0f}"
        rate, ratio = f"{row['photos_per_second']:,.0f}", f"{row['times_plain']:.2f}"
        table.add_row(name, rate, spread, ratio)
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/pixels.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    photos = [photo(number) for number in range(options.photos)]
    assert torch.equal(ours(photos), plain(photos)), "the tensors differ"
    results = summary(race(photos, options.rounds))
    show(results)
    report = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "pillow")},
        "photos": {
            "count": len(photos),
            "seeds": f"0 to {len(photos) - 1}",
            "mean_bytes": statistics.mean(map(len, photos)),
        },
        "rounds": options.rounds,
        "results": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
