"""One HTML page of text and charts that loads nothing from outside.

Each function returns a piece of HTML; `page` puts pieces together. Text is escaped here.

- `document`: the page, its sections, facts and tables
- `axes`: what charts have in common
- `lines`: charts of lines and points
- `bars`: charts of bars
- `names`: what metrics are called
"""

from twinlens.html.axes import chart_row, downsample, linear_ticks, log_ticks
from twinlens.html.bars import histogram, reliability_chart
from twinlens.html.document import (
    bullet_list,
    collapsible,
    definition_list,
    format_percent,
    labelled_cell,
    render_page,
    section,
    subsection,
    table,
    table_html,
)
from twinlens.html.lines import Series, line_chart, series_chart
from twinlens.html.metric_names import metric_name

__all__ = [
    "Series",
    "bullet_list",
    "chart_row",
    "collapsible",
    "definition_list",
    "downsample",
    "format_percent",
    "histogram",
    "labelled_cell",
    "line_chart",
    "linear_ticks",
    "log_ticks",
    "metric_name",
    "reliability_chart",
    "render_page",
    "section",
    "series_chart",
    "subsection",
    "table",
    "table_html",
]
