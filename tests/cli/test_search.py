"""`twinlens search`: tables, JSON, queries of every kind."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Ending, Run
from twinlens.embed.loading import load
from twinlens.search.index import Index

DRAWINGS = Path("src/twinlens/assets/images").resolve()


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "drawings.idx"
    Index.create(out, load("icons"), "icons").update([str(DRAWINGS)])
    return out


def found(ended: Ending) -> list[list[str]]:
    assert ended.status == 0, ended.err
    return [
        [Path(result["image"]).stem for result in one["results"]] for one in json.loads(ended.out)
    ]


def test_words_in_a_table(run: Run, drawings: Path):
    ended = run("search", "a cat", "--index", drawings, "--min-score", "none", "--top", "2")
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    assert len(lines) == 3
    assert str(DRAWINGS / "cat.png") in lines[1]


def test_json_has_what_the_manual_says(run: Run, drawings: Path):
    ended = run("search", "a cat", "--index", drawings, "--json", "--top", "1")
    (one,) = json.loads(ended.out)
    assert one["query"] == "a cat"
    (result,) = one["results"]
    assert set(result) == {"image", "score", "probability", "metadata"}
    assert result["image"] == str(DRAWINGS / "cat.png")
    assert result["metadata"]["width"] == 192


def test_images_ids_and_mixtures(run: Run, drawings: Path):
    options = ["--index", drawings, "--json", "--top", "1", "--min-score", "none"]
    image = run("search", "--image", DRAWINGS / "dog.png", *options)
    assert found(image) == [["dog"]]
    digits = json.loads(image.out)[0]["results"][0]["metadata"]["id"]
    assert found(run("search", "--image", digits, *options)) == [["dog"]]
    assert found(run("search", "--mix", "pizza:1,cat:0.1", *options)) == [["pizza"]]
    both = run("search", "cat", "--not", "dog", *options)
    assert found(both) == [["cat"]]
    assert json.loads(both.out)[0]["query"] == "cat:1, dog:-0.5"


def test_many_queries_of_a_file(run: Run, drawings: Path, tmp_path: Path):
    (tmp_path / "queries.txt").write_text("a bicycle\na guitar\n")
    ended = run("search", "--queries", tmp_path / "queries.txt", "--index", drawings, "--json",
                "--top", "1")  # fmt: skip
    assert found(ended) == [["bicycle"], ["guitar"]]
    beside = run("search", "cat", "--queries", tmp_path / "queries.txt", "--index", drawings)
    assert (beside.status, "--queries: got a query beside it" in beside.err) == (2, True)


def test_pages_and_filters(run: Run, drawings: Path):
    options = ["--index", drawings, "--json", "--min-score", "none"]
    whole = found(run("search", "cat", *options))[0]
    assert len(whole) == 6
    assert found(run("search", "cat", "--top", "2", "--page", "2", *options)) == [whole[2:4]]
    filtered = run("search", "cat", "--where", "path LIKE '%/dog.png'", *options)
    assert found(filtered) == [["dog"]]


def test_nothing_matches_is_an_answer(run: Run, drawings: Path):
    ended = run("search", "cat", "--index", drawings, "--min-score", "0.99")
    assert (ended.status, ended.out, ended.err) == (0, "", "nothing matches\n")
    as_json = run("search", "cat", "--index", drawings, "--min-score", "0.99", "--json")
    assert json.loads(as_json.out) == [{"query": "cat", "results": []}]


def test_a_query_that_is_too_long(run: Run, drawings: Path):
    ended = run("search", "cat " * 500, "--index", drawings)
    assert ended.status == 2
    assert ended.err.count("\n") == 1


def test_nothing_to_search_for(run: Run, drawings: Path):
    ended = run("search", "--index", drawings)
    assert (ended.status, "got nothing to search for" in ended.err) == (2, True)
