"""What a report of measurements shows.

- `bars`: accuracies with their intervals
- `images`: images with a model's answers, and thumbnails
- `classification`, `retrieval`, `probe`, `robustness`, `captions`,
  `multi_label`: the sections of the tasks
- `summary`: the table at its head
- `whole`: the page
- `comparison`: the page of two models side by side
"""

from twinlens.eval.report.bars import BarMetric, metric_bar_group
from twinlens.eval.report.classification import (
    class_table,
    class_table_heading,
    classification_bar_metrics,
    classification_page,
)
from twinlens.eval.report.comparison import comparison_page
from twinlens.eval.report.images import GalleryImage, gallery, image_data_uri
from twinlens.eval.report.whole import MeasuredResult, evaluation_page

__all__ = [
    "BarMetric",
    "GalleryImage",
    "MeasuredResult",
    "class_table",
    "class_table_heading",
    "classification_bar_metrics",
    "classification_page",
    "comparison_page",
    "evaluation_page",
    "gallery",
    "image_data_uri",
    "metric_bar_group",
]
