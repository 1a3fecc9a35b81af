# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens compare`: compare two evaluations metric by metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.given import check_output_directory, remove_on_error
from twinlens.cli.options import Json
from twinlens.cli.output import log, print_json, print_table, write_text

if TYPE_CHECKING:
    from twinlens.eval.results.compare import MetricComparison, MetricValue
    from twinlens.eval.results.files import StoredResults


def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="Results of `eval --out`.")],
    second: Annotated[Path, typer.Argument(metavar="DIR", help="Those of another model.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Directory for the JSON and the page.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two evaluations: differences with 95% intervals, and which model is better."""
    check_output_directory("--out", out)
    from twinlens.eval.report import comparison_page
    from twinlens.eval.results.compare import compare_results
    from twinlens.eval.results.files import read_results

    results = read_results(first), read_results(second)
    comparisons = compare_results(*results)
    answer = {
        "first": results[0].model,
        "second": results[1].model,
        "comparisons": [one.to_dict() for one in comparisons],
    }
    if as_json:
        print_json(answer)
    else:
        _print_comparisons(*results, comparisons)
    if out is not None:
        text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
        with remove_on_error(out):
            write_text(out / "comparison.json", text)
            write_text(out / "comparison.html", comparison_page(*results, comparisons))
        log(f"wrote comparison.json and comparison.html to {out}")


def _print_comparisons(
    first: StoredResults, second: StoredResults, comparisons: list[MetricComparison]
) -> None:
    names = {"first": first.model, "second": second.model}
    rows = [
        (
            one.dataset,
            one.task,
            one.metric,
            _format_value(one.first),
            _format_value(one.second),
            one.problem or _format_difference(one),
            "" if one.adjusted_p_value is None else f"{one.adjusted_p_value:.2g}",
            names.get(one.winner or "", ""),
        )
        for one in comparisons
    ]
    columns = ("Data", "Task", "Metric", "First", "Second", "Second less first", "p", "Better")
    title = f"{first.model} (first) and {second.model} (second); p after Holm's correction"
    print_table(columns, rows, title=title)


def _format_value(value: MetricValue | None) -> str:
    return "" if value is None else f"{value.value:.4g}"


def _format_difference(one: MetricComparison) -> str:
    """Format a difference with its 95% interval."""
    if one.delta is None or one.difference is None:
        return ""
    return f"{one.delta:+.4f} ({one.difference.low:+.4f} to {one.difference.high:+.4f})"
