"""How well accuracy holds when images change: against other models, and against clean images.

Models that are better on one data set are better on its shifted kin too, nearly on a line in logit
space. Robustness worth the name is what lies above that line (Taori et al. 2020, section 3; the
paper's section 3.3 and figure 13).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from twinlens.errors import DataError, ShapeError

SAMPLES = 10_000
"""Images behind an accuracy, if nobody says: no accuracy nearer to 0 or 1 is told from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A line through models: logit(shifted) = slope * logit(standard) + intercept.

    Attributes:
        slope: Logits on the shifted set per logit on the standard one.
        intercept: Where accuracy on the standard set is one half.
        models: How many the line is fitted through.
        samples: Images behind an accuracy (see `logit`).
    """

    slope: float
    intercept: float
    models: int
    samples: int = SAMPLES

    def expected(self, standard: float) -> float:
        """The accuracy on the shifted set, in (0, 1), of a model like those of the line."""
        z = self.slope * logit(standard, self.samples) + self.intercept
        return 1 / (1 + math.exp(-z)) if z > 0 else 1 - 1 / (1 + math.exp(z))


def logit(accuracy: float, samples: int = SAMPLES) -> float:
    """The log odds of being right, `log(p / (1 - p))`.

    None and all right would be infinitely far away; of `samples` images they are taken as half
    an image right and half an image wrong.

    Raises:
        DataError: It is outside [0, 1].

    Example:
        >>> logit(0.5), round(logit(1.0, samples=50), 3)
        (0.0, 4.595)
    """
    if not 0 <= accuracy <= 1:
        raise DataError(f"accuracy: got {accuracy}, expected a fraction in [0, 1]")
    half = 0.5 / samples
    p = min(max(accuracy, half), 1 - half)
    return math.log(p / (1 - p))


def fit_baseline(points: Float[np.ndarray, "model 2"], *, samples: int = SAMPLES) -> Baseline:
    """The line through baseline models, by least squares in logit space (Taori et al. 2020).

    Args:
        points: Each model's accuracy on the standard and on the shifted set, in [0, 1].
        samples: Images of the smaller of the two sets (see `logit`).

    Raises:
        DataError: An accuracy is outside [0, 1], or fewer than two differ on the standard set.

    Example:
        >>> line = fit_baseline(np.array([[0.5, 0.25], [0.75, 0.5]]))
        >>> round(line.slope, 3), round(line.intercept, 3), round(line.expected(0.75), 3)
        (1.0, -1.099, 0.5)
    """
    logits = np.array([[logit(float(one), samples) for one in point] for point in points])
    distinct = len(np.unique(logits[:, 0])) if len(logits) else 0
    if distinct < 2:
        raise DataError(
            f"baseline: got {distinct} different accuracies on the standard set, "
            f"expected at least 2"
        )
    x, y = (logits - logits.mean(axis=0)).T
    slope = float(x @ y / (x @ x))
    intercept = float(logits[:, 1].mean() - slope * logits[:, 0].mean())
    return Baseline(slope=slope, intercept=intercept, models=len(points), samples=samples)


def effective_robustness(standard: float, shifted: float, baseline: Baseline) -> float:
    """Accuracy on the shifted set beyond what the line expects, in (-1, 1) (Taori et al. 2020).

    Args:
        standard: The model's accuracy on the standard set.
        shifted: Its accuracy on the shifted one.
        baseline: Of models that were trained in the usual way.

    Example:
        >>> line = Baseline(slope=1.0, intercept=0.0, models=2)
        >>> round(effective_robustness(0.8, 0.75, line), 3)
        -0.05
    """
    return shifted - baseline.expected(standard)


def relative_robustness(shifted: float, without: float) -> float:
    """What a change of the model brings on the shifted set, in [-1, 1] (Taori et al. 2020).

    Args:
        shifted: Accuracy on the shifted set with the change.
        without: Accuracy on the shifted set before it.

    Example:
        >>> relative_robustness(0.5, 0.375)
        0.125
    """
    return shifted - without


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionSummary:
    """Accuracy under corruptions of equal weight (Hendrycks and Dietterich 2019, without AlexNet).

    Attributes:
        accuracy: The mean over corruptions and severities, in [0, 1].
        error: One less that.
        retained: The mean as a share of the accuracy on clean images; nan where that is 0.
        by_corruption: The mean over severities of each corruption.
        by_severity: The mean over corruptions of each severity, the mildest first.
    """

    accuracy: float
    error: float
    retained: float
    by_corruption: dict[str, float]
    by_severity: tuple[float, ...]


def summarise_corruptions(
    clean: float, corrupted: Mapping[str, Float[np.ndarray, " severity"]]
) -> CorruptionSummary:
    """Mean accuracy under corruptions, and how much of the clean accuracy it is.

    Args:
        clean: Accuracy on the images as they are, in [0, 1].
        corrupted: By corruption, the accuracy at each severity.

    Raises:
        ShapeError: There are no corruptions, or they differ in how many severities they have.

    Example:
        >>> found = summarise_corruptions(0.8, {"noise": np.array([0.6, 0.2])})
        >>> found.accuracy, found.retained
        (0.4, 0.5)
    """
    counts = sorted({len(one) for one in corrupted.values()})
    if len(counts) != 1 or counts[0] == 0:
        raise ShapeError(
            f"severities: got {counts or 'no corruptions'}, expected one count for all corruptions"
        )
    table = np.stack([np.asarray(one, np.float64) for one in corrupted.values()])
    mean = float(table.mean())
    return CorruptionSummary(
        accuracy=mean,
        error=1 - mean,
        retained=mean / clean if clean else math.nan,
        by_corruption=dict(zip(corrupted, table.mean(axis=1).tolist(), strict=True)),
        by_severity=tuple(table.mean(axis=0).tolist()),
    )
