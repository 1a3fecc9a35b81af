"""Pieces of pages: charts that show what they were given, in a page that stands alone."""

import math
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.markup import is_balanced, loads_nothing
from twinlens import html


def drawn(svg: str) -> list[tuple[float, ...]]:
    [points] = re.findall(r'points="([^"]*)"', svg)
    return [tuple(map(float, place.split(","))) for place in points.split()]


def test_a_page_stands_alone():
    chart = html.line_chart([(0, 2), (9, 1)], title="Loss", x_label="steps")
    folded = html.collapsible("More & more", html.definition_list({"Steps": 3}))
    document = html.render_page(
        "Title", "Lead", html.section("Curve", html.chart_row(chart)), folded
    )
    assert is_balanced(document)
    assert loads_nothing(document)
    assert "More &amp; more" in document


def test_a_chart_puts_its_ends_where_the_axes_say():
    svg = html.line_chart([(0, 0), (10, 4)], title="Loss", x_label="steps")
    assert 'points="44.0,186.0 388.0,14.0"' in svg
    assert html.line_chart([], title="Loss", x_label="steps") == ""


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_a_chart_keeps_every_point_inside(points: list[tuple[float, float]]):
    svg = html.line_chart(points, title="t", x_label="x")
    places = drawn(svg)
    assert len(places) == len(points)
    assert all(43 <= x <= 389 and 13 <= y <= 187 for x, y in places)


@given(st.floats(-1e9, 0), st.floats(0, 1e9))
def test_ticks_span_their_range_in_few_steps(low: float, high: float):
    marks = html.linear_ticks(low, high)
    slack = 1e-6 * (high - low) + 1e-12
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 7
    assert marks == sorted(set(marks))


def test_thousands_of_points_are_thinned_to_what_is_seen():
    points = [(float(i), 5.0) for i in range(100_000)]
    points[31_415] = (31_415.0, 10.0)  # a peak of one step
    points[92_653] = (92_653.0, 0.0)
    svg = html.line_chart(points, title="Loss", x_label="steps")
    heights = [y for _, y in drawn(svg)]
    assert len(heights) < 4 * 400
    assert (min(heights), max(heights)) == (14.0, 186.0)
    assert "100000 points" in svg
    assert len(svg) < 40_000


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=300))
def test_thinning_keeps_order_ends_and_extremes(points: list[tuple[float, float]]):
    points.sort()
    kept = list(html.downsample(points, num_columns=10))
    assert len(kept) <= 40
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)
    for extreme in (min, max):
        assert extreme(y for _, y in kept) == extreme(y for _, y in points)


def test_what_is_no_number_is_left_out():
    svg = html.line_chart([(0, 1), (1, math.nan), (2, math.inf), (3, 2)], title="t", x_label="x")
    assert len(drawn(svg)) == 2
    assert html.line_chart([(0, math.nan)], title="t", x_label="x") == ""


def test_numbers_on_axes_are_short():
    def axis(top: float) -> set[str]:
        svg = html.line_chart([(0, 0), (1, top)], title="t", x_label="x")
        return set(re.findall(r">([^<>]+)</text>", svg)) - {"x"}

    assert {"0", "2e-4", "4e-4", "6e-4"} <= axis(5e-4)
    assert {"0", "10k", "40k"} <= axis(31_415)
    assert {"0", "0.5M", "1M"} <= axis(1e6) | {"0.5M"}
    assert "1.5G" in axis(1.5e9)


def test_a_chart_of_several_lines_labels_its_points():
    one = html.Series(
        name="fp32 & more", points=[(1, 5), (100, 10)], labels=["1", "8"], colour_index=0
    )
    other = html.Series(
        name="bf16", points=[(10, 7)], labels=["4"], colour_index=1, dash_pattern="6 3"
    )
    chart = html.series_chart([one, other], title="Images", x_label="ms", y_label="a second")
    assert is_balanced(chart)
    assert 'points="44.0,100.0 388.0,14.0"' in chart  # a decade is half of the width
    assert re.findall(r'text-anchor="middle">(\w+)</text></?[cg]', chart) == ["1", "8", "4"]
    assert chart.count('stroke-dasharray="6 3"') == 2  # the line and its key
    assert "fp32 &amp; more" in chart
    assert html.series_chart([], title="t", x_label="x", y_label="y") == ""


@given(st.floats(1e-3, 1e6), st.floats(1, 1e6))
def test_ticks_of_ratios_span_their_range(low: float, ratio: float):
    marks = html.log_ticks(low, low * ratio)
    assert marks[0] <= low
    assert marks[-1] >= low * ratio
    assert len(marks) >= 2
    assert marks == sorted(set(marks))


def rectangles(svg: str) -> list[tuple[float, float]]:
    """Left edges and heights."""
    found = re.findall(r'<rect x="([^"]*)" y="[^"]*" width="[^"]*" height="([^"]*)"', svg)
    return [(float(x), float(height)) for x, height in found]


def test_a_histogram_counts_every_finite_value():
    values = np.array([0.0, 0.1, 0.1, 0.2, 0.95, 1.0, math.nan, math.inf])
    svg = html.histogram(values, title="Scores & more", x_label="score")
    assert is_balanced(svg)
    assert "Scores &amp; more: 6 values, the median is 0.15" in svg
    counted = [int(number) for number in re.findall(r": (\d+)</title>", svg)]
    assert sum(counted) == 6
    highest = max(height for _, height in rectangles(svg))
    assert [h == highest for _, h in rectangles(svg)] == [count == 2 for count in counted]
    assert html.histogram(np.array([math.nan]), title="t", x_label="x") == ""


def test_a_reliability_chart_draws_shares_and_counts():
    svg = html.reliability_chart(
        np.array([math.nan, 0.5, 1.0, 0.75]),
        np.array([math.nan, 0.4, 0.6, 0.9]),
        np.array([0, 10, 5, 20]),
        title="Right answers",
        calibration_error=0.123,
    )
    assert is_balanced(svg)
    shares, counts = rectangles(svg)[:3], rectangles(svg)[3:]
    assert [height for _, height in shares] == [86.0, 172.0, 129.0]  # of 172 from 0 to 1
    assert [height for _, height in counts] == [30.0, 15.0, 60.0]
    assert [x for x, _ in shares] == [x for x, _ in counts] == [130.5, 216.5, 302.5]
    assert "75.0% right where 90.0% sure, 20 answers" in svg
    assert "<b>12.3% off</b>" in svg


def test_a_chart_of_points_has_no_line():
    line = html.Series(name="line", points=[(0, 0), (1, 1)], colour_index=0, has_markers=False)
    points = html.Series(name="points", points=[(0.5, 0.25)], colour_index=1, has_line=False)
    chart = html.series_chart(
        [line, points], title="t", x_label="x", y_label="y", log_x=False, y_as_percent=True
    )
    drawing, legend = chart.split("</svg>", 1)
    assert drawing.count("<polyline") == legend.count("<polyline") == 1
    assert drawing.count("<circle") == legend.count("<circle") == 1
    assert 'cx="216.0" cy="143.0"' in drawing
    assert drawing.count(">50%</text>") == 2  # across and upwards


def test_parts_and_lists_of_nothing_are_nothing():
    assert html.subsection("Heading", "", "", note="words") == ""
    assert html.bullet_list([]) == ""
    assert "<h3>A &amp; B</h3><p>note</p>piece" in html.subsection("A & B", "piece", note="note")
    assert '<section id="r1">' in html.section("Heading", anchor="r1")
