"""Two models compared: right about differences that are there, silent about those that are not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.eval.metrics.statistics import bootstrap_means
from twinlens.eval.results.compare import MetricComparison, compare_results, holm_correction
from twinlens.eval.results.files import StoredResults
from twinlens.eval.results.result import Evidence, TaskResult

SAMPLES = 400


def result(
    right: np.ndarray, *, dataset: str = "cats", samples: str = "a", metric: str = "acc1"
) -> TaskResult:
    """A result whose metric is a share of right answers; the ECE is that of the wrong ones."""
    values = np.stack([right, ~right]).astype(np.float64)
    drawn = bootstrap_means(values, num_resamples=200).astype(np.float32)
    return TaskResult(
        task="zeroshot_classification",
        dataset=dataset,
        metrics={metric: float(right.mean()), "ece": float(1 - right.mean())},
        intervals={metric: (0.0, 1.0)},
        chance={metric: 0.1},
        num_samples=len(right),
        unreadable={},
        evidence=Evidence(
            samples_digest=samples,
            replicates={metric: drawn[0], "ece": drawn[1]},
            correct={metric: right},
        ),
    )


def stored(*results: TaskResult, model: str = "one") -> StoredResults:
    return StoredResults(model=model, pretrained="", results=list(results))


def answers(share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SAMPLES) < share


def by_metric(comparisons: list[MetricComparison]) -> dict[str, MetricComparison]:
    return {one.metric: one for one in comparisons}


def test_a_model_that_is_better_wins_every_metric_whichever_way_it_counts():
    worse, better = answers(0.5), answers(0.5) | answers(0.3, seed=1)
    found = by_metric(compare_results(stored(result(worse)), stored(result(better))))
    change = better.mean() - worse.mean()
    assert found["acc1"].delta == pytest.approx(change)
    assert found["acc1"].difference is not None
    assert 0 < found["acc1"].difference.low < change < found["acc1"].difference.high
    assert found["acc1"].winner == "second"
    assert found["ece"].delta == pytest.approx(-change)
    assert found["ece"].winner == "second"
    back = by_metric(compare_results(stored(result(better)), stored(result(worse))))
    assert back["acc1"].winner == back["ece"].winner == "first"


def test_the_exact_test_is_mcnemars():
    ours = np.zeros(20, bool)
    theirs = ours.copy()
    ours[:1] = True
    theirs[1:10] = True  # 9 won, 1 lost: 2 * (1 + 10) / 2**10
    [one, other] = compare_results(stored(result(ours)), stored(result(theirs)))
    assert one.sign_test_p_value == pytest.approx(22 / 1024)
    assert one.p_value == one.sign_test_p_value
    assert other.sign_test_p_value is None
    assert other.difference is not None
    assert other.p_value == other.difference.p_value


def test_equal_models_have_no_winner():
    right = answers(0.5)
    for one in compare_results(stored(result(right)), stored(result(right))):
        assert one.delta == 0
        assert one.adjusted_p_value == 1
        assert one.winner is None


def test_pairs_are_tighter_than_two_intervals():
    worse = answers(0.5)
    better = worse.copy()
    better[np.flatnonzero(~worse)[:20]] = True  # 20 more of 400 are right, none is lost
    one = by_metric(compare_results(stored(result(worse)), stored(result(better))))["acc1"]
    assert one.difference is not None
    assert one.winner == "second"
    assert one.difference.high - one.difference.low < 0.06  # each alone spans 0.1


def test_other_samples_are_not_paired():
    for one in compare_results(
        stored(result(answers(0.5))), stored(result(answers(0.9), samples="b"))
    ):
        assert one.problem == "cannot be paired: other samples"
        assert (one.difference, one.p_value, one.adjusted_p_value, one.winner) == (None,) * 4
        assert one.delta is not None


@pytest.mark.parametrize(
    ("evidence", "problem"),
    [
        (Evidence(), "no evidence was kept"),
        (Evidence(samples_digest="a"), "no resamples were kept"),
        (
            Evidence(samples_digest="a", replicates={"acc1": np.zeros(3, np.float32)}),
            "3 and 200 resample",
        ),
        (
            Evidence(samples_digest="a", replicates={"acc1": np.full(200, np.nan, np.float32)}),
            "no resample has a value",
        ),
    ],
)
def test_what_lacks_evidence_says_so(evidence: Evidence, problem: str):
    whole = result(answers(0.5))
    bare = TaskResult(
        task=whole.task,
        dataset=whole.dataset,
        metrics={"acc1": 0.5},
        intervals={},
        chance={},
        num_samples=SAMPLES,
        unreadable={},
        evidence=evidence,
    )
    one = by_metric(compare_results(stored(bare), stored(whole)))["acc1"]
    assert problem in one.problem
    assert one.difference is None


def test_resamples_without_a_value_are_left_out_of_both():
    first, second = result(answers(0.5)), result(answers(0.9, seed=1))
    first.evidence.replicates["acc1"][:10] = math.nan
    one = by_metric(compare_results(stored(first), stored(second)))["acc1"]
    assert one.difference is not None
    assert one.difference.low > 0.2


def test_what_only_one_of_them_has_is_listed():
    right = answers(0.5)
    first = stored(result(right), result(right, dataset="dogs"))
    second = stored(result(right, metric="acc5"))
    found = {(one.dataset, one.metric): one for one in compare_results(first, second)}
    assert list(found) == [
        ("cats", "acc1"),
        ("cats", "ece"),
        ("cats", "acc5"),
        ("dogs", "acc1"),
        ("dogs", "ece"),
    ]
    assert found["cats", "acc1"].problem == "only the first was measured"
    assert found["cats", "acc5"].problem == "only the second was measured"
    assert found["dogs", "acc1"].second is None
    assert found["cats", "ece"].problem == ""
    assert found["cats", "acc5"].to_dict()["first"] is None


def test_the_correction_counts_what_was_compared():
    worse, better = result(answers(0.5)), result(answers(0.5) | answers(0.3, seed=1))
    alone = compare_results(stored(worse), stored(better))
    names = [f"set {number}" for number in range(20)]
    many = compare_results(
        *(stored(*(replace(one, dataset=name) for name in names)) for one in (worse, better))
    )
    least = 2 / 201  # of 200 resamples
    assert by_metric(alone)["ece"].adjusted_p_value == pytest.approx(least)
    assert by_metric(many)["ece"].adjusted_p_value == pytest.approx(
        20 * least
    )  # after 20 exact tests
    assert by_metric(many)["ece"].winner is None


def test_several_answers_a_sample_are_no_coins():
    worse, better = answers(0.5), answers(0.5) | answers(0.3, seed=1)
    captions = [replace(result(right), num_samples=SAMPLES // 5) for right in (worse, better)]
    one = by_metric(compare_results(*map(stored, captions)))["acc1"]
    assert one.sign_test_p_value is None
    assert one.difference is not None
    assert one.p_value == one.difference.p_value


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_what_its_definition_says(p_values: list[float]):
    found = holm_correction(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for level in (0.01, 0.05, 0.2):
        rejected: set[int] = set()
        for rank, number in enumerate(order):  # until one is not: all after it are kept too
            if p_values[number] > level / (len(order) - rank) + 1e-15:
                break
            rejected.add(number)
        assert {i for i, p in enumerate(found) if p <= level + 1e-14} == rejected


def test_a_comparison_is_plain_json():
    [one, _] = compare_results(stored(result(answers(0.5))), stored(result(answers(0.9, seed=1))))
    data = one.to_dict()
    assert data["metric"] == "acc1"
    assert data["winner"] == "second"
    assert data["interval"][0] < data["difference"] < data["interval"][1]
    assert data["adjusted_p_value"] >= data["sign_test_p_value"]
