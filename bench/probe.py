"""The linear probe's sweep and scikit-learn's grid search: test accuracy and time.

Run: python bench/probe.py [--set digits ...] [--samples 5000] [--seed 0 ...] [--no-grid]
     python bench/probe.py --solvers [--rounds 3]

Each contestant has the same float32 features and the same split into training, validation (a sixth)
and test samples, and ends with a fit to training and validation samples together:

- ours: `twinlens.embed.probe.sweep_l2_penalty`
- visited: scikit-learn's LogisticRegression with the strengths that ours tried
- grid: scikit-learn's GridSearchCV over all 97 strengths, on the fixed split

With `--solvers` our L-BFGS and torch's in float64 minimise the same objective on synthetic
features: both begin at zeros, on the principal axes, each scaled by its curvature, and torch stops
where its gradient or its objective no longer changes. Objectives are computed in float64.

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
import torch
import torch.nn.functional as F
from contest import Rows, print_figures, save
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from torch import Tensor

import twinlens
from twinlens.embed.logistic_regression import LinearProbe, fit_logistic_regression
from twinlens.embed.probe import (
    L2_PENALTIES,
    LabelledFeatures,
    SweepResult,
    best_l2_penalty,
    probe_accuracy,
    sweep_l2_penalty,
)

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = 10
SETS = ("digits", "digits-icons", "fashion", "fashion-255", "fashion-icons")


class Split(NamedTuple):
    """A data set's parts."""

    train: LabelledFeatures
    validation: LabelledFeatures
    test: LabelledFeatures

    @property
    def fitted(self) -> LabelledFeatures:
        """Training and validation samples."""
        return LabelledFeatures(
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
        every = LabelledFeatures(features[order], targets[order].astype(np.int64))
        cut = len(order) * 4 // 5
        fitted, test = every[np.arange(cut)], every[np.arange(cut, len(order))]
    else:
        images, targets = fashion("train", samples, seed)
        fitted = LabelledFeatures(features_of(name, images), targets)
        images, targets = fashion("t10k", test_samples, 0)
        test = LabelledFeatures(features_of(name, images), targets)
    cut = len(fitted.targets) * 5 // 6
    indices = np.arange(len(fitted.targets))
    return Split(fitted[indices[:cut]], fitted[indices[cut:]], test)


def peer(strength: float) -> LogisticRegression:
    return LogisticRegression(C=1 / strength, max_iter=1000)


def ours(split: Split) -> tuple[Answer, SweepResult]:
    found = sweep_l2_penalty(split.train, split.validation, CLASSES)
    unconverged = len(found.unconverged) + (not found.probe.converged)
    return Answer(found.l2_penalty, probe_accuracy(found.probe, split.test), unconverged), found


def visited(split: Split, found: SweepResult) -> Answer:
    train, validation, test = split
    tried: dict[float, float] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        for strength in found.validation_accuracies:
            model = peer(strength).fit(train.features, train.targets)
            tried[strength] = float(model.score(validation.features, validation.targets))
        best = best_l2_penalty(tried)
        model = peer(best).fit(split.fitted.features, split.fitted.targets)
    return Answer(best, float(model.score(test.features, test.targets)), len(caught))


def grid(split: Split) -> Answer:
    fitted, test = split.fitted, split.test
    fold = np.zeros(len(fitted.targets), np.int64)
    fold[: len(split.train.targets)] = -1
    # The strongest first: of several that are best, GridSearchCV takes the first as well.
    choices = {"C": [1 / strength for strength in reversed(L2_PENALTIES)]}
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
    found: list[SweepResult] = []

    def first() -> Answer:
        answer, tried = ours(split)
        found.append(tried)
        return answer

    rows = {"ours": timed(first), "visited": timed(lambda: visited(split, found[0]))}
    if with_grid:
        rows["grid"] = timed(lambda: grid(split))
    return rows


def synthetic(samples: int, width: int, classes: int) -> LabelledFeatures:
    """Overlapping clouds, one a class, as features are: axes of different scales, not centred."""
    rng = np.random.default_rng(0)
    targets = rng.integers(classes, size=samples)
    features = rng.normal(size=(classes, width))[targets] + 2 * rng.normal(size=(samples, width))
    return LabelledFeatures(
        (features * np.logspace(-1, 0.5, width) + 1).astype(np.float32), targets
    )


def torch_fit(data: LabelledFeatures, classes: int, penalty: float) -> LinearProbe:
    """Minimise the objective of `fit_logistic_regression` with `torch.optim.LBFGS` in float64."""
    features, targets = torch.from_numpy(data.features).double(), torch.from_numpy(data.targets)
    mean = features.mean(0)
    spread, axes = torch.linalg.eigh((features - mean).T @ (features - mean))
    turned = torch.cat([(features - mean) @ axes, torch.ones(len(features), 1)], 1)
    decay = torch.full((turned.shape[1], 1), penalty, dtype=torch.float64)
    decay[-1] = 0
    chance = 1 / classes
    squares = torch.cat([spread, torch.tensor([float(len(features))])])[:, None]
    scale = (chance * (1 - chance) * squares + decay).rsqrt()
    x = torch.zeros(turned.shape[1], classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [x],
        max_iter=1000,
        max_eval=5000,
        history_size=10,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-6,
        tolerance_change=1e-10 * len(features),
    )

    def closure() -> Tensor:
        solver.zero_grad()
        weight = x * scale
        loss = F.cross_entropy(turned @ weight, targets, reduction="sum")
        loss = loss + (decay * weight.square()).sum() / 2
        loss.backward()
        return loss

    solver.step(closure)
    weight = (x * scale).detach()
    turned_back = axes @ weight[:-1]
    return LinearProbe(
        weight=turned_back.numpy(),
        bias=(weight[-1] - mean @ turned_back).numpy(),
        l2_penalty=penalty,
        converged=True,
    )


def log_probabilities(probe: LinearProbe, data: LabelledFeatures) -> Tensor:
    logits = data.features.astype(np.float64) @ probe.weight.astype(np.float64) + probe.bias
    return F.log_softmax(torch.from_numpy(logits), dim=1)


def timed_fits(
    data: LabelledFeatures, classes: int, penalty: float
) -> tuple[list[LinearProbe], list[float]]:
    """Our probe and torch's, and the seconds that each took."""
    start = time.perf_counter()
    own = fit_logistic_regression(data.features, data.targets, classes, l2_penalty=penalty)
    middle = time.perf_counter()
    peers = torch_fit(data, classes, penalty)
    return [own, peers], [middle - start, time.perf_counter() - middle]


def race_solvers(rounds: int) -> Rows:
    """Both solvers in turn, by size and penalty: times, objectives and probabilities."""
    figures: Rows = {}
    timed_fits(synthetic(100, 8, 3), 3, 1.0)  # torch's first call takes a second more
    for samples, width, classes in ((1500, 64, 10), (8000, 384, 50)):
        data = synthetic(samples, width, classes)
        own = (np.arange(samples), data.targets)
        for penalty in (1e-3, 1.0, 100.0):
            for _ in range(rounds):
                probes, (ours_s, torch_s) = timed_fits(data, classes, penalty)
                logs = [log_probabilities(probe, data) for probe in probes]
                squares = [np.square(probe.weight, dtype=np.float64).sum() for probe in probes]
                objectives = [
                    float(penalty / 2 * square - log.numpy()[own].sum()) / samples
                    for square, log in zip(squares, logs, strict=True)
                ]
                row = {
                    "ours s": ours_s,
                    "torch s": torch_s,
                    "torch / ours": torch_s / ours_s,
                    "ours - torch, 1e-9 nats": 1e9 * (objectives[0] - objectives[1]),
                    "probabilities, 1e-6": 1e6 * float((logs[0].exp() - logs[1].exp()).abs().max()),
                }
                name = f"{samples} x {width}, {classes} classes, penalty {penalty:g}"
                figures.setdefault(name, []).append(row)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--samples", type=int, default=5000, help="to train and validate")
    parser.add_argument("--test-samples", type=int, default=10_000)
    parser.add_argument("--seed", action="append", type=int, help="of the split; several: rounds")
    parser.add_argument("--no-grid", action="store_true", help="leave out the full grid search")
    parser.add_argument("--out", type=Path, default=Path("bench/results/probe.json"))
    parser.add_argument("--solvers", action="store_true", help="race L-BFGS, ours and torch's")
    parser.add_argument("--rounds", type=int, default=3, help="of --solvers")
    options = parser.parse_args()
    if options.solvers:
        print_figures(race_solvers(options.rounds))
        return
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
