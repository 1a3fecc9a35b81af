"""Options that are refused, and what is recommended."""

from dataclasses import replace

import pytest

from tests.benchmark.conftest import OPTIONS
from twinlens.benchmark.precision_costs import PrecisionCost
from twinlens.benchmark.records import TWINLENS, Throughput, recommend_setting
from twinlens.errors import ConfigError, UnknownNameError


def rate(precision: str, batch: int, per_second: float, library: str = TWINLENS) -> Throughput:
    return Throughput(
        library=library,
        precision=precision,
        tower="image",
        batch=batch,
        calls=3,
        per_second=per_second,
        low=per_second,
        high=per_second,
        p50_ms=1,
        p99_ms=1,
    )


def known(precision: str, cosine: float) -> PrecisionCost:
    cosines = {"image": cosine}
    return PrecisionCost(precision=precision, load_seconds=1, peak_memory=None, cosines=cosines)


def test_the_smallest_batch_near_the_best_rate_is_recommended():
    rates = [rate("fp32", 1, 50), rate("fp32", 8, 96), rate("fp32", 32, 100)]
    setting = recommend_setting("image", rates, [known("fp32", 1)], price_per_hour=3.6)
    assert setting is not None
    assert (setting.precision, setting.batch) == ("fp32", 8)
    assert setting.cost_per_million == pytest.approx(0.001 / 96 * 1e6)


def test_a_precision_far_from_float32_and_a_peer_are_not():
    rates = [rate("fp32", 8, 90), rate("int8", 8, 400), rate("fp32", 8, 500, "other 1.0")]
    standings = [known("fp32", 1), known("int8", 0.9989)]
    setting = recommend_setting("image", rates, standings, None)
    assert setting is not None
    assert (setting.precision, setting.cost_per_million) == ("fp32", None)
    assert recommend_setting("image", rates[1:], standings, None) is None


@pytest.mark.parametrize(
    "wrong", [{"batches": (0,)}, {"batches": ()}, {"batches": (5000,)}, {"seconds": 0.0}]
)
def test_what_cannot_be_measured_is_refused(wrong: dict[str, object]):
    with pytest.raises(ConfigError, match="expected"):
        replace(OPTIONS, **wrong)


@pytest.mark.parametrize("price", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_price_is_more_than_nothing(price: float):
    with pytest.raises(ConfigError, match=r"price per hour: got .*, expected more than 0"):
        replace(OPTIONS, price=price)


def test_an_unknown_precision_suggests_a_close_one():
    with pytest.raises(UnknownNameError, match=r"did you mean .*'fp32'"):
        replace(OPTIONS, precisions=("fp33",))
