"""Scores of supervised models for comparison: built in, or measured by the user."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from twinlens.errors import DataError
from twinlens.eval.results.files import read_results
from twinlens.eval.results.result import ReferenceScore

_SUPERVISED_TASKS = ("classifier", "linear_probe")
_SHIFTED_PREFIX = "acc1@"
_STANDARD_PREFIX = "standard_acc1@"


def read_references(directories: Iterable[Path] = ()) -> dict[str, tuple[ReferenceScore, ...]]:
    """Read scores of supervised models by data set: built-in ones, and those of directories.

    Args:
        directories: Each written by `twinlens eval --out` with the task `classifier` or
            `linear-probe`.

    Raises:
        DataError: A directory has no such results.
    """
    scores: dict[str, list[ReferenceScore]] = defaultdict(list)
    for name, one in _builtin_references():
        scores[name].append(one)
    for directory in directories:
        stored = read_results(directory)
        results = [one for one in stored.results if one.task in _SUPERVISED_TASKS]
        if not results:
            raise DataError(
                f"{directory}: got no result of a supervised model, expected one of "
                "--task classifier or linear-probe"
            )
        for result in results:
            scores[result.dataset] += [
                ReferenceScore(metric=key, value=value, model=stored.model, source=str(directory))
                for key, value in result.metrics.items()
                if key != "ece"
            ]
    return {name: tuple(own) for name, own in scores.items()}


def read_baselines(directories: Iterable[Path]) -> dict[str, list[tuple[float, float]]]:
    """Read accuracies of supervised models on the standard and on a shifted set, by shifted set.

    Args:
        directories: Each written by `twinlens eval --task robustness --shifted ... --out` for one
            supervised model.

    Raises:
        DataError: A directory has no such results.
    """
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for directory in directories:
        pairs = [
            (key.removeprefix(_SHIFTED_PREFIX), result.metrics)
            for result in read_results(directory).results
            for key in result.metrics
            if key.startswith(_SHIFTED_PREFIX)
        ]
        if not pairs:
            raise DataError(
                f"{directory}: got no accuracy on a shifted set, expected results of "
                "--task robustness --shifted"
            )
        for name, metrics in pairs:
            points[name].append((metrics[_STANDARD_PREFIX + name], metrics[_SHIFTED_PREFIX + name]))
    return dict(points)


def _builtin_references() -> Iterator[tuple[str, ReferenceScore]]:
    path = files("twinlens") / "assets" / "benchmarks" / "references.json"
    for one in json.loads(path.read_text(encoding="utf-8")):
        yield one.pop("dataset"), ReferenceScore(**one)
