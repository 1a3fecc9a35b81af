"""Evaluators: what `fit` calls to measure the model while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.distributed.world import World
    from twinlens.embed.embedder import Embedder


class Evaluator(Protocol):
    """A measurement of the averaged model; `eval/evaluators.py` has implementations.

    With one evaluator the log has its metrics under their own names, with several under
    `name/metric`.
    """

    @property
    def name(self) -> str:
        """Prefix of the metrics where there are several evaluators."""
        ...

    def check(self, train_dataset: Dataset) -> None:
        """Refuse before the run what `run` would refuse hours later.

        Raises:
            ConfigError: A setting of the evaluator cannot be used.
            DataError: The evaluator's data does not fit the training data.
        """
        ...

    def run(self, embedder: Embedder, world: World) -> Mapping[str, float]:
        """Measure the model; called in all processes of a run at once.

        Args:
            embedder: The averaged weights in float32 on the run's device, with the run's tokenizer
                and, where one is trained, the classifier head.
            world: The processes of the run; each may take its shard of the work.

        Returns:
            Metrics by name; the main process's are logged.
        """
        ...


def run_evaluators(
    evaluators: Sequence[Evaluator], embedder: Embedder, world: World
) -> dict[str, float]:
    """Run all evaluators and join their metrics under unique names."""
    metrics: dict[str, float] = {}
    for evaluator in evaluators:
        prefix = f"{evaluator.name}/" if len(evaluators) > 1 else ""
        results = evaluator.run(embedder, world)
        metrics |= {f"{prefix}{key}": value for key, value in results.items()}
    return metrics
