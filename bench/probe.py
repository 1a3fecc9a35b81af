"""The linear probe's sweep and scikit-learn's grid search: test accuracy and time.

Run: python bench/probe.py [--set digits ...] [--samples 5000] [--seed 0 ...] [--no-grid]

Each contestant has the same float32 features and the same split into training, validation (a sixth)
and test samples, and ends with a fit to training and validation samples together:

- ours: `twinlens.eval.tasks.probe_search.sweep`
- visited: scikit-learn's LogisticRegression with the strengths that ours tried
- grid: scikit-learn's GridSearchCV over all 97 strengths, on the fixed split

All have one thread (set OMP_NUM_THREADS=1) and take their turns in one process. Times are of the
processor, which other work on the machine disturbs less, and on the clock.
"""

import argparse
import gzip
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from contest import Rows, print_figures, save
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit

import twinlens
from twinlens.eval.tasks.probe_search import (
    STRENGTHS,
    Labelled,
    Sweep,
    probe_accuracy,
    strongest_of_best,
    sweep,
)

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = 10
SETS = ("digits", "digits-icons", "fashion", "fashion-255", "fashion-icons")


class Split(NamedTuple):
    """A data set's parts."""

    train: Labelled
    validation: Labelled
    test: Labelled

    @property
    def fitted(self) -> Labelled:
        """Training and validation samples."""
        return Labelled(
            np.concatenate([self.train.features, self.validation.features]),
            np.concatenate([self.train.targets, self.validation.targets]),
        )


class Answer(NamedTuple):
    """What a contestant found."""

    strength: float
    accuracy: float
    unconverged: int


def read_idx(name: str) -> NDArray[np.uint8]:
    """A file of Fashion-MNIST, as Debian's package dataset-fashion-mnist has it."""
    data = gzip.decompress((FASHION / name).read_bytes())
    sizes = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sizes)


def fashion(part: str, samples: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and classes of some samples, in an order of the seed's."""
    images = read_idx(f"{part}-images-idx3-ubyte.gz")
    targets = read_idx(f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    drawn = np.random.default_rng(seed).permutation(len(targets))[:samples]
    return images[drawn], targets[drawn]


def features_of(name: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    if name.endswith("-icons"):  # what the embedded model makes of them
        return twinlens.load("icons", device="cpu").embed_images(list(images[..., None]))
    pixels = images.reshape(len(images), -1).astype(np.float32)
    return pixels if name == "fashion-255" else pixels / 255


def split_of(name: str, samples: int, test_samples: int, seed: int) -> Split:
    if name.startswith("digits"):
        pixels, targets = load_digits(return_X_y=True)
        features = pixels.astype(np.float32)
        if name == "digits-icons":
            images = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
            features = features_of(name, images)
        order = np.random.default_rng(seed).permutation(len(targets))
        every = Labelled(features[order], targets[order].astype(np.int64))
        cut = len(order) * 4 // 5
        fitted, test = every[np.arange(cut)], every[np.arange(cut, len(order))]
    else:
        images, targets = fashion("train", samples, seed)
        fitted = Labelled(features_of(name, images), targets)
        images, targets = fashion("t10k", test_samples, 0)
        test = Labelled(features_of(name, images), targets)
    cut = len(fitted.targets) * 5 // 6
    indices = np.arange(len(fitted.targets))
    return Split(fitted[indices[:cut]], fitted[indices[cut:]], test)


def peer(strength: float) -> LogisticRegression:
    return LogisticRegression(C=1 / strength, max_iter=1000)


def ours(split: Split) -> tuple[Answer, Sweep]:
    found = sweep(split.train, split.validation, CLASSES)
    unconverged = len(found.unconverged) + (not found.probe.converged)
    return Answer(found.strength, probe_accuracy(found.probe, split.test), unconverged), found


def visited(split: Split, found: Sweep) -> Answer:
    train, validation, test = split
    tried: dict[float, float] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        for strength in found.tried:
            model = peer(strength).fit(train.features, train.targets)
            tried[strength] = float(model.score(validation.features, validation.targets))
        best = strongest_of_best(tried)
        model = peer(best).fit(split.fitted.features, split.fitted.targets)
    return Answer(best, float(model.score(test.features, test.targets)), len(caught))


def grid(split: Split) -> Answer:
    fitted, test = split.fitted, split.test
    fold = np.zeros(len(fitted.targets), np.int64)
    fold[: len(split.train.targets)] = -1
    # The strongest first: of several that are best, GridSearchCV takes the first as well.
    choices = {"C": [1 / strength for strength in reversed(STRENGTHS)]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        found = GridSearchCV(LogisticRegression(max_iter=1000), choices, cv=PredefinedSplit(fold))
        found.fit(fitted.features, fitted.targets)
    best = 1 / found.best_params_["C"]
    return Answer(best, float(found.score(test.features, test.targets)), len(caught))


def timed(call: Callable[[], Answer]) -> dict[str, float]:
    """A row of the table."""
    clock, processor = time.perf_counter(), time.process_time()
    answer = call()
    return {
        "processor s": time.process_time() - processor,
        "clock s": time.perf_counter() - clock,
        "accuracy %": 100 * answer.accuracy,
        "log10 strength": float(np.log10(answer.strength)),
        "unconverged": answer.unconverged,
    }


def compare(split: Split, *, with_grid: bool) -> dict[str, dict[str, float]]:
    found: list[Sweep] = []

    def first() -> Answer:
        answer, tried = ours(split)
        found.append(tried)
        return answer

    rows = {"ours": timed(first), "visited": timed(lambda: visited(split, found[0]))}
    if with_grid:
        rows["grid"] = timed(lambda: grid(split))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--samples", type=int, default=5000, help="to train and validate")
    parser.add_argument("--test-samples", type=int, default=10_000)
    parser.add_argument("--seed", action="append", type=int, help="of the split; several: rounds")
    parser.add_argument("--no-grid", action="store_true", help="leave out the full grid search")
    parser.add_argument("--out", type=Path, default=Path("bench/results/probe.json"))
    options = parser.parse_args()
    figures: Rows = {}
    for name in options.set or SETS:
        for seed in options.seed or [0]:
            split = split_of(name, options.samples, options.test_samples, seed)
            size = f"{len(split.fitted.targets)} x {split.train.features.shape[1]}"
            for who, row in compare(split, with_grid=not options.no_grid).items():
                figures.setdefault(f"{name} {size}, {who}", []).append(row)
                print(name, size, f"seed {seed}", who, row, flush=True)
    print_figures(figures)
    packages = ("scikit-learn", "numpy")
    save(figures, options.out, *packages, settings=vars(options) | {"out": str(options.out)})


if __name__ == "__main__":
    main()
