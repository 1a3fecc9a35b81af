"""One HTML page of text and charts that loads nothing from outside.

Each function returns a piece of HTML; `page` puts pieces together. Text is escaped here.

- `document`: the page, its sections, facts and tables
- `axes`: what charts have in common
- `lines`: charts of lines and points
- `bars`: charts of bars
- `names`: what metrics are called
"""

from twinlens.html.axes import charts, log_ticks, thinned, ticks
from twinlens.html.bars import histogram, reliability_chart
from twinlens.html.document import facts, folded, page, part, percent, section, sentences, table
from twinlens.html.lines import Series, line_chart, series_chart
from twinlens.html.metric_names import metric_name

__all__ = [
    "Series",
    "charts",
    "facts",
    "folded",
    "histogram",
    "line_chart",
    "log_ticks",
    "metric_name",
    "page",
    "part",
    "percent",
    "reliability_chart",
    "section",
    "sentences",
    "series_chart",
    "table",
    "thinned",
    "ticks",
]
