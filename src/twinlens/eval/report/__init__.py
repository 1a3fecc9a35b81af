"""What a report of measurements shows.

- `bars`: accuracies with their intervals
- `images`: images with a model's answers, and thumbnails
- `classification`, `retrieval`, `probe`, `robustness`, `captions`,
  `multi_label`: the sections of the tasks
- `summary`: the table at its head
- `whole`: the page
- `comparison`: the page of two models side by side
"""

from twinlens.eval.report.bars import Score, scores
from twinlens.eval.report.classification import (
    class_table,
    classes_heading,
    classification_page,
    classification_scores,
)
from twinlens.eval.report.comparison import comparison_page
from twinlens.eval.report.images import ImageCard, data_uri, gallery
from twinlens.eval.report.whole import Measured, report_page

__all__ = [
    "ImageCard",
    "Measured",
    "Score",
    "class_table",
    "classes_heading",
    "classification_page",
    "classification_scores",
    "comparison_page",
    "data_uri",
    "gallery",
    "report_page",
    "scores",
]
