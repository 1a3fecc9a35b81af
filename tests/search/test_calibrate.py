"""Calibration: cut-offs and probabilities of made-up collections and of the embedded model."""

from collections.abc import Sequence
from dataclasses import astuple
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import twinlens
from twinlens.data.datasets import open_dataset
from twinlens.embed.embedder import Embedder
from twinlens.errors import DataError, ShapeError
from twinlens.search import calibration_fit
from twinlens.search.calibrate import Cutoff, QueryPart, SearchCalibration, calibrate
from twinlens.search.calibration_fit import FALSE_POSITIVE_RATE, background_texts

WIDTH, KINDS = 32, 40


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


class Words:
    """A text embedder of a made-up model: "thing 3" is a direction, another text a random one."""

    def __init__(self, gap: float = 1.0) -> None:
        rng = np.random.default_rng(1)
        self.things = rng.standard_normal((KINDS, WIDTH))
        self.gap = gap * rng.standard_normal(WIDTH)  # images lie apart from texts

    def embed_texts(self, texts: Sequence[str], *, truncate: bool = False) -> np.ndarray:
        found = np.empty((len(texts), WIDTH))
        for place, text in enumerate(texts):
            first, _, rest = text.partition(" ")
            if first == "thing":
                found[place] = self.things[int(rest)]
            else:
                seed = np.frombuffer(text.encode(), np.uint8).astype(np.uint64)
                found[place] = np.random.default_rng(seed).standard_normal(WIDTH)
        return unit(found)

    def images(self, kinds: Sequence[int], seed: int = 0) -> np.ndarray:
        noise = np.random.default_rng(seed).standard_normal((len(kinds), WIDTH))
        return unit(self.things[list(kinds)] + self.gap + 0.4 * noise)


@pytest.fixture(scope="module")
def words() -> Words:
    return Words()


KINDS_OF_ROWS = [row % 20 for row in range(400)]
CAPTIONS = [f"thing {kind}" for kind in KINDS_OF_ROWS]


def answered(
    calibration: SearchCalibration, vectors: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    best = (queries @ vectors.T).max(1)
    cosines = np.array([calibration.text_cutoff(query).cosine for query in queries])
    return best >= cosines


@pytest.mark.parametrize("captions", [CAPTIONS, None])
def test_what_is_there_is_found_and_what_is_not_is_not(words: Words, captions: list[str] | None):
    vectors = words.images(KINDS_OF_ROWS)
    calibration = calibrate(vectors, words, captions)
    there = words.embed_texts([f"thing {kind}" for kind in range(20)])
    absent = words.embed_texts([f"thing {kind}" for kind in range(20, KINDS)])
    nonsense = words.embed_texts([f"nonsense {n}" for n in range(300)])
    assert answered(calibration, vectors, there).all()
    assert answered(calibration, vectors, absent).mean() <= 0.1
    assert answered(calibration, vectors, nonsense).mean() <= 0.06


def test_few_background_texts_pass(words: Words):
    vectors = words.images(KINDS_OF_ROWS)
    background = words.embed_texts(background_texts())
    for captions in (CAPTIONS, None):
        passing = answered(calibrate(vectors, words, captions), vectors, background)
        assert passing.mean() <= FALSE_POSITIVE_RATE + 1 / len(background)


def test_probabilities_grow_with_the_cosine_and_are_above_one_half_where_shown(words: Words):
    calibration = calibrate(words.images(KINDS_OF_ROWS), words, CAPTIONS)
    for query in (words.embed_texts(["thing 3"])[0], words.embed_texts(["no thing"])[0]):
        cutoff = calibration.text_cutoff(query)
        found = cutoff.probability(np.linspace(-1, 1, 50, dtype=np.float32))
        assert (np.diff(found) >= 0).all()
        assert found.min() >= 0
        assert found.max() <= 1
        assert cutoff.probability(np.array([cutoff.even])) == pytest.approx([0.5])
        assert cutoff.cosine >= cutoff.even


def test_known_words_have_a_lower_cut_off(words: Words):
    calibration = calibrate(words.images(KINDS_OF_ROWS), words, CAPTIONS)
    known, other = words.embed_texts(["thing 3", "no thing"])
    assert calibration.text_cutoff(known).cosine < calibration.text_cutoff(other).cosine


@pytest.mark.parametrize("count", [1, 2, 10, 30])
@pytest.mark.parametrize("caption", [None, "", "thing 0", "same", "each its own"])
def test_small_and_odd_collections_give_finite_numbers(
    words: Words, count: int, caption: str | None
):
    captions = [f"note {n}" if caption == "each its own" else caption for n in range(count)]
    calibration = calibrate(words.images([0] * count), words, captions)
    cutoff = calibration.text_cutoff(words.embed_texts(["thing 0"])[0])
    assert np.isfinite(astuple(cutoff)).all()
    assert cutoff.slope > 0
    assert calibration.image_slope > 0


def test_random_vectors_give_finite_numbers(words: Words):
    vectors = unit(np.random.default_rng(5).standard_normal((300, WIDTH)))
    calibration = calibrate(vectors, words, [f"note {n % 50}" for n in range(300)])
    cutoff = calibration.text_cutoff(words.embed_texts(["thing 0"])[0])
    assert np.isfinite(astuple(cutoff)).all()
    assert cutoff.slope > 0


def test_rows_that_are_no_images_do_not_count(words: Words):
    vectors = words.images(KINDS_OF_ROWS)
    live = np.arange(400) % 4 > 0
    with_holes = np.where(live[:, None], vectors, np.nan).astype(np.float32)
    captions = [text if alive else "gone" for text, alive in zip(CAPTIONS, live, strict=True)]
    found = calibrate(with_holes, words, captions, live=live)
    query = words.embed_texts(["thing 3"])[0]
    alone = calibrate(vectors[live], words, [c for c in captions if c != "gone"])
    np.testing.assert_allclose(
        astuple(found.text_cutoff(query)), astuple(alone.text_cutoff(query)), rtol=1e-4
    )


def test_images_are_found_by_images_of_their_kind(words: Words):
    vectors = words.images([row % 30 for row in range(90)])
    calibration = calibrate(vectors, words)
    same, other = words.images(range(30), seed=8), words.images(range(30, KINDS), seed=8)
    cutoff = calibration.image_cutoff(vectors[0])
    assert ((same @ vectors.T).max(1) >= cutoff.cosine).mean() >= 0.8
    assert ((other @ vectors.T).max(1) >= cutoff.cosine).mean() <= 0.1
    assert cutoff.probability(np.ones(1))[0] > 0.5


def test_a_mixture_lies_between_its_parts(words: Words):
    calibration = calibrate(words.images(KINDS_OF_ROWS), words, CAPTIONS)
    text, image = words.embed_texts(["thing 3"])[0], words.images([3], seed=9)[0]
    mixed = calibration.cutoff([QueryPart(text, "text", 0.7), QueryPart(image, "image", 0.3)])
    length = np.linalg.norm(0.7 * text + 0.3 * image)
    expected = 0.7 * calibration.text_cutoff(text).cosine + 0.3 * calibration.image_cosine
    assert mixed.cosine == pytest.approx(expected / length)
    once = calibration.text_cutoff(text)
    twice = calibration.cutoff([QueryPart(text, "text", 1), QueryPart(text, "text", 2)])
    assert astuple(twice) == pytest.approx(astuple(once), rel=1e-5)


def test_steering_away_from_something_lowers_the_cut_off_by_the_mean_image(words: Words):
    calibration = calibrate(words.images(KINDS_OF_ROWS), words, CAPTIONS)
    text, away = words.embed_texts(["thing 3", "thing 4"])
    found = calibration.cutoff([QueryPart(text, "text"), QueryPart(away, "text", -0.5)])
    length = np.linalg.norm(text - 0.5 * away)
    expected = calibration.text_cutoff(text).cosine - 0.5 * float(calibration.mean @ away)
    assert found.cosine == pytest.approx(expected / length, rel=1e-5)


def test_a_file_holds_it_whole(words: Words, tmp_path: Path):
    path = tmp_path / "calibration.npz"
    calibration = calibrate(words.images(KINDS_OF_ROWS), words, CAPTIONS)
    calibration.save(path)
    loaded = SearchCalibration.load(path)
    assert astuple(loaded)[2:] == astuple(calibration)[2:]
    np.testing.assert_array_equal(loaded.mean, calibration.mean)
    np.testing.assert_array_equal(loaded.known, calibration.known)
    assert [one.name for one in tmp_path.iterdir()] == ["calibration.npz"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off", b"\x93NUMPY nothing"])
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, content: bytes | None):
    path = tmp_path / "calibration.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"calibration\.npz: the calibration cannot be read"):
        SearchCalibration.load(path)


def test_pickles_and_other_versions_are_refused(words: Words, tmp_path: Path):
    path = tmp_path / "calibration.npz"
    np.savez(path, mean=np.array([{}], object), known=np.zeros((0, 4)), numbers=np.zeros(7))
    with pytest.raises(DataError, match="cannot be read"):
        SearchCalibration.load(path)
    np.savez(path, mean=np.zeros(4), known=np.zeros((0, 4)), numbers=np.full(7, 99.0))
    with pytest.raises(DataError, match="of this version"):
        SearchCalibration.load(path)


def test_wrong_shapes_and_empty_queries_are_refused(words: Words):
    vectors = words.images(KINDS_OF_ROWS)
    with pytest.raises(ShapeError, match="captions"):
        calibrate(vectors, words, CAPTIONS[:3])
    with pytest.raises(ShapeError, match="live"):
        calibrate(vectors, words, live=np.ones(3, bool))
    with pytest.raises(DataError, match="images"):
        calibrate(vectors[:0], words)
    calibration = calibrate(vectors, words)
    with pytest.raises(ShapeError, match="query"):
        calibration.text_cutoff(np.ones(3, np.float32))
    with pytest.raises(DataError, match="query"):
        calibration.cutoff([])
    text = vectors[0]
    with pytest.raises(DataError, match="query"):
        calibration.cutoff([QueryPart(text, "text"), QueryPart(text, "image", -1)])


def test_the_known_captions_are_the_most_frequent(words: Words, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration_fit, "KNOWN_NUMBERS", 5 * WIDTH)
    kinds = [row % 5 if row % 4 else row % 20 for row in range(400)]
    captions = [f"thing {kind}" for kind in kinds]
    known = calibrate(words.images(kinds), words, captions).known
    frequent = words.embed_texts([f"thing {kind}" for kind in range(5)])
    assert known.shape == (5, WIDTH)
    assert (known @ frequent.T).max(1) == pytest.approx(np.ones(5), abs=1e-3)


def test_the_background_texts_are_many_and_none_is_there_twice():
    texts = background_texts()
    assert len(texts) >= 500
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() != "" for text in texts)


def test_the_background_texts_are_not_those_of_the_exam():
    exam = Path(__file__).parents[2] / "bench" / "search_exam"
    asked = {line.lower() for path in exam.glob("*.txt") for line in path.read_text().splitlines()}
    assert not asked & {text.lower() for text in background_texts()}


def test_a_cutoff_does_not_overflow():
    assert Cutoff(0.3, 0.3, 1e6).probability(np.array([-1.0, 1.0])).tolist() == [0, 1]


@pytest.fixture(scope="module")
def icons() -> Embedder:
    return twinlens.load("icons")


def test_the_embedded_model_finds_icons_and_nothing_else(icons: Embedder):
    shards = Path(str(files("twinlens").joinpath("assets", "shards", "unseen-style")))
    samples = open_dataset(shards).samples[:50]
    vectors = icons.embed_images([sample.image_bytes() for sample in samples])
    names = [sample.label or "" for sample in samples]
    calibration = calibrate(vectors, icons, names)
    assert answered(calibration, vectors, icons.embed_texts(names)).mean() >= 0.8
    off_topic = ["a shareholder letter", "the laws of motion", "qpwo eiru", "SELECT 1 FROM x"]
    assert not answered(calibration, vectors, icons.embed_texts(off_topic)).any()
