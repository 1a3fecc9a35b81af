"""Images a second of the loader alone, by side, data and number of worker processes.

Run: python bench/loader.py [--images 1024] [--batches 12] [--batch 128] [--workers 0 1 2]

Each figure is of a fresh process, all in turn in every round: the tars of the package (small
drawings), and photograph-like JPEG of 320 x 256 that are made for the occasion. Opening and the
first batches, in which processes start and caches warm, are not timed.
"""

import argparse
import io
import json
import tempfile
import time
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
from contest import peak_mib, print_figures, race, save
from PIL import Image

HERE = Path(__file__).resolve()
WARM_UP = 4
"""Batches before the clock starts: more than are read ahead."""


def make_jpegs(folder: Path, images: int) -> None:
    """Tars of smooth noise with captions: costs to decode what a photograph of its size costs."""
    from twinlens.data.webdataset.shards import write_shard  # noqa: PLC0415

    rng = np.random.default_rng(0)

    def sample(number: int) -> tuple[str, dict[str, bytes]]:
        coarse = Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8))
        out = io.BytesIO()
        coarse.resize((320, 256), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        caption = f"a photo of thing {number}"
        return f"{number:09d}", {"jpg": out.getvalue(), "txt": caption.encode()}

    folder.mkdir(parents=True, exist_ok=True)
    for shard, start in enumerate(range(0, images, 512)):
        numbers = range(start, min(start + 512, images))
        write_shard(folder / f"{shard:05d}.tar", map(sample, numbers))


def contest(options: argparse.Namespace) -> dict[str, float]:
    """One loader's figures."""
    from twinlens.data.augment import Augmentation  # noqa: PLC0415
    from twinlens.data.datasets import open_dataset  # noqa: PLC0415
    from twinlens.data.loader import PairLoader  # noqa: PLC0415
    from twinlens.text.clip_bpe import Tokenizer  # noqa: PLC0415

    loader = PairLoader(
        open_dataset(options.data),
        Tokenizer.clip(),
        batch_size=options.batch,
        image_size=options.size,
        context_length=77,
        augmentation=Augmentation(min_crop_side=0.6),
        seed=0,
    )
    workers = options.workers[0]
    # Steps after the last timed one: what was read ahead when the clock stops is then as much as
    # when it started, and no batch is had for nothing.
    last = WARM_UP + options.batches + max(WARM_UP, 2 * workers)
    batches = loader.batches(0, last, workers=workers)
    for _ in islice(batches, WARM_UP):
        pass
    start = time.perf_counter()
    number = sum(len(batch.pixels) for batch in islice(batches, options.batches))
    seconds = time.perf_counter() - start
    return {"images_per_s": number / seconds, "peak_mib": peak_mib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024, help="JPEG to make")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=12, help="timed batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("bench/results/loader.json"))
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data:
        print(json.dumps(contest(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_jpegs(Path(folder), options.images)
        drawings = str(files("twinlens") / "assets" / "shards" / "train")
        contestants = {
            f"{name}, {size} px, {workers} workers": [
                *(f"--data={data}", f"--size={size}", f"--workers={workers}"),
                *(f"--batch={options.batch}", f"--batches={options.batches}"),
            ]
            for name, data in (("drawings", drawings), ("JPEG", folder))
            for size in (64, 224)
            for workers in options.workers
        }
        figures = race(str(HERE), contestants, options.rounds)
    print_figures(figures)
    save(figures, options.out)


if __name__ == "__main__":
    main()
