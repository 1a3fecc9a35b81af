"""Results of a benchmark as rows of text."""

from dataclasses import replace

from twinlens.benchmark.records import TWINLENS, BenchmarkResult
from twinlens.benchmark.tables import precision_table, recommendations, throughput_table


def test_throughputs_are_rows_with_the_ratio_where_there_is_another_library(
    speed: BenchmarkResult,
):
    columns, rows = throughput_table(speed, "text")
    assert columns[3] == "Texts/s"
    assert columns[-1] == "Ours by theirs"
    assert [row[-1] != "" for row in rows] == [row[0] != TWINLENS for row in rows]
    assert len(rows) == sum(rate.tower == "text" for rate in speed.rates)
    alone = replace(speed, rates=[rate for rate in speed.rates if rate.library == TWINLENS])
    columns, rows = throughput_table(alone, "text")
    assert columns[-1] == "Of the peak"
    assert {len(row) for row in rows} == {len(columns)}


def test_precisions_say_where_memory_did_not_suffice(speed: BenchmarkResult):
    first, second = speed.precisions
    columns, rows = precision_table(
        replace(speed, precisions=[replace(first, peak_memory=None), second], ceilings={})
    )
    assert [row[columns.index("Memory")] for row in rows] == ["not enough", "1.00 GB"]
    assert [row[columns.index("Matrix product")] for row in rows] == ["", ""]


def test_recommendations_have_the_cost_and_the_towers_without_any(speed: BenchmarkResult):
    [first] = [one for one in speed.recommended if one.tower == "image"]
    changed = replace(first, batch=2, precision="bf16", per_second=1e4, cost_per_million=0.1)
    assert recommendations(replace(speed, recommended=[changed])) == {
        "images": "bf16, batches of 2: 10,000 images/s, $0.1 a million",
        "texts": "none of what was measured",
    }
