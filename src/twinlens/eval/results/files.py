"""The results of a run in a directory, for other programs and for comparing it with other runs.

- `DATASET_TASK.json`: a result, in CLIP_benchmark's shape
- `evidence/DATASET_TASK.npz`: what stays of the single answers
- `results.csv`: a line a metric; written last, so where it is, the rest is whole
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twinlens.errors import DataError
from twinlens.eval.results.result import Evidence, Interval, Reference, Result
from twinlens.files import made_directory, whole_file, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE_FILE = "results.csv"
EVIDENCE_FOLDER = "evidence"
COLUMNS = (
    "dataset",
    "task",
    "model",
    "pretrained",
    "metric",
    "value",
    "low",
    "high",
    "chance",
    "reference",
    "samples",
)
_LONGEST_NAME = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResults:
    """What `write_results` wrote of a model. Results are plain ones: without their details.

    Attributes:
        model: As it was called.
        pretrained: What it was trained on, or by which recipe.
        results: In the order of their files.
    """

    model: str
    pretrained: str
    results: list[Result]


def write_results(
    directory: Path, results: Sequence[Result], *, model: str, pretrained: str
) -> None:
    """Write a JSON and the evidence of each result, and a CSV of all figures.

    The results of an earlier run in the directory are removed; other files stay.

    Args:
        directory: Made where it is missing.
        results: One a data set and task.
        model: What to call the model.
        pretrained: What it was trained on, or by which recipe.

    Raises:
        DataError: There are two results of a data set and task, or files cannot be written.
    """
    names = _file_names(results)
    try:
        with made_directory(directory / EVIDENCE_FOLDER):
            _remove_earlier(directory)
            for name, result in zip(names, results, strict=True):
                with whole_file(directory / EVIDENCE_FOLDER / f"{name}.npz") as file:
                    np.savez(file, **_arrays(result.evidence))  # pyright: ignore[reportArgumentType]
                answer = _plain(result.to_dict(model=model, pretrained=pretrained))
                text = json.dumps(answer, indent=2, ensure_ascii=False, allow_nan=False)
                write_whole(f"{text}\n", directory / f"{name}.json")
            write_whole(_table(results, model, pretrained), directory / TABLE_FILE)
    except OSError as error:
        raise DataError(f"{directory}: cannot be written: {error.strerror}") from error


def read_results(directory: Path) -> StoredResults:
    """Read what `write_results` wrote, evidence and all.

    Raises:
        DataError: There is nothing of the kind, a file is damaged, or results are of several
            models.
    """
    if not (directory / TABLE_FILE).is_file():
        raise DataError(f"{directory}: got no {TABLE_FILE}, expected the results of an evaluation")
    models: dict[tuple[str, str], None] = {}
    results: list[Result] = []
    for path, data in _stored(directory):
        try:
            models[str(data["model"]), str(data["pretrained"])] = None
            results.append(_result(data, directory / EVIDENCE_FOLDER / f"{path.stem}.npz"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: got {error!r}, expected a result of an evaluation") from error
    if len(models) != 1:
        raise DataError(f"{directory}: got results of {len(models)} models, expected one")
    _check_once(results)
    [(model, pretrained)] = models
    return StoredResults(model=model, pretrained=pretrained, results=results)


def _check_once(results: Sequence[Result]) -> None:
    of, times = Counter((one.dataset, one.task) for one in results).most_common(1)[0]
    if times > 1:
        raise DataError(f"{' '.join(of)}: got {times} results, expected one")


def _file_names(results: Sequence[Result]) -> list[str]:
    """Names that any file system takes, each once, whatever the case of letters."""
    if results:
        _check_once(results)
    names: list[str] = []
    for result in results:
        dataset = re.sub(r"[^\w.-]+", "_", result.dataset).strip("._")[:_LONGEST_NAME]
        task = re.sub(r"\W+", "_", result.task)
        name = base = f"{dataset or 'data'}_{task}"
        number = 1
        while name.casefold() in {one.casefold() for one in names}:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _stored(directory: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The JSON files that are results; others are none of ours."""
    for path in sorted(directory.glob("*.json")):
        try:
            data: Any = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if isinstance(data, dict) and {"dataset", "task", "metrics"} <= cast("set[str]", set(data)):
            yield path, cast("Mapping[str, Any]", data)


def _remove_earlier(directory: Path) -> None:
    """The table first: half of a run shall not pass for the whole."""
    (directory / TABLE_FILE).unlink(missing_ok=True)
    for path, _ in list(_stored(directory)):
        path.unlink()
        (directory / EVIDENCE_FOLDER / f"{path.stem}.npz").unlink(missing_ok=True)


def _plain(value: object) -> object:
    """As JSON has it: arrays as lists, and null for what is no finite number."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in cast("Mapping[str, object]", value).items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in cast("list[object]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(results: Sequence[Result], model: str, pretrained: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        best = best_references(result)
        for metric, value in result.metrics.items():
            low, high = result.intervals.get(metric, ("", ""))
            reference = best[metric].value if metric in best else ""
            found = (metric, value, low, high, result.chance.get(metric, ""), reference)
            writer.writerow(
                (result.dataset, result.task, model, pretrained, *found, result.samples)
            )
    return out.getvalue()


def best_references(result: Result) -> dict[str, Reference]:
    """By metric, the supervised model that reaches most."""
    best: dict[str, Reference] = {}
    for one in result.references:
        if one.metric not in best or one.value > best[one.metric].value:
            best[one.metric] = one
    return best


def _arrays(evidence: Evidence) -> dict[str, NDArray[Any]]:
    """Evidence by the names that it has in its file."""
    arrays: dict[str, NDArray[Any]] = {"samples": np.array(evidence.samples)}
    arrays |= {f"replicates/{key}": one for key, one in evidence.replicates.items()}
    return arrays | {f"right/{key}": one for key, one in evidence.right.items()}


def _read_evidence(path: Path) -> Evidence:
    """What was kept: nothing, where there is no such file."""
    if not path.is_file():
        return Evidence()
    try:
        # Opened here: of what is no archive, numpy would leave the file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, NDArray[Any]] = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error

    def kept(kind: str) -> dict[str, NDArray[Any]]:
        found = {key.removeprefix(kind): arrays[key] for key in arrays if key.startswith(kind)}
        for key, one in found.items():
            if one.ndim != 1:
                raise DataError(f"{path}: {kind}{key}: got {one.ndim} dimensions, expected 1")
        return found

    return Evidence(
        samples=str(arrays.get("samples", "")),
        replicates={key: one.astype(np.float32) for key, one in kept("replicates/").items()},
        right={key: one.astype(np.bool_) for key, one in kept("right/").items()},
    )


def _result(data: Mapping[str, Any], evidence: Path) -> Result:
    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    def interval(ends: Sequence[float | None]) -> Interval:
        low, high = ends
        return number(low), number(high)

    return Result(
        task=str(data["task"]),
        dataset=str(data["dataset"]),
        metrics={key: number(value) for key, value in data["metrics"].items()},
        intervals={key: interval(ends) for key, ends in data["intervals"].items()},
        chance={key: number(value) for key, value in data["chance"].items()},
        samples=int(data["samples"]),
        unreadable={one["image"]: one["reason"] for one in data["unreadable"]},
        references=tuple(Reference(**one) for one in data["references"]),
        notes=tuple(data["notes"]),
        left_out=data.get("left_out", {}),
        evidence=_read_evidence(evidence),
    )
