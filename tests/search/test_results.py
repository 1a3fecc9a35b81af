"""Results: least scores, probabilities, paths."""

import numpy as np
import pytest

from twinlens.search.calibrate import Cutoff
from twinlens.search.results import least_score, make_results

CUTOFF = Cutoff(cosine=0.3, even=0.4, slope=20)


@pytest.mark.parametrize(
    ("min_score", "cutoff", "least"),
    [("auto", CUTOFF, 0.3), ("auto", None, -1), (None, CUTOFF, -1), (0.5, CUTOFF, 0.5)],
)
def test_least_scores(min_score, cutoff: Cutoff | None, least: float):
    assert least_score(min_score, cutoff) == least


def test_results_have_a_probability_where_there_is_a_calibration():
    described = [
        {"paths": ["a.png"], "metadata": {"width": 1}},
        {"paths": ["b.png", "c.png"], "metadata": {}},
    ]
    scores = np.array([0.4, 0.3], np.float32)
    first, second = make_results(described, scores, CUTOFF)
    assert first.probability == pytest.approx(0.5, abs=1e-6)
    assert second.probability == pytest.approx(1 / (1 + np.exp(2)), abs=1e-6)
    assert (first.image, first.metadata) == ("a.png", {"width": 1})
    assert (second.image, second.metadata) == ("b.png", {"paths": ["b.png", "c.png"]})
    assert make_results(described, scores, None)[0].probability is None
