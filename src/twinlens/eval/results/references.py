"""What supervised models reach, to hold a figure against: shipped, or measured by the user."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from twinlens.errors import DataError
from twinlens.eval.results.files import read_results
from twinlens.eval.results.result import Reference

_SUPERVISED = ("classifier", "linear_probe")
_SHIFTED = "acc1@"
_STANDARD = "standard_acc1@"


def references(directories: Iterable[Path] = ()) -> dict[str, tuple[Reference, ...]]:
    """Figures of supervised models by data set: those shipped, and those in directories of results.

    Args:
        directories: Each written by `twinlens eval --out` with the task `classifier` or
            `linear-probe`.

    Raises:
        DataError: A directory has no such results.
    """
    found: dict[str, list[Reference]] = defaultdict(list)
    for name, one in _shipped():
        found[name].append(one)
    for directory in directories:
        stored = read_results(directory)
        results = [one for one in stored.results if one.task in _SUPERVISED]
        if not results:
            raise DataError(
                f"{directory}: got no result of a supervised model, expected one of "
                "--task classifier or linear-probe"
            )
        for result in results:
            found[result.dataset] += [
                Reference(metric=key, value=value, model=stored.model, source=str(directory))
                for key, value in result.metrics.items()
                if key != "ece"
            ]
    return {name: tuple(given) for name, given in found.items()}


def baselines(directories: Iterable[Path]) -> dict[str, list[tuple[float, float]]]:
    """Accuracies of supervised models on the standard and on a shifted set, by shifted set.

    Args:
        directories: Each written by `twinlens eval --task robustness --shifted ... --out` for one
            supervised model.

    Raises:
        DataError: A directory has no such results.
    """
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for directory in directories:
        pairs = [
            (key.removeprefix(_SHIFTED), result.metrics)
            for result in read_results(directory).results
            for key in result.metrics
            if key.startswith(_SHIFTED)
        ]
        if not pairs:
            raise DataError(
                f"{directory}: got no accuracy on a shifted set, expected results of "
                "--task robustness --shifted"
            )
        for name, metrics in pairs:
            found[name].append((metrics[_STANDARD + name], metrics[_SHIFTED + name]))
    return dict(found)


def _shipped() -> Iterator[tuple[str, Reference]]:
    path = files("twinlens") / "assets" / "benchmarks" / "references.json"
    for one in json.loads(path.read_text(encoding="utf-8")):
        yield one.pop("dataset"), Reference(**one)
