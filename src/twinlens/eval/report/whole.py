"""The report of several measurements of a model: a summary, then a section for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from twinlens.data.left_out import LeftOut
from twinlens.errors import DataError, require
from twinlens.eval.report.bars import metric_bars
from twinlens.eval.report.captions import caption_score_subsections
from twinlens.eval.report.classification import classification_subsections
from twinlens.eval.report.images import Thumbnails
from twinlens.eval.report.multi_label import multi_label_subsections
from twinlens.eval.report.probe import linear_probe_subsections
from twinlens.eval.report.retrieval import retrieval_subsections
from twinlens.eval.report.robustness import robustness_subsections
from twinlens.eval.report.summary import summary_table
from twinlens.eval.results import metric_names
from twinlens.eval.results.result import TaskResult
from twinlens.eval.tasks.classification import ClassificationResult
from twinlens.eval.tasks.linear_probe import LinearProbeResult
from twinlens.eval.tasks.multi_label import MultiLabelResult
from twinlens.eval.tasks.retrieval import RetrievalResult
from twinlens.eval.tasks.robustness import RobustnessResult
from twinlens.eval.tasks.scores import CaptionScoreResult
from twinlens.html import bullet_list, collapsible, render_page, section, subsection, table
from twinlens.html import definition_list as facts_list

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset


def evaluation_page(
    measured: Sequence[tuple[TaskResult, Dataset]], *, model_name: str, facts: Mapping[str, object]
) -> str:
    """One page that holds all: figures, charts, and images as thumbnails of 96 pixels.

    Args:
        measured: Results with their data sets, in the order of the page.
        model_name: What to call the model.
        facts: What else is to be known of the model and of how it was measured.

    Raises:
        DataError: Nothing was measured.
    """
    require(measured, "results", 0, "at least 1", DataError)
    results = [result for result, _ in measured]
    thumbnails = {id(dataset): Thumbnails(dataset) for _, dataset in measured}
    sections = [
        section(
            f"{result.dataset}: {metric_names.task_name(result.task)}",
            *_subsections(result, thumbnails[id(dataset)], _zero_shot_accuracy(results, result)),
            _notes_subsection(result),
            anchor=f"r{number}",
        )
        for number, (result, dataset) in enumerate(measured, start=1)
    ]
    return render_page(
        f"{model_name}, measured",
        _introduction(results),
        section("At a glance", summary_table(results), note=_SUMMARY_NOTE),
        section("What was measured, and how", facts_list({"Model": model_name} | dict(facts))),
        *sections,
    )


_SUMMARY_NOTE = (
    "Each bar is the main figure; the thin line in it is the 95% interval, the red mark what "
    "guessing reaches, and the violet one what a supervised model does."
)


def _introduction(results: Sequence[TaskResult]) -> str:
    tasks = {one.task for one in results}
    datasets = {one.dataset for one in results}
    return f"{_pluralise(len(tasks), 'task')} on {_pluralise(len(datasets), 'data set')}."


def _pluralise(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _zero_shot_accuracy(results: Sequence[TaskResult], result: TaskResult) -> float | None:
    """The accuracy that words alone reach on a result's data set, where it was measured."""
    for one in results:
        if one.dataset == result.dataset and one.task == "zeroshot_classification":
            return one.metrics.get("acc1")
    return None


def _subsections(result: TaskResult, thumbnails: Thumbnails, zero_shot: float | None) -> list[str]:
    match result:
        case ClassificationResult():
            parts = classification_subsections(result, thumbnails)
        case MultiLabelResult():
            parts = multi_label_subsections(result)
        case RetrievalResult():
            parts = retrieval_subsections(result, thumbnails)
        case LinearProbeResult():
            parts = linear_probe_subsections(result, zero_shot)
        case RobustnessResult():
            parts = robustness_subsections(result)
        case CaptionScoreResult():
            parts = caption_score_subsections(result, thumbnails)
        case _:
            parts = [subsection("Figures", metric_bars(result))]
    return parts


def _notes_subsection(result: TaskResult) -> str:
    """Notes, and every image that could not be read with the reason."""
    notes = [_as_sentence(note) for note in result.all_notes()]
    notes += [
        _as_sentence(f"Left out: {line}") for line in LeftOut.from_json(result.left_out).lines()
    ]
    count = len(result.unreadable)
    if not notes and not count:
        return subsection(_NOTES_HEADING, bullet_list(["Nothing: every image was read."]))
    listed = ""
    if count:
        words = f"{_pluralise(count, 'image')} could not be read"
        listed = collapsible(words, table(("Image", "Reason"), list(result.unreadable.items())))
    return subsection(_NOTES_HEADING, bullet_list(notes), listed)


def _as_sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."


_NOTES_HEADING = "What was left out, and what else to know"
