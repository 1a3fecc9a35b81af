"""Features on disk: the same as computed, kept by what decides them, and damage is noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import tiny_clip
from twinlens import Embedder
from twinlens.data.datasets import Dataset, Sample
from twinlens.embed import dataset
from twinlens.embed.dataset import ImageTransform, embed_dataset
from twinlens.embed.feature_cache import FeatureCache
from twinlens.eval.context import EvalContext
from twinlens.text.clip_bpe import Tokenizer


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch):
    """Twelve images are three parts."""
    monkeypatch.setattr(dataset, "CHUNK_SIZE", 5)


def embed(store: FeatureCache | None, lens: Embedder, dataset: Dataset, **options: object):
    return embed_dataset(
        lens,
        dataset.samples,
        dataset.name,
        cache=store,
        **options,  # pyright: ignore[reportArgumentType]
    )


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def forbid(lens: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*_: object, **__: object):
        raise AssertionError("computed again")

    for name in ("probe_features", "embed_texts", "zero_shot_classifier"):
        monkeypatch.setattr(lens, name, computed)


def test_what_is_kept_is_what_was_computed(
    lens: Embedder, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = embed(None, lens, dataset)
    first = FeatureCache(tmp_path, lens)
    embed(first, lens, dataset)
    assert first.num_computed == 12
    assert len(files_of(tmp_path)) == 3
    monkeypatch.setattr(lens, "probe_features", None)
    second = FeatureCache(tmp_path, lens)
    again = embed(second, lens, dataset)
    assert second.num_computed == 0
    np.testing.assert_array_equal(again.features, plain.features)
    np.testing.assert_array_equal(again.embeddings, plain.embeddings)
    assert [one.key for one in again.samples] == [one.key for one in dataset.samples]


def test_embeddings_are_those_of_the_images(lens: Embedder, dataset: Dataset):
    images = [sample.image_bytes() for sample in dataset.samples]
    found = embed(None, lens, dataset)
    np.testing.assert_array_equal(found.embeddings, lens.embed_images(images))
    assert found.features.shape == (12, 32)  # before the projection to 8


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_said_and_made_again(
    lens: Embedder, dataset: Dataset, tmp_path: Path, damage: str
):
    whole = embed(FeatureCache(tmp_path, lens), lens, dataset)
    path = files_of(tmp_path)[1]
    data = path.read_bytes()
    bad = (
        data[: len(data) // 2] if damage == "cut" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    )
    assert bad != data
    path.write_bytes(bad)
    store = FeatureCache(tmp_path, lens)
    with pytest.warns(UserWarning, match=f"{path.name}: got .*, expected a whole file"):
        again = embed(store, lens, dataset)
    assert store.num_computed == 5
    np.testing.assert_array_equal(again.features, whole.features)
    mended = FeatureCache(tmp_path, lens)
    embed(mended, lens, dataset)
    assert mended.num_computed == 0


def test_a_killed_evaluation_goes_on_where_it_was(lens: Embedder, dataset: Dataset, tmp_path: Path):
    def stop(done: int, total: int, what: str = "") -> None:
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(FeatureCache(tmp_path, lens), lens, dataset, progress=stop)
    assert len(files_of(tmp_path)) == 2
    store = FeatureCache(tmp_path, lens)
    embed(store, lens, dataset)
    assert store.num_computed == 2


def test_another_model_data_set_precision_or_change_has_its_own(
    lens: Embedder, dataset: Dataset, tmp_path: Path
):
    fewer = replace(dataset, samples=list(dataset.samples)[:11])
    model = tiny_clip()
    model.image_tower.class_embedding.data += 1  # pyright: ignore[reportAttributeAccessIssue]
    others = [
        (lens, dataset, None),
        (lens, fewer, None),
        (Embedder.from_model(model, Tokenizer.clip(), device="cpu"), dataset, None),
        (
            Embedder.from_model(tiny_clip(), Tokenizer.clip(), device="cpu", precision="bf16"),
            dataset,
            None,
        ),
        (
            Embedder.from_model(tiny_clip(), Tokenizer.clip(), device="cpu", decode="exact"),
            dataset,
            None,
        ),
        (lens, dataset, ImageTransform(name="dark", apply=lambda pixels, _: pixels // 2)),
    ]
    for own, images, change in others:
        store = FeatureCache(tmp_path, own)
        embed(store, own, images, transform=change)
        assert store.num_computed == len(images.samples)
    assert len(list(tmp_path.iterdir())) == len(others)


def test_changes_are_seen_by_the_model(lens: Embedder, dataset: Dataset):
    places: list[int] = []

    def darken(pixels: np.ndarray, place: int) -> np.ndarray:
        places.append(place)
        assert pixels.shape == (32, 32, 3)
        return np.zeros_like(pixels)

    found = embed(None, lens, dataset, transform=ImageTransform(name="dark", apply=darken))
    assert places == list(range(12))
    assert np.ptp(found.features, axis=0).max() < 1e-5  # all images are black


def test_unreadable_images_are_kept_as_such(lens: Embedder, dataset: Dataset, tmp_path: Path):
    path = tmp_path / "bad.png"
    path.write_bytes(b"no image")
    samples = [*list(dataset.samples) * 9, Sample(key="bad", source=path, label="red")]
    many = replace(dataset, samples=samples)
    first = embed(FeatureCache(tmp_path / "store", lens), lens, many)
    again = embed(FeatureCache(tmp_path / "store", lens), lens, many)
    assert list(first.unreadable) == ["bad"]
    assert again.unreadable == first.unreadable
    assert len(again.samples) == 108
    assert again.indices.tolist() == list(range(108))


def test_a_image_that_could_not_be_read_is_tried_again(
    lens: Embedder, dataset: Dataset, tmp_path: Path
):
    path = tmp_path / "late.png"
    good = Path(str(dataset.samples[0].source)).read_bytes()
    path.write_bytes(bytes(len(good)))  # of the same size: the same data set to the fingerprint
    samples = [*list(dataset.samples) * 9, Sample(key="late", source=path, label="red")]
    many = replace(dataset, samples=samples)
    assert list(embed(FeatureCache(tmp_path / "store", lens), lens, many).unreadable) == ["late"]
    path.write_bytes(good)
    again = embed(FeatureCache(tmp_path / "store", lens), lens, many)
    assert again.unreadable == {}
    assert len(again.samples) == 109


def test_texts_are_computed_once(lens: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts, names, prompts = ["a cat", "two dogs"], ["red", "blue"], ["a {}", "the {}"]
    features = EvalContext(lens, FeatureCache(tmp_path, lens))
    embeddings, cut = features.embed_texts([*texts, "long " * 100])
    np.testing.assert_allclose(embeddings[:2], lens.embed_texts(texts), atol=1e-6)
    assert cut == 1
    weight = features.zero_shot_classifier(names, prompts)
    np.testing.assert_array_equal(weight, lens.zero_shot_classifier(names, prompts))
    forbid(lens, monkeypatch)
    again = EvalContext(lens, FeatureCache(tmp_path, lens))
    np.testing.assert_array_equal(again.embed_texts([*texts, "long " * 100])[0], embeddings)
    np.testing.assert_array_equal(again.zero_shot_classifier(names, prompts), weight)
    with pytest.raises(AssertionError, match="computed again"):
        again.zero_shot_classifier(names, ["a {}", "one {}"])
    with pytest.raises(AssertionError, match="computed again"):
        again.zero_shot_classifier(["red blue", ""], prompts)


def test_a_data_set_is_read_once_for_all_tasks(
    lens: Embedder, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    told: list[tuple[int, int, str]] = []

    def tell(done: int, total: int, what: str = "") -> None:
        told.append((done, total, what))

    features = EvalContext(lens, progress=tell, expected_images=24)
    first = features.embed_dataset(dataset)
    assert told == [(5, 24, "noise"), (10, 24, "noise"), (12, 24, "noise")]
    monkeypatch.setattr(lens, "probe_features", None)
    assert features.embed_dataset(dataset) is first
