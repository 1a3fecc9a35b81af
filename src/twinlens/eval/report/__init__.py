"""HTML reports of evaluation results.

- `bars`: accuracies with their intervals
- `images`: images with a model's answers, and thumbnails
- `classification`, `retrieval`, `probe`, `robustness`, `captions`,
  `multi_label`: the sections of the tasks
- `summary`: the table at its head
- `whole`: the page
- `comparison`: the page of two models side by side
"""

from twinlens.eval.report.bars import metric_bars
from twinlens.eval.report.classification import (
    class_table,
    class_table_heading,
)
from twinlens.eval.report.comparison import comparison_page
from twinlens.eval.report.images import GalleryImage, gallery
from twinlens.eval.report.whole import evaluation_page
from twinlens.images.data_uri import image_data_uri

__all__ = [
    "GalleryImage",
    "class_table",
    "class_table_heading",
    "comparison_page",
    "evaluation_page",
    "gallery",
    "image_data_uri",
    "metric_bars",
]
