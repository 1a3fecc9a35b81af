"""Evaluators that `train.trainer.fit` takes: accuracy on labelled images during a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinlens.eval.context import EvalContext
from twinlens.eval.requirements import require_labels
from twinlens.eval.tasks import classifier, zero_shot

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.distributed.world import World
    from twinlens.embed.embedder import Embedder


@dataclass(frozen=True, slots=True)
class ZeroShotEvaluator:
    """Zero-shot accuracy on a data set.

    Attributes:
        dataset: Labelled images; those without a label are left out.
        templates: Prompts with `{}`; none means the data set's own, else the model's.
        name: See `train.evaluator.Evaluator`.
    """

    dataset: Dataset
    templates: Sequence[str] = ()
    name: str = "zeroshot_classification"

    def check(self, train_dataset: Dataset) -> None:
        """Make sure that there are labels.

        Raises:
            DataError: There are none.
        """
        require_labels(self.dataset)

    def run(self, embedder: Embedder, world: World) -> Mapping[str, float]:
        """Measure, see `evaluate_zero_shot`."""
        context = EvalContext(embedder, world=world)
        return zero_shot.evaluate_zero_shot(context, self.dataset, templates=self.templates).metrics


@dataclass(frozen=True, slots=True)
class HeadEvaluator:
    """Accuracy of the model's own classifier on a data set.

    Attributes:
        dataset: Labelled images; those without a label are left out.
        name: See `train.evaluator.Evaluator`.
    """

    dataset: Dataset
    name: str = "classifier"

    def check(self, train_dataset: Dataset) -> None:
        """Make sure that the data set's classes are among those trained on.

        Raises:
            DataError: There are no labels, or classes that the training data has not.
        """
        classifier.check_known_classes(self.dataset, train_dataset.classnames)

    def run(self, embedder: Embedder, world: World) -> Mapping[str, float]:
        """Measure, see `evaluate_head`."""
        return classifier.evaluate_head(EvalContext(embedder, world=world), self.dataset).metrics


EVALUATORS: dict[str, type[ZeroShotEvaluator] | type[HeadEvaluator]] = {
    "zeroshot_classification": ZeroShotEvaluator,
    "classifier": HeadEvaluator,
}
"""Evaluators by the name of their task."""
