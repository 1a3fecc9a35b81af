"""Files of results in a directory, for other programs and for comparisons with other runs.

- `DATASET_TASK.json`: a result, in CLIP_benchmark's shape
- `evidence/DATASET_TASK.npz`: the evidence of a result
- `results.csv`: a line a metric; written last, so the other files are complete where it exists
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

from twinlens.errors import DataError, os_errors_as
from twinlens.eval.results.result import Evidence, Interval, ReferenceScore, TaskResult
from twinlens.files import atomic_file, atomic_write_text, ensure_directory

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE_FILE = "results.csv"
EVIDENCE_FOLDER = "evidence"
CSV_COLUMNS = (
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
_MAX_NAME_LENGTH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResults:
    """The results that `write_results` wrote of a model, without the details of their tasks.

    Attributes:
        model: Name of the model.
        pretrained: The data that it was trained on, or the recipe.
        results: The results in the order of their files.
    """

    model: str
    pretrained: str
    results: list[TaskResult]


def write_results(
    directory: Path, results: Sequence[TaskResult], *, model: str, pretrained: str
) -> None:
    """Write a JSON and the evidence of each result, and a CSV of all metrics.

    The results of an earlier run in the directory are removed; other files stay.

    Args:
        directory: Made where it is missing.
        results: A result for each data set and task.
        model: Name of the model.
        pretrained: The data that it was trained on, or the recipe.

    Raises:
        DataError: There are two results of a data set and task, or files cannot be written.
    """
    names = _file_names(results)
    with (
        os_errors_as(DataError, directory, "cannot be written"),
        ensure_directory(directory / EVIDENCE_FOLDER),
    ):
        _remove_previous_results(directory)
        for name, result in zip(names, results, strict=True):
            with atomic_file(directory / EVIDENCE_FOLDER / f"{name}.npz") as file:
                np.savez(file, **_evidence_arrays(result.evidence))  # pyright: ignore[reportArgumentType]
            answer = _to_json_types(result.to_dict(model=model, pretrained=pretrained))
            text = json.dumps(answer, indent=2, ensure_ascii=False, allow_nan=False)
            atomic_write_text(f"{text}\n", directory / f"{name}.json")
        atomic_write_text(_csv_text(results, model, pretrained), directory / TABLE_FILE)


def read_results(directory: Path) -> StoredResults:
    """Read what `write_results` wrote, with the evidence.

    Raises:
        DataError: There are no results, a file is damaged, or results are of several
            models.
    """
    if not (directory / TABLE_FILE).is_file():
        raise DataError(f"{directory}: got no {TABLE_FILE}, expected the results of an evaluation")
    models: dict[tuple[str, str], None] = {}
    results: list[TaskResult] = []
    for path, data in _result_files(directory):
        try:
            models[str(data["model"]), str(data["pretrained"])] = None
            results.append(_parse_result(data, directory / EVIDENCE_FOLDER / f"{path.stem}.npz"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: got {error!r}, expected a result of an evaluation") from error
    if len(models) != 1:
        raise DataError(f"{directory}: got results of {len(models)} models, expected one")
    _check_unique(results)
    [(model, pretrained)] = models
    return StoredResults(model=model, pretrained=pretrained, results=results)


def _check_unique(results: Sequence[TaskResult]) -> None:
    of, times = Counter((one.dataset, one.task) for one in results).most_common(1)[0]
    if times > 1:
        raise DataError(f"{' '.join(of)}: got {times} results, expected one")


def _file_names(results: Sequence[TaskResult]) -> list[str]:
    """File names that any file system accepts, unique also where case is ignored."""
    if results:
        _check_unique(results)
    names: list[str] = []
    for result in results:
        dataset = re.sub(r"[^\w.-]+", "_", result.dataset).strip("._")[:_MAX_NAME_LENGTH]
        task = re.sub(r"\W+", "_", result.task)
        name = base = f"{dataset or 'data'}_{task}"
        number = 1
        while name.casefold() in {one.casefold() for one in names}:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _result_files(directory: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The JSON files that are results; others are passed over."""
    for path in sorted(directory.glob("*.json")):
        try:
            data: Any = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if isinstance(data, dict) and {"dataset", "task", "metrics"} <= cast("set[str]", set(data)):
            yield path, cast("Mapping[str, Any]", data)


def _remove_previous_results(directory: Path) -> None:
    """Remove results, the table first: half of a run must not be taken for the whole."""
    (directory / TABLE_FILE).unlink(missing_ok=True)
    for path, _ in list(_result_files(directory)):
        path.unlink()
        (directory / EVIDENCE_FOLDER / f"{path.stem}.npz").unlink(missing_ok=True)


def _to_json_types(value: object) -> object:
    """Convert to JSON types: arrays to lists, and numbers that are not finite to null."""
    if isinstance(value, Mapping):
        return {
            key: _to_json_types(one) for key, one in cast("Mapping[str, object]", value).items()
        }
    if isinstance(value, (np.ndarray, np.generic)):
        return _to_json_types(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_to_json_types(one) for one in cast("list[object]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv_text(results: Sequence[TaskResult], model: str, pretrained: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in results:
        best = best_references(result)
        for metric, value in result.metrics.items():
            low, high = result.intervals.get(metric, ("", ""))
            reference = best[metric].value if metric in best else ""
            values = (metric, value, low, high, result.chance.get(metric, ""), reference)
            writer.writerow(
                (result.dataset, result.task, model, pretrained, *values, result.num_samples)
            )
    return out.getvalue()


def best_references(result: TaskResult) -> dict[str, ReferenceScore]:
    """The highest score of a supervised model, by metric."""
    best: dict[str, ReferenceScore] = {}
    for one in result.references:
        if one.metric not in best or one.value > best[one.metric].value:
            best[one.metric] = one
    return best


def _evidence_arrays(evidence: Evidence) -> dict[str, NDArray[Any]]:
    """The arrays of evidence by their names in the file."""
    arrays: dict[str, NDArray[Any]] = {"samples": np.array(evidence.samples_digest)}
    arrays |= {f"replicates/{key}": one for key, one in evidence.replicates.items()}
    return arrays | {f"right/{key}": one for key, one in evidence.correct.items()}


def _read_evidence(path: Path) -> Evidence:
    """Read evidence; empty where there is no such file."""
    if not path.is_file():
        return Evidence()
    try:
        # Opened here: numpy leaves a file open that is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, NDArray[Any]] = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error

    def stored(kind: str) -> dict[str, NDArray[Any]]:
        own = {key.removeprefix(kind): arrays[key] for key in arrays if key.startswith(kind)}
        for key, one in own.items():
            if one.ndim != 1:
                raise DataError(f"{path}: {kind}{key}: got {one.ndim} dimensions, expected 1")
        return own

    return Evidence(
        samples_digest=str(arrays.get("samples", "")),
        replicates={key: one.astype(np.float32) for key, one in stored("replicates/").items()},
        correct={key: one.astype(np.bool_) for key, one in stored("right/").items()},
    )


def _parse_result(data: Mapping[str, Any], evidence_path: Path) -> TaskResult:
    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    def interval(ends: Sequence[float | None]) -> Interval:
        low, high = ends
        return number(low), number(high)

    return TaskResult(
        task=str(data["task"]),
        dataset=str(data["dataset"]),
        metrics={key: number(value) for key, value in data["metrics"].items()},
        intervals={key: interval(ends) for key, ends in data["intervals"].items()},
        chance={key: number(value) for key, value in data["chance"].items()},
        num_samples=int(data["samples"]),
        unreadable={one["image"]: one["reason"] for one in data["unreadable"]},
        references=tuple(ReferenceScore(**one) for one in data["references"]),
        notes=tuple(data["notes"]),
        left_out=data.get("left_out", {}),
        evidence=_read_evidence(evidence_path),
    )
