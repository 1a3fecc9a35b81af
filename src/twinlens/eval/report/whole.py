"""The report of several measurements of a model: a summary, then a section for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinlens.data.left_out import LeftOut
from twinlens.errors import DataError
from twinlens.eval.report.bars import metric_bars
from twinlens.eval.report.captions import captions_notes, captions_parts
from twinlens.eval.report.classification import classification_notes, classification_parts
from twinlens.eval.report.images import Thumbnails
from twinlens.eval.report.multi_label import multi_label_parts
from twinlens.eval.report.probe import probe_parts
from twinlens.eval.report.retrieval import retrieval_parts
from twinlens.eval.report.robustness import robustness_parts
from twinlens.eval.report.summary import summary
from twinlens.eval.results import metric_names
from twinlens.eval.results.result import (
    ProbeResult,
    Result,
    RetrievalResult,
    RobustnessResult,
    ScoresResult,
)
from twinlens.eval.tasks.classification import Classification
from twinlens.eval.tasks.multi_label import MultiLabelResult
from twinlens.html import facts as facts_list
from twinlens.html import folded, page, part, section, sentences, table

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, and the data set that its images are in by their places."""

    result: Result
    dataset: Dataset


def report_page(measured: Sequence[Measured], *, model: str, facts: Mapping[str, object]) -> str:
    """One page that holds all: figures, charts, and images as thumbnails of 96 pixels.

    Args:
        measured: In the order of the page.
        model: What to call the model.
        facts: What else is to be known of the model and of how it was measured.

    Raises:
        DataError: Nothing was measured.
    """
    if not measured:
        raise DataError("results: got 0, expected at least 1")
    results = [one.result for one in measured]
    thumbnails = {id(one.dataset): Thumbnails(one.dataset) for one in measured}
    sections = [
        section(
            f"{one.result.dataset}: {metric_names.task_name(one.result.task)}",
            *_parts(one.result, thumbnails[id(one.dataset)], _zero_shot(results, one.result)),
            _left_out(one.result),
            anchor=f"r{number}",
        )
        for number, one in enumerate(measured, start=1)
    ]
    return page(
        f"{model}, measured",
        _lead(results),
        section("At a glance", summary(results), note=_SUMMARY_NOTE),
        section("What was measured, and how", facts_list({"Model": model} | dict(facts))),
        *sections,
    )


_SUMMARY_NOTE = (
    "Each bar is the main figure; the thin line in it is the 95% interval, the red mark what "
    "guessing reaches, and the violet one what a supervised model does."
)


def _lead(results: Sequence[Result]) -> str:
    tasks = {one.task for one in results}
    datasets = {one.dataset for one in results}
    return f"{_count(len(tasks), 'task')} on {_count(len(datasets), 'data set')}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _zero_shot(results: Sequence[Result], result: Result) -> float | None:
    """The accuracy that words alone reach on a result's data set, where it was measured."""
    for one in results:
        if one.dataset == result.dataset and one.task == "zeroshot_classification":
            return one.metrics.get("acc1")
    return None


def _parts(result: Result, thumbnails: Thumbnails, zero_shot: float | None) -> list[str]:
    match result:
        case Classification():
            parts = classification_parts(result, thumbnails)
        case MultiLabelResult():
            parts = multi_label_parts(result)
        case RetrievalResult():
            parts = retrieval_parts(result, thumbnails)
        case ProbeResult():
            parts = probe_parts(result, zero_shot)
        case RobustnessResult():
            parts = robustness_parts(result)
        case ScoresResult():
            parts = captions_parts(result, thumbnails)
        case _:
            parts = [part("Figures", metric_bars(result))]
    return parts


def _left_out(result: Result) -> str:
    """Notes, and every image that could not be read with the reason."""
    notes = [_sentence(note) for note in (*result.notes, *_own_notes(result))]
    notes += [_sentence(f"Left out: {line}") for line in LeftOut.from_json(result.left_out).lines()]
    count = len(result.unreadable)
    if not notes and not count:
        return part(_LEFT_OUT, sentences(["Nothing: every image was read."]))
    listed = ""
    if count:
        words = f"{_count(count, 'image')} could not be read"
        listed = folded(words, table(("Image", "Reason"), list(result.unreadable.items())))
    return part(_LEFT_OUT, sentences(notes), listed)


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."


_LEFT_OUT = "What was left out, and what else to know"


def _own_notes(result: Result) -> list[str]:
    if isinstance(result, Classification):
        return classification_notes(result)
    return captions_notes(result) if isinstance(result, ScoresResult) else []
