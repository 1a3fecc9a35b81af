# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""What `twinlens eval --compare` does: two directories of results, held against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.cli.given import check_directory, undone
from twinlens.cli.output import log, print_json, print_table, write_text

if TYPE_CHECKING:
    from twinlens.eval.results.compare import Comparison, Figure
    from twinlens.eval.results.files import StoredResults


def show(first: Path, second: Path, *, out: Path | None, as_json: bool) -> None:
    """Answer which model is better where, and how sure that is.

    Raises:
        DataError: A directory has no results, or they are damaged.
    """
    check_directory("--out", out)
    from twinlens.eval.report import comparison_page
    from twinlens.eval.results.compare import compare
    from twinlens.eval.results.files import read_results

    one, other = read_results(first), read_results(second)
    comparisons = compare(one, other)
    answer = _answer(one, other, comparisons)
    if as_json:
        print_json(answer)
    else:
        _print(one, other, comparisons)
    if out is not None:
        text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
        with undone(out):
            write_text(out / "comparison.json", text)
            write_text(out / "comparison.html", comparison_page(one, other, comparisons))
        log(f"wrote comparison.json and comparison.html to {out}")


def _answer(
    first: StoredResults, second: StoredResults, comparisons: list[Comparison]
) -> dict[str, Any]:
    return {
        "first": first.model,
        "second": second.model,
        "comparisons": [one.to_dict() for one in comparisons],
    }


def _print(first: StoredResults, second: StoredResults, comparisons: list[Comparison]) -> None:
    names = {"first": first.model, "second": second.model}
    rows = [
        (
            one.dataset,
            one.task,
            one.metric,
            _value(one.first),
            _value(one.second),
            one.problem or _difference(one),
            "" if one.adjusted is None else f"{one.adjusted:.2g}",
            names.get(one.winner or "", ""),
        )
        for one in comparisons
    ]
    columns = ("Data", "Task", "Metric", "First", "Second", "Second less first", "p", "Better")
    title = f"{first.model} (first) and {second.model} (second); p after Holm's correction"
    print_table(columns, rows, title=title)


def _value(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.value:.4g}"


def _difference(one: Comparison) -> str:
    """By how much, with the 95% interval."""
    if one.change is None or one.difference is None:
        return ""
    return f"{one.change:+.4f} ({one.difference.low:+.4f} to {one.difference.high:+.4f})"
