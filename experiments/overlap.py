"""Figure 17: test images that are nearly in the training data, and what they do to accuracy.

Run: python experiments/overlap.py --corpus DIR --out experiments/results/overlap.json

A detector compares every test image with every training image: what stands out from the
background is cut out and scaled to 24 pixels, and two images are alike where these correlate
above a threshold, and their colours too where they have any. The embedded model's accuracy is then
told apart for test images with such an image in the training data and without (paper section 5
and appendix C).
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from features import of_part
from jaxtyping import Bool, Float, Float32, UInt8
from numpy.typing import NDArray
from PIL import Image
from reports import COLOURS, axes, facts, save_plot, write_result
from scipy.stats import binom, binomtest
from torch import Tensor

import twinlens
from twinlens.data.datasets import open_dataset
from twinlens.data.samples import Sample

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder

SIDE = 24
"""Of the thumbnails, pixels."""

STANDS_OUT = 0.12
"""Distance from the background, of 1, from which a pixel belongs to the drawing."""

COLOURED = 0.06
"""Standard deviation of hues within a drawing from which it is not of one colour."""

THRESHOLD = 0.97
THRESHOLDS = (0.93, 0.95, 0.97, 0.98)
BANDS = (0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 1.01)
"""Ends of scores of which pairs are shown, to choose the threshold by."""

JUDGED = {
    "unseen-style": {"0.97 and more": (20, 16)},
    "unseen-concepts": {
        "0.98 and more": (40, 37),
        "0.97 to 0.98": (40, 36),
        "0.95 to 0.97": (40, 24),
    },
}
"""How many pairs were looked at by eye, and how many of them show the same drawing."""

CANDIDATES = 32
"""Training images of the likest shape that are compared by colour too."""

TINTS = {"unseen-style": 0.2, "unseen-concepts": 1.0}
"""A heart is another emoji in another colour; icons have any."""

TEST_PARTS = ("unseen-style", "unseen-concepts")
NAMES = {"unseen-style": "new style", "unseen-concepts": "new concepts"}
CONFIDENCE = 0.995
"""Of the intervals, as in the paper's appendix C."""


# Thumbnails


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnails:
    """Images as the detector sees them.

    Attributes:
        drawings: What stands out, then red, green and blue.
        coloured: Whether a drawing has several hues.
        labels: What they show.
    """

    drawings: UInt8[np.ndarray, "image 4 side side"]
    coloured: Bool[np.ndarray, " image"]
    labels: NDArray[np.str_]


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "4 side side"]:
    """What stands out from the background, cut out with a square around it, and its colours."""
    rgb = np.asarray(image.convert("RGB").resize((2 * SIDE, 2 * SIDE)), np.float32) / 255
    stands_out = np.abs(rgb - _background(rgb)).max(axis=2)
    rows, columns = (np.flatnonzero((stands_out > STANDS_OUT).any(axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((4, SIDE, SIDE), np.uint8)
    side = int(max(np.ptp(rows), np.ptp(columns))) + 1
    left, top = (
        int(columns[0] + columns[-1] + 1 - side) // 2,
        int(rows[0] + rows[-1] + 1 - side) // 2,
    )
    layers = np.dstack([rgb, stands_out[..., None] / stands_out.max()])
    # What stands out is the opacity: colours of the background count little where pixels merge.
    whole = Image.fromarray((255 * layers).round().astype(np.uint8), "RGBA")
    cut = whole.crop((left, top, left + side, top + side))
    small = np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.BOX))
    return small[..., [3, 0, 1, 2]].transpose(2, 0, 1)


def _background(rgb: Float32[np.ndarray, "height width 3"]) -> NDArray[np.float32]:
    """From corner to corner: plain, or a gradient."""
    way = np.linspace(0, 1, len(rgb), dtype=np.float32)[:, None, None]
    top, bottom = rgb[1], rgb[-2]
    sides = (1 - way) * top[None, [1, -2]] + way * bottom[None, [1, -2]]
    across = way.transpose(1, 0, 2)
    return sides[:, :1] * (1 - across) + sides[:, 1:] * across


def read_thumbnails(corpus: Path, part: str) -> Thumbnails:
    """All of a part; made a tar at a time, and kept in `corpus/thumbnails`."""
    tars = sorted((corpus / part).glob("*.tar"))
    found = [_of_tar(tar, corpus / "thumbnails" / f"{part}-{tar.stem}.npz") for tar in tars]
    drawings = np.concatenate([drawings for drawings, _ in found])
    return Thumbnails(
        drawings=drawings,
        coloured=_hues(drawings) > COLOURED,
        labels=np.concatenate([labels for _, labels in found]),
    )


def _of_tar(tar: Path, kept: Path) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        samples = open_dataset(str(tar)).samples
        drawings = np.stack([thumbnail(_opened(sample)) for sample in samples])
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, drawings=drawings, labels=[str(sample.label) for sample in samples])
        partial.replace(kept)
    read = np.load(kept)
    return read["drawings"], read["labels"]


def _opened(sample: Sample) -> Image.Image:
    return Image.open(io.BytesIO(sample.image_bytes()))


def _hues(drawings: UInt8[np.ndarray, "image 4 side side"]) -> NDArray[np.float64]:
    """How much the colours within each drawing differ in hue, not in brightness."""
    parts = np.array_split(drawings, max(1, len(drawings) // 4096))
    return np.concatenate([_hues_of_some(part / 255) for part in parts])


def _hues_of_some(x: Float[np.ndarray, "image 4 side side"]) -> NDArray[np.float64]:
    weight = (x[:, 0] > 0.3).astype(np.float64)[:, None]
    weight /= weight.sum(axis=(2, 3), keepdims=True).clip(1)
    chroma = np.stack([x[:, 1] - x[:, 2], x[:, 2] - x[:, 3]], axis=1)
    mean = (weight * chroma).sum(axis=(2, 3), keepdims=True)
    return np.sqrt((weight * (chroma - mean) ** 2).sum(axis=(1, 2, 3)))


# Pairs


def alike(
    tests: Thumbnails, train: Thumbnails, *, tint: float = 1.0, tile: int = 8192
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How like the likest training image is to each test image, in [-1, 1], and which it is.

    Drawings whose mean colours are further apart than `tint` are not alike.
    """
    shapes = _standard(tests.drawings[:, :1])
    best = torch.full((len(shapes), CANDIDATES), -1.0)
    which = torch.zeros((len(shapes), CANDIDATES), dtype=torch.long)
    coloured = torch.from_numpy(tests.coloured)
    for start in range(0, len(train.drawings), tile):
        scores = shapes @ _standard(train.drawings[start : start + tile, :1]).T
        other = coloured[:, None] != torch.from_numpy(train.coloured[start : start + tile])
        top = scores.masked_fill_(other, -1.0).topk(min(CANDIDATES, scores.shape[1]))
        both = torch.cat([best, top.values], 1), torch.cat([which, top.indices + start], 1)
        best, kept = both[0].topk(CANDIDATES)
        which = both[1].gather(1, kept)
    colours = torch.stack(
        [
            (_painted(tests.drawings) * _painted(train.drawings[column])).sum(1)
            for column in which.T.numpy()
        ],
        dim=1,
    )
    tints = torch.from_numpy(_tints(train.drawings))[which] - torch.from_numpy(
        _tints(tests.drawings)[:, None]
    )
    score = torch.where(coloured[:, None], torch.minimum(best, colours), best)
    score.masked_fill_(tints.abs().amax(dim=2) > tint, -1.0)
    top = score.max(dim=1)
    rows = torch.arange(len(score))
    return top.values.double().numpy(), which[rows, top.indices].numpy()


def _tints(drawings: UInt8[np.ndarray, "image 4 side side"]) -> NDArray[np.float32]:
    """The mean colour of each drawing."""
    weight = drawings[:, :1].astype(np.float32)
    weight /= weight.sum(axis=(2, 3), keepdims=True).clip(1)
    return (weight * drawings[:, 1:]).sum(axis=(2, 3)) / 255


def _standard(drawings: NDArray[np.number[Any]]) -> Float32[Tensor, "image value"]:
    """Mean 0 and length 1, so that products are correlations."""
    x = torch.from_numpy(np.asarray(drawings, np.float32)).flatten(1)
    x = x - x.mean(dim=1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-6)


def _painted(
    drawings: UInt8[np.ndarray, "image 4 side side"],
) -> Float32[Tensor, "image value"]:
    """The colours on mid-grey, whatever the background was."""
    x = drawings.astype(np.float32) / 255
    inside = (x[:, :1] / 0.3).clip(0, 1)
    return _standard((x[:, 1:] - 0.5) * inside)


def contact_sheet(
    pairs: Sequence[tuple[Image.Image, Image.Image]], columns: int = 10, side: int = 72
) -> Image.Image:
    """Pairs, the test image above the training image."""
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * (side + 6), rows * (2 * side + 12)), "#888888")
    for place, pair in enumerate(pairs):
        left, top = (place % columns) * (side + 6), (place // columns) * (2 * side + 12)
        for below, image in enumerate(pair):
            sheet.paste(image.convert("RGB").resize((side, side)), (left, top + below * side))
    return sheet


# Accuracy


def compare(
    right: Bool[np.ndarray, " image"], overlaps: Bool[np.ndarray, " image"]
) -> dict[str, Any]:
    """Accuracy on all images, on those in the overlap and on the clean ones (appendix C).

    The p-value is of a binomial test, one-tailed: how likely as many of the overlap would be
    right if they were as easy as the clean ones.
    """
    clean = float(right[~overlaps].mean())
    asked, found = int(overlaps.sum()), int(right[overlaps].sum())
    low, high = 0.0, 1.0
    if asked:
        exact = binomtest(found, asked).proportion_ci(CONFIDENCE, method="exact")
        low, high = float(exact.low), float(exact.high)
    return {
        "images": len(right),
        "overlap": asked,
        "share": asked / len(right),
        "accuracy": float(right.mean()),
        "accuracy_overlap": found / asked,
        "accuracy_overlap_interval": [low, high],
        "accuracy_clean": clean,
        "all_minus_clean": float(right.mean()) - clean,
        "p_value": float(binom.cdf(asked - found, asked, 1 - clean)),
    }


def sheets(
    corpus: Path,
    part: str,
    score: Float[np.ndarray, " image"],
    which: NDArray[np.int64],
    folder: Path,
) -> None:
    """For each band of scores, 40 random pairs to be looked at, and what they are called."""
    tests, train = open_dataset(corpus / part).samples, open_dataset(corpus / "train").samples
    folder.mkdir(parents=True, exist_ok=True)
    for low, high in pairwise(BANDS):
        rows = np.flatnonzero((score >= low) & (score < high))
        rows = np.random.default_rng(0).permutation(rows)[:40]
        pairs = [(tests[int(row)], train[int(which[row])]) for row in rows]
        name = f"{part}-{low:.3f}"
        if pairs:
            contact_sheet([(_opened(one), _opened(other)) for one, other in pairs]).save(
                folder / f"{name}.png"
            )
        said = (f"{one.label} | {other.label} | {other.metadata['icon']}\n" for one, other in pairs)
        (folder / f"{name}.txt").write_text("".join(said), encoding="utf-8")


def plot(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """What the overlap changes, against how much there is of it (figure 17, left)."""
    figure, axis = axes(
        "Test images in the overlap (%)", "Accuracy in the overlap minus on clean (points)"
    )
    for colour, part in zip(COLOURS, TEST_PARTS, strict=False):
        shown = [row for row in rows if row["part"] == part]
        share = [100 * row["share"] for row in shown]
        clean = np.array([row["accuracy_clean"] for row in shown])
        gain = 100 * (np.array([row["accuracy_overlap"] for row in shown]) - clean)
        low, high = np.array([row["accuracy_overlap_interval"] for row in shown]).T - clean
        bars = [gain - 100 * low, 100 * high - gain]
        axis.errorbar(share, gain, yerr=bars, fmt="o", color=colour, label=NAMES[part])
        for row, across, up in zip(shown, share, gain, strict=True):
            axis.annotate(
                f"{row['threshold']:g}",
                (across, up),
                (4, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axis.axhline(0, color="#555555", linewidth=1)
    axis.set_xlim(left=0)
    axis.legend()
    save_plot(figure, folder / "overlap.svg")


def measure(
    lens: Embedder, corpus: Path, train: Thumbnails, part: str, looked_at: Path | None
) -> list[dict[str, Any]]:
    """One part at each threshold."""
    tests, data = read_thumbnails(corpus, part), of_part(lens, corpus, part)
    score, which = alike(tests, train, tint=TINTS[part])
    if looked_at:
        sheets(corpus, part, score, which, looked_at)
    classifier = lens.zero_shot_classifier(data.names)
    right = (data.values @ classifier).argmax(axis=1) == data.targets
    same = tests.labels == train.labels[which]
    return [
        {
            "part": part,
            "threshold": threshold,
            "same_name": float(same[score >= threshold].mean()),
        }
        | compare(right, score >= threshold)
        for threshold in THRESHOLDS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Overlap of test and training (figure 17).")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/overlap.json"))
    parser.add_argument("--plots", type=Path, default=Path("docs/experiments"))
    parser.add_argument("--sheets", type=Path, help="a folder for pairs to be looked at")
    options = parser.parse_args()
    lens = twinlens.load("icons")
    train = read_thumbnails(options.corpus, "train")
    rows = [
        row
        for part in TEST_PARTS
        for row in measure(lens, options.corpus, train, part, options.sheets)
    ]
    for row in rows:
        print(
            f"{row['part']:16} {row['threshold']}: {row['overlap']:,} ({row['share']:.1%}), "
            f"all {row['accuracy']:.1%}, overlap {row['accuracy_overlap']:.1%}, clean "
            f"{row['accuracy_clean']:.1%}, p {row['p_value']:.2g}, same {row['same_name']:.0%}"
        )
    result = facts(options.corpus) | {
        "model": "icons",
        "train": len(train.labels),
        "threshold": THRESHOLD,
        "judged": JUDGED,
        "rows": rows,
    }
    write_result(result, options.out)
    plot(rows, options.plots)


if __name__ == "__main__":
    main()
