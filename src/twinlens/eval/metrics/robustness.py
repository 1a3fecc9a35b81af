"""Effective robustness: accuracy on a shifted data set beyond that of other models.

Models that are better on one data set are better on shifted versions of it too, nearly on a line in
logit space. Effective robustness is the accuracy above that line (Taori et al. 2020, section 3; the
paper's section 3.3 and figure 13).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from twinlens.errors import DataError, require

DEFAULT_NUM_SAMPLES = 10_000
"""Images of a test set if not given: accuracies nearer to 0 or 1 than half an image are clipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFit:
    """A line through models: logit(shifted) = slope * logit(standard) + intercept.

    Attributes:
        slope: Logits on the shifted set per logit on the standard one.
        intercept: Logit on the shifted set where accuracy on the standard set is one half.
        num_models: Number of models that the line is fitted to.
        num_samples: Images of a test set (see `logit`).
    """

    slope: float
    intercept: float
    num_models: int
    num_samples: int = DEFAULT_NUM_SAMPLES

    def predict(self, standard: float) -> float:
        """Accuracy on the shifted set, in (0, 1), of a model on the line."""
        z = self.slope * logit(standard, self.num_samples) + self.intercept
        return 1 / (1 + math.exp(-z)) if z > 0 else 1 - 1 / (1 + math.exp(z))


def logit(accuracy: float, num_samples: int = DEFAULT_NUM_SAMPLES) -> float:
    """The log odds of an accuracy, `log(p / (1 - p))`.

    An accuracy of 0 or 1, whose log odds are infinite, is taken as half an image right or half an
    image wrong, of `num_samples` images.

    Raises:
        DataError: It is outside [0, 1].

    Example:
        >>> logit(0.5), round(logit(1.0, num_samples=50), 3)
        (0.0, 4.595)
    """
    require(0 <= accuracy <= 1, "accuracy", accuracy, "a fraction in [0, 1]", DataError)
    half = 0.5 / num_samples
    p = min(max(accuracy, half), 1 - half)
    return math.log(p / (1 - p))


def fit_baseline(
    points: Float[np.ndarray, "model 2"], *, num_samples: int = DEFAULT_NUM_SAMPLES
) -> BaselineFit:
    """Fit a line to baseline models, by least squares in logit space (Taori et al. 2020).

    Args:
        points: Each model's accuracy on the standard and on the shifted set, in [0, 1].
        num_samples: Images of the smaller of the two sets (see `logit`).

    Raises:
        DataError: An accuracy is outside [0, 1], or fewer than two differ on the standard set.

    Example:
        >>> line = fit_baseline(np.array([[0.5, 0.25], [0.75, 0.5]]))
        >>> round(line.slope, 3), round(line.intercept, 3), round(line.predict(0.75), 3)
        (1.0, -1.099, 0.5)
    """
    logits = np.array([[logit(float(one), num_samples) for one in point] for point in points])
    distinct = len(np.unique(logits[:, 0])) if len(logits) else 0
    if distinct < 2:
        raise DataError(
            f"baseline: got {distinct} different accuracies on the standard set, "
            f"expected at least 2"
        )
    x, y = (logits - logits.mean(axis=0)).T
    slope = float(x @ y / (x @ x))
    intercept = float(logits[:, 1].mean() - slope * logits[:, 0].mean())
    return BaselineFit(
        slope=slope, intercept=intercept, num_models=len(points), num_samples=num_samples
    )


def effective_robustness(standard: float, shifted: float, fit: BaselineFit) -> float:
    """Accuracy on the shifted set beyond that of the line, in (-1, 1) (Taori et al. 2020).

    Args:
        standard: The model's accuracy on the standard set.
        shifted: Its accuracy on the shifted one.
        fit: The line of models that were trained in the usual way.

    Example:
        >>> line = BaselineFit(slope=1.0, intercept=0.0, num_models=2)
        >>> round(effective_robustness(0.8, 0.75, line), 3)
        -0.05
    """
    return shifted - fit.predict(standard)
