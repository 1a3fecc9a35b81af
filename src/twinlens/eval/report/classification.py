"""Classification: every class, what is taken for what, and how sure the model is of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.report.bars import (
    Score,
    bar_table,
    in_words,
    metric_bars,
    metric_scores,
    worst_first,
)
from twinlens.eval.report.images import Thumbnails, case, cases, thumbnail_row
from twinlens.html import (
    charts,
    facts,
    folded,
    page,
    part,
    percent,
    reliability_chart,
    section,
    sentences,
)

if TYPE_CHECKING:
    from twinlens.eval.tasks.classification import Classification, ClassResult, Confusion, Mistake

_SHOWN_TEMPLATES = 3


def classes_heading(classes: Sequence[ClassResult]) -> str:
    """What stands above `class_table`."""
    return worst_first("Classes", (one.recall for one in classes))


def class_table(classes: Sequence[ClassResult], *, shown: int = 20) -> str:
    """Every class with its recall, worst first; those after the first `shown` fold away."""
    rows = [
        (one.classname, one.recall, (f"{one.samples:,}", one.mistaken_for or "")) for one in classes
    ]
    columns = ("Class", "Recall", "Images", "Most often mistaken for")
    return bar_table(columns, rows, shown=shown)


def classification_scores(result: Classification) -> list[Score]:
    """The metrics of a measurement for `scores`."""
    return metric_scores(result)


def classification_page(result: Classification, *, model: str) -> str:
    """The page of one measurement, zero-shot or of a model's own classifier."""
    by_words = bool(result.templates)
    known = "that it was told only in words" if by_words else "of its own classifier"
    lead = (
        f"{model} classifies {result.samples:,} images of {result.dataset} among "
        f"{result.classes:,} classes {known}."
    )
    asked: dict[str, object] = {"Model": model, "Data": result.dataset}
    if by_words:
        asked["Language of the class names"] = result.language
        asked["Prompts"] = " · ".join(result.templates)
    asked["Images that could not be read"] = len(result.unreadable)
    return page(
        "Zero-shot classification" if by_words else "Classification",
        lead,
        section("Accuracy", metric_bars(result)),
        section("What was asked", facts(asked)),
        section(classes_heading(result.per_class), class_table(result.per_class)),
    )


def classification_parts(result: Classification, thumbnails: Thumbnails) -> list[str]:
    """The parts of a section: figures, mistakes with their images, classes, prompts."""
    return [
        part("Accuracy", metric_bars(result, [key for key in result.metrics if key != "ece"])),
        part("Calibration", charts(_reliability(result), _errors(result)), note=_CALIBRATION_NOTE),
        part(classes_heading(result.per_class), class_table(result.per_class)),
        part(
            "What is most often taken for what",
            cases(*(_confusion(one, thumbnails) for one in result.confusions)),
        ),
        part(
            "The mistakes that it was surest of",
            cases(*(_mistake(one, thumbnails) for one in result.mistakes)),
        ),
        part("Prompts", prompts(result.templates)),
    ]


_CALIBRATION_NOTE = (
    "How often answers are right by how sure the model is of them. Bars below the diagonal mean "
    "that it is too sure."
)


def classification_notes(result: Classification) -> list[str]:
    """What was left out, or is to be known beside the figures."""
    counted = {
        f"Classes without a name in the language {result.language!r}, left out": (
            result.unnamed_classes
        ),
        "Classes without images, which can still be answered": (
            result.classes - len(result.per_class)
        ),
    }
    shared = [
        f"Called {name!r}: {', '.join(labels)}; where the model reads their names alike, the first "
        "of these classes gets all answers"
        for name, labels in result.shared_names.items()
    ]
    return [f"{what}: {count:,}" for what, count in counted.items() if count] + shared


def _reliability(result: Classification) -> str:
    found = result.calibration
    return reliability_chart(
        found.accuracy, found.confidence, found.count, title="Right answers", error=found.ece
    )


def _errors(result: Classification) -> str:
    found = result.calibration
    errors: dict[str, object] = {
        "Expected calibration error": in_words(result, "ece"),
        "Maximum calibration error": percent(found.mce),
        "Brier score of being right": f"{found.brier:.3f}",
    }
    return f"<div>{facts(errors)}</div>"


def _confusion(one: Confusion, thumbnails: Thumbnails) -> str:
    images = "1 image" if one.images == 1 else f"{one.images:,} images"
    alt = f"{one.truth}, taken for {one.predicted}"
    return case(
        f"<p><b>{escape(one.truth)}</b> taken for <b>{escape(one.predicted)}</b>"
        f"<span>{images}</span></p>",
        thumbnail_row(*(thumbnails.image(place, alt) for place in one.places)),
    )


def _mistake(one: Mistake, thumbnails: Thumbnails) -> str:
    image = thumbnails.image(one.place, one.truth)
    return (
        f'<div class="case beside">{image}<p><b>{escape(one.truth)}</b> taken for '
        f"<b>{escape(one.predicted)}</b><span>{percent(one.confidence)} sure</span></p></div>"
    )


def prompts(templates: Sequence[str]) -> str:
    """The sentences; many fold away."""
    if len(templates) <= _SHOWN_TEMPLATES:
        return sentences(templates)
    return folded(f"{len(templates):,} sentences, averaged", sentences(templates))
