"""Metrics of several evaluators are joined under names of their own."""

from typing import cast

from tests.train.runs import FunctionEvaluator
from twinlens.distributed.world import World
from twinlens.embed.embedder import Embedder
from twinlens.train.evaluator import run_evaluators

EMBEDDER = cast(Embedder, None)


def test_metrics_of_one_evaluator_keep_their_names():
    evaluator = FunctionEvaluator(lambda _: {"acc1": 0.5})
    assert run_evaluators([evaluator], EMBEDDER, World()) == {"acc1": 0.5}


def test_metrics_of_several_evaluators_have_their_names_in_front():
    evaluators = [
        FunctionEvaluator(lambda _: {"acc1": 0.5}, name="seen"),
        FunctionEvaluator(lambda _: {"acc1": 0.2}, name="unseen"),
    ]
    metrics = run_evaluators(evaluators, EMBEDDER, World())
    assert metrics == {"seen/acc1": 0.5, "unseen/acc1": 0.2}
