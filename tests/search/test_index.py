"""`Index`: created, opened, searched by words, images, rows and mixtures, while it is written."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.search.conftest import write_images
from tests.tiny import tiny_clip
from twinlens.embed.embedder import Embedder
from twinlens.errors import ConfigError, DataError, TwinlensError
from twinlens.search.index import Index, Result
from twinlens.search.query import Part, Query
from twinlens.text.clip_bpe import Tokenizer


def names(results: list[Result]) -> list[str]:
    return [Path(result.image).name for result in results]


@pytest.fixture
def full(index: Index, photos: Path) -> Index:
    index.update([str(photos)])
    return index


def test_words_find_what_scores_highest(full: Index, photos: Path, lens: Embedder):
    paths = sorted(photos.iterdir())
    scores = lens.score(paths, "a cat")[:, 0]
    expected = [paths[place].name for place in np.argsort(-scores)]
    found = full.search("a cat", min_score=None)
    assert names(found) == expected
    assert [result.score for result in found] == pytest.approx(
        sorted(scores, reverse=True), abs=1e-5
    )
    assert found[0].metadata["height"] == 20
    assert names(full.search("a cat", 2, offset=1, min_score=None)) == expected[1:3]
    assert full.search("a cat", 2, offset=6, min_score=None) == []


def test_images_find_themselves(full: Index, photos: Path):
    with Image.open(photos / "3.png") as opened:
        copy = opened.copy()
    for query in (photos / "3.png", (photos / "3.png").read_bytes(), copy):
        best = full.search(query, 1, min_score=None)[0]
        assert Path(best.image).name == "3.png"
        assert best.score == pytest.approx(1, abs=1e-5)
    by_id = Query((Part("id", best.metadata["id"]),))
    assert names(full.search(by_id, 1, min_score=None)) == ["3.png"]
    with pytest.raises(DataError, match="got no image of this id"):
        full.search(Query((Part("id", "ffffffffff"),)))


def test_mixtures_lie_between(full: Index, lens: Embedder, photos: Path):
    vectors = lens.embed_texts(["cat", "dog"])
    mixed = vectors[0] - 0.5 * vectors[1]
    mixed /= np.linalg.norm(mixed)
    found = full.search({"cat": 1, "dog": -0.5}, 1, min_score=None)
    images = lens.embed_images(sorted(photos.iterdir()))
    assert found[0].score == pytest.approx(float((images @ mixed).max()), abs=1e-5)


def test_many_queries_at_once(full: Index, photos: Path):
    queries = ["a cat", photos / "2.png", "a cat", {"dog": 1}]
    found = full.search_many(queries, 3, min_score=None)
    alone = [full.search(query, 3, min_score=None) for query in queries]
    assert [names(one) for one in found] == [names(one) for one in alone]
    assert full.search_many([]) == []


def test_filters_give_k_or_all_that_match(full: Index):
    everything = full.search("a cat", min_score=None)
    some = full.search("a cat", 2, where="width >= 15", min_score=None)
    assert names(some) == [n for n in names(everything) if int(n[0]) >= 3][:2]
    assert names(full.search("a cat", where="path LIKE '%/4.png'", min_score=None)) == ["4.png"]
    assert full.search("a cat", where="width > 999", min_score=None) == []
    with pytest.raises(TwinlensError, match="widht"):
        full.search("a cat", where="widht > 1")


def test_a_filter_names_the_path_that_matches(full: Index, photos: Path):
    write_images(photos / "copies", [3])
    full.update()
    (found,) = full.search("a cat", where="path LIKE '%copies%'", min_score=None)
    assert found.image == str(photos / "copies" / "3.png")
    (both,) = [r for r in full.search("a cat", min_score=None) if "paths" in r.metadata]
    assert both.metadata["paths"] == [str(photos / "3.png"), str(photos / "copies" / "3.png")]


def test_least_scores(full: Index):
    everything = full.search("a cat", min_score=None)
    least = everything[2].score
    assert full.search("a cat", min_score=least) == everything[:3]


def test_one_path_is_a_list_of_it(full: Index, photos: Path):
    assert full.update(photos).unchanged == 6
    assert full.remove(str(photos / "1.png")) == 1
    assert names(full.search_many("a cat", min_score=None)[0])
    assert full.remove(photos / "2.png") == 1
    for wrong in (5, None):
        with pytest.raises(ConfigError, match="paths: got"):
            full.remove(wrong)


def test_removing_is_all_or_nothing(full: Index, photos: Path):
    with pytest.raises(DataError, match="elsewhere: got no file of the index"):
        full.remove([str(photos), "elsewhere"])
    assert len(full) == 6
    assert full.store.sources() == [str(photos)]


def test_a_damaged_calibration_is_made_anew(full: Index):
    path = full.store.directory / "calibration.npz"
    path.write_bytes(b"xx")
    with pytest.raises(DataError, match="as it is damaged: `twinlens index --out` makes it anew"):
        full.search("a cat")
    full.update()
    full.search("a cat")


def test_a_query_of_what_not_to_show_has_no_cut_off(full: Index):
    found = full.search({"cat": 1, "dog": -0.5})
    assert len(found) == 6
    assert found[0].probability is None


@pytest.mark.parametrize(
    "options", [{"k": "3"}, {"k": 2.5}, {"where": 5}, {"min_score": "none"}, {"min_score": 2}]
)
def test_options_of_another_type(full: Index, options: dict[str, object]):
    with pytest.raises(ConfigError):
        full.search("a cat", **options)


@pytest.mark.parametrize("page", [(0, 0), (1, -1), (100_000, 1)])
def test_wrong_pages(full: Index, page: tuple[int, int]):
    with pytest.raises(ConfigError, match=r"k \+ offset"):
        full.search("a cat", page[0], offset=page[1])


def test_an_empty_index_has_no_answers(index: Index):
    assert index.search("a cat") == []
    assert len(index) == 0
    with pytest.raises(DataError, match="got no sources"):
        index.update()


def test_an_index_is_opened_with_its_own_model(
    tmp_path: Path, photos: Path, tiny_directory: Path, lens: Embedder
):
    made = Index.create(tmp_path / "own.idx", lens, str(tiny_directory))
    made.update([str(photos)])
    (own,) = Index.open(tmp_path / "own.idx").search("a cat", 1, min_score=None)
    (given,) = made.search("a cat", 1, min_score=None)
    assert own.image == given.image
    assert own.score == pytest.approx(given.score, abs=1e-5)


def test_another_model_is_refused(full: Index, photos: Path):
    other = tiny_clip(embed_dim=16, vocab_size=49408, context_length=24, text_layers=3)
    embedder = Embedder.from_model(other, Tokenizer.clip(), device="cpu")
    wrong = Index.open(full.store.directory, embedder)
    with pytest.raises(DataError, match="got another model"):
        wrong.search("a cat")
    with pytest.raises(DataError, match="got another model"):
        wrong.update([str(photos)])


def test_creating_twice_opens(full: Index, lens: Embedder):
    assert len(Index.create(full.store.directory, lens, "tiny")) == 6


def test_directories_with_other_files_are_refused(tmp_path: Path, photos: Path, lens: Embedder):
    with pytest.raises(DataError, match=r"other files \(1.png\)"):
        Index.create(photos, lens, "tiny")
    with pytest.raises(DataError, match="got a file"):
        Index.create(photos / "1.png", lens, "tiny")


def test_compaction_keeps_answers(full: Index, photos: Path):
    before = full.search("a cat", min_score=None)
    (photos / "5.png").unlink()
    full.update()
    assert full.compact() == 1
    after = full.search("a cat", min_score=None)
    assert names(after) == [name for name in names(before) if name != "5.png"]


def test_readers_get_whole_answers_while_a_writer_works(full: Index, photos: Path, lens: Embedder):
    """Every result's score is that of the image at its path, whatever the writer is doing."""
    truth = dict(zip(
        [str(path) for path in sorted(photos.iterdir())],
        lens.score(sorted(photos.iterdir()), "a cat")[:, 0], strict=True,
    ))  # fmt: skip
    errors: list[str] = []
    stop = threading.Event()

    def read() -> None:
        reader = Index.open(full.store.directory, lens)
        while not stop.is_set():
            for result in reader.search("a cat", min_score=None):
                if abs(truth[result.image] - result.score) > 1e-4:
                    errors.append(f"{result.image}: {result.score}")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        full.remove([str(photos / f"{n}.png") for n in (1, 3)])
        full.compact()
        full.update([str(photos)])
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(full) == 6
