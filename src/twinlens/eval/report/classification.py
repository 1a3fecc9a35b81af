"""Classification: every class, what is taken for what, and how sure the model is of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.report.bars import (
    bar_table,
    format_with_interval,
    metric_bars,
    sorted_heading,
)
from twinlens.eval.report.images import Thumbnails, card, card_grid, thumbnail_row
from twinlens.html import (
    bullet_list,
    chart_row,
    collapsible,
    definition_list,
    format_percent,
    reliability_chart,
    subsection,
)

if TYPE_CHECKING:
    from twinlens.eval.tasks.classification import (
        ClassificationResult,
        ClassResult,
        Confusion,
        Misclassification,
    )

_MAX_TEMPLATES = 3


def class_table_heading(classes: Sequence[ClassResult]) -> str:
    """The heading of `class_table`."""
    return sorted_heading("Classes", (one.recall for one in classes))


def class_table(classes: Sequence[ClassResult], *, num_visible: int = 20) -> str:
    """Every class with its recall, worst first; those after the first `num_visible` fold away."""
    rows = [
        (one.classname, one.recall, (f"{one.samples:,}", one.mistaken_for or "")) for one in classes
    ]
    columns = ("Class", "Recall", "Images", "Most often mistaken for")
    return bar_table(columns, rows, num_visible=num_visible)


def classification_subsections(result: ClassificationResult, thumbnails: Thumbnails) -> list[str]:
    """The parts of a section: figures, mistakes with their images, classes, prompts."""
    surest = (_misclassification_card(one, thumbnails) for one in result.most_confident_errors)
    return [
        subsection(
            "Accuracy", metric_bars(result, [key for key in result.metrics if key != "ece"])
        ),
        subsection(
            "Calibration",
            chart_row(_reliability_chart(result), _calibration_facts(result)),
            note=_CALIBRATION_NOTE,
        ),
        subsection(class_table_heading(result.per_class), class_table(result.per_class)),
        subsection(
            "What is most often taken for what",
            card_grid(*(_confusion_card(one, thumbnails) for one in result.confusions)),
        ),
        subsection("The mistakes that it was surest of", card_grid(*surest)),
        subsection("Prompts", prompt_list(result.templates)),
    ]


_CALIBRATION_NOTE = (
    "How often answers are right by how sure the model is of them. Bars below the diagonal mean "
    "that it is too sure."
)


def _reliability_chart(result: ClassificationResult) -> str:
    found = result.calibration
    return reliability_chart(
        found.accuracy,
        found.confidence,
        found.count,
        title="Right answers",
        calibration_error=found.ece,
    )


def _calibration_facts(result: ClassificationResult) -> str:
    found = result.calibration
    errors: dict[str, object] = {
        "Expected calibration error": format_with_interval(result, "ece"),
        "Maximum calibration error": format_percent(found.mce),
        "Brier score of being right": f"{found.brier:.3f}",
    }
    return f"<div>{definition_list(errors)}</div>"


def _confusion_card(one: Confusion, thumbnails: Thumbnails) -> str:
    images = "1 image" if one.images == 1 else f"{one.images:,} images"
    alt = f"{one.truth}, taken for {one.predicted}"
    return card(
        f"<p><b>{escape(one.truth)}</b> taken for <b>{escape(one.predicted)}</b>"
        f"<span>{images}</span></p>",
        thumbnail_row(*(thumbnails.thumbnail(place, alt) for place in one.indices)),
    )


def _misclassification_card(one: Misclassification, thumbnails: Thumbnails) -> str:
    image = thumbnails.thumbnail(one.index, one.truth)
    return (
        f'<div class="case beside">{image}<p><b>{escape(one.truth)}</b> taken for '
        f"<b>{escape(one.predicted)}</b><span>{format_percent(one.confidence)} "
        f"sure</span></p></div>"
    )


def prompt_list(templates: Sequence[str]) -> str:
    """The sentences; many fold away."""
    if len(templates) <= _MAX_TEMPLATES:
        return bullet_list(templates)
    return collapsible(f"{len(templates):,} sentences, averaged", bullet_list(templates))
