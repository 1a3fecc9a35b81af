"""Measured by several processes, each its share: the result is that of one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.distributed import ProcessGroup

import twinlens
from tests.processes import run_processes
from twinlens import Embedder
from twinlens.checkpoints.head import ClassifierHead, save_head
from twinlens.checkpoints.native import save_model
from twinlens.data.datasets import Dataset, Sample
from twinlens.data.splits import DatasetSplits
from twinlens.distributed.world import World
from twinlens.embed.feature_cache import FeatureCache
from twinlens.errors import DataError
from twinlens.eval.context import EvalContext
from twinlens.eval.suite import EvalOptions, run_suite
from twinlens.eval.tasks import classifier, zero_shot
from twinlens.eval.tasks.classification import ClassificationResult

CLASSES = ("blue", "green", "red", "yellow", "pink")


@pytest.fixture
def model(lens: Embedder, tmp_path: Path) -> Path:
    """The tiny model with a classifier that knows nothing."""
    weight = np.random.default_rng(0).normal(size=(16, len(CLASSES)))
    save_model(lens.model, tmp_path / "model")
    save_head(ClassifierHead(CLASSES, weight.astype(np.float32)), tmp_path / "model")
    return tmp_path / "model"


def measured(world: World, model: Path, dataset: Dataset) -> list[ClassificationResult]:
    context = EvalContext(twinlens.load(model, device="cpu", precision="fp32"), world=world)
    return [
        zero_shot.evaluate_zero_shot(context, dataset, templates=["a {}", "the {}"]),
        zero_shot.evaluate_zero_shot(context, dataset, language="de"),
        classifier.evaluate_head(context, dataset),
    ]


def settled(results: list[ClassificationResult]) -> list[ClassificationResult]:
    """Without what a batch's rounding decides: how sure a model is, to the seventh digit."""
    return [
        replace(
            one,
            metrics={key: value for key, value in one.metrics.items() if key != "ece"},
            intervals={key: value for key, value in one.intervals.items() if key != "ece"},
            most_confident_errors=[],
        )
        for one in results
    ]


def assert_same(found: list[list[ClassificationResult]], alone: list[ClassificationResult]) -> None:
    for results in found:
        assert settled(results) == settled(alone)
        for one, other in zip(results, alone, strict=True):
            assert one.metrics["ece"] == pytest.approx(other.metrics["ece"], abs=1e-5)
            assert one.evidence.samples_digest == other.evidence.samples_digest
            for key, right in one.evidence.correct.items():
                np.testing.assert_array_equal(right, other.evidence.correct[key])


def in_a_world(group: ProcessGroup, model: Path, dataset: Dataset) -> list[ClassificationResult]:
    return measured(World(group.rank(), group.size(), 0, group), model, dataset)


@pytest.mark.parametrize(("processes", "images"), [(2, 12), (2, 11), (3, 10), (3, 2)])
def test_the_result_is_that_of_one_process(
    model: Path, dataset: Dataset, processes: int, images: int
):
    few = replace(dataset, samples=list(dataset.samples)[:images])
    alone = measured(World(), model, few)
    assert alone[0].num_samples == images
    found = run_processes(in_a_world, processes, model, few)
    assert len(found) == processes
    assert_same(found, alone)


def unreadable(dataset: Dataset, folder: Path, count: int, good: int) -> Dataset:
    """Some bad images between many good ones."""
    samples = list(dataset.samples) * good
    for number in range(count):
        path = folder / f"{number}.png"
        path.write_bytes(b"not an image")
        samples.insert(5 * number, Sample(key=f"bad {number}", source=path, label="red"))
    return replace(dataset, samples=samples)


def test_bad_images_are_listed_in_the_order_of_the_data(
    model: Path, dataset: Dataset, tmp_path: Path
):
    many = unreadable(dataset, tmp_path, 3, good=40)
    alone = measured(World(), model, many)
    assert list(alone[2].unreadable) == ["bad 0", "bad 1", "bad 2"]
    found = run_processes(in_a_world, 2, model, many)
    assert_same(found, alone)
    assert list(found[1][2].unreadable) == ["bad 0", "bad 1", "bad 2"]


def refused(group: ProcessGroup, model: Path, dataset: Dataset) -> str:
    with pytest.raises(DataError) as raised:
        in_a_world(group, model, dataset)
    return str(raised.value)


def test_too_many_bad_images_are_an_error_everywhere(model: Path, dataset: Dataset, tmp_path: Path):
    few = unreadable(dataset, tmp_path, 2, good=10)
    messages = run_processes(refused, 2, model, few)
    assert messages[0] == messages[1]
    assert "2 of 122 images cannot be read, expected at most 1%" in messages[0]
    nothing = replace(dataset, samples=[])
    assert (
        run_processes(refused, 2, model, nothing)
        == ["noise: got no labelled images, expected at least one"] * 2
    )


def features_in_a_world(
    group: ProcessGroup, model: Path, dataset: Dataset, folder: Path
) -> tuple[dict[str, float], int]:
    lens = twinlens.load(model, device="cpu", precision="fp32")
    store = FeatureCache(folder, lens)
    features = EvalContext(lens, store, World(group.rank(), group.size(), 0, group))
    [(result, _)] = run_suite(features, [DatasetSplits(name="noise", test=dataset)], EvalOptions())
    assert len(features.embed_dataset(dataset).samples) == result.num_samples
    return result.metrics, store.num_computed


def test_processes_share_the_images_and_the_files(
    model: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    many = replace(dataset, samples=list(dataset.samples) * 100)  # 1,200: three files
    lens = twinlens.load(model, device="cpu", precision="fp32")
    [(alone, _)] = run_suite(
        EvalContext(lens), [DatasetSplits(name="noise", test=many)], EvalOptions()
    )
    first, second = run_processes(features_in_a_world, 2, model, many, tmp_path / "kept")
    assert first[1] + second[1] == 1200 + 2 * 2 + 2  # texts: names by turns, prompts in both
    assert second[1] > 400
    for metrics, _ in (first, second):
        assert metrics["acc1"] == alone.metrics["acc1"]
        assert metrics["ece"] == pytest.approx(alone.metrics["ece"], abs=1e-5)
    again = run_processes(features_in_a_world, 2, model, many, tmp_path / "kept")
    assert [computed for _, computed in again] == [0, 0]
