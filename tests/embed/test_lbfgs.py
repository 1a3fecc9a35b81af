"""L-BFGS on functions whose minimum is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from twinlens.embed.lbfgs import minimise


def test_minimise_finds_the_minimum_of_a_curved_valley():
    def rosenbrock(place: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        x, y = place.astype(np.float64)
        slope = [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]
        return (1 - x) ** 2 + 100 * (y - x * x) ** 2, np.array(slope, np.float32)

    start = np.array([-1.2, 1.0], np.float32)
    found = minimise(rosenbrock, start, tolerance=1e-9, max_iterations=200)
    assert found.x == pytest.approx([1.0, 1.0], abs=1e-2)


def test_minimise_stops_where_no_step_is_lower():
    def wrong(place: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return 1.0 + float(np.abs(place).sum()), -np.sign(place)

    found = minimise(wrong, np.ones(2, np.float32), tolerance=1e-9, max_iterations=50)
    assert not found.converged
    assert found.x.tolist() == [1.0, 1.0]
