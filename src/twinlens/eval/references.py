"""What supervised models reach, to hold a figure against: shipped, or measured by the user."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from twinlens.errors import DataError
from twinlens.eval.result import Reference

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
        results = [one for one in _results(directory) if one["task"] in _SUPERVISED]
        if not results:
            raise DataError(
                f"{directory}: got no result of a supervised model, expected one of "
                "--task classifier or linear-probe"
            )
        for result in results:
            found[result["dataset"]] += [
                Reference(metric=key, value=value, model=result["model"], source=str(directory))
                for key, value in result["metrics"].items()
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
            (key.removeprefix(_SHIFTED), result["metrics"])
            for result in _results(directory)
            for key in result["metrics"]
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


def _results(directory: Path) -> Sequence[dict[str, Any]]:
    """The results in a directory.

    Raises:
        DataError: There are none, or a file is not one.
    """
    results: list[dict[str, Any]] = []
    for path in sorted(directory.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not readable as JSON: {error}") from error
        if not isinstance(result, dict) or not {"task", "dataset", "metrics"} <= result.keys():
            raise DataError(f"{path}: got other JSON, expected a result of `twinlens eval --out`")
        results.append(result)
    if not results:
        raise DataError(f"{directory}: got no results, expected what `twinlens eval --out` wrote")
    return results
