"""Data sets of the hub, from a cache laid out as huggingface_hub lays it out."""

import io
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub import errors as hub_errors
from PIL import Image

from twinlens.data.datasets import open_dataset
from twinlens.data.sources import hub_datasets
from twinlens.data.sources.hub_datasets import choose_files
from twinlens.data.webdataset.shards import write_shard
from twinlens.errors import DataError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of `org/birds` in a cache, without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "datasets--org--birds"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    return snapshot


def write_split(snapshot: Path, split: str, captions: list[str]) -> None:
    folder = snapshot / "data"
    folder.mkdir(exist_ok=True)
    table = pyarrow.table(
        {"image": [{"bytes": image(), "path": "x.png"}] * len(captions), "text": captions}
    )
    parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def test_parquet_from_the_cache(offline: Path):
    write_split(offline, "train", ["a robin", "a wren"])
    for spec in ("hf://datasets/org/birds", "hf://datasets/org/birds@main/train"):
        dataset = open_dataset(spec)
        assert [sample.captions for sample in dataset.samples] == [("a robin",), ("a wren",)]
        assert dataset.samples[1].image_bytes() == image()
    assert open_dataset("hf://datasets/org/birds").name == "org/birds"


def test_one_of_several_splits_must_be_named(offline: Path):
    write_split(offline, "train", ["a robin"])
    write_split(offline, "test", ["a wren"])
    with pytest.raises(
        DataError,
        match="got the splits 'test', 'train', expected one: hf://datasets/org/birds/test",
    ):
        open_dataset("hf://datasets/org/birds")
    dataset = open_dataset("hf://datasets/org/birds/test")
    assert dataset.samples[0].captions == ("a wren",)
    assert dataset.name == "org/birds/test"
    with pytest.raises(DataError, match="no split, folder or file 'val', expected one of 'test'"):
        open_dataset("hf://datasets/org/birds/val")


def test_tars_with_their_class_names(offline: Path):
    (offline / "test").mkdir()
    write_shard(offline / "test" / "00000.tar", [("s0", {"png": image(), "cls": b"1"})])
    (offline / "classnames.txt").write_text("robin\nwren\n")
    dataset = open_dataset("hf://datasets/org/birds/test")
    assert dataset.classnames == ("robin", "wren")
    assert dataset.samples[0].label == "wren"


def test_without_a_network_and_a_cache(offline: Path):
    with pytest.raises(
        DataError, match=r"org/other: the hub cannot be reached.*give its directory"
    ):
        open_dataset("hf://datasets/org/other")
    with pytest.raises(DataError, match=r"expected Parquet files or tars in them"):
        open_dataset("hf://datasets/org/birds")


@pytest.mark.parametrize("spec", ["hf://datasets/org", "hf://datasets/", "hf://datasets/a@b/c"])
def test_malformed_names(spec: str):
    with pytest.raises(DataError, match=r"expected hf://datasets/org/name\[@revision\]\[/split\]"):
        open_dataset(spec)


def test_names_that_the_hub_refuses(offline: Path):
    with pytest.raises(DataError, match="hf://datasets/a b/c: "):
        open_dataset("hf://datasets/a b/c")


def test_with_a_network_only_the_chosen_files_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: dict[str, object] = {}

    def fetch(repo_id: str, **options: object) -> str:
        asked.update(options, repo_id=repo_id)
        write_split(tmp_path, "test", ["a wren"])
        return str(tmp_path)

    listed = [
        "README.md",
        "run.py",
        "data/train-0-of-1.parquet",
        "data/test-00000-of-00001.parquet",
    ]
    monkeypatch.setattr(HfApi, "list_repo_files", lambda *_, **__: listed)
    monkeypatch.setattr(hub_datasets, "snapshot_download", fetch)
    spec = "hf://datasets/org/birds@refs%2Fconvert%2Fparquet/test"
    assert len(open_dataset(spec).samples) == 1
    assert asked["repo_id"] == "org/birds"
    assert asked["repo_type"] == "dataset"
    assert asked["revision"] == "refs/convert/parquet"
    assert asked["allow_patterns"] == [
        "data/test-00000-of-00001.parquet",
        "classnames.txt",
        "*/classnames.txt",
        "zeroshot_classification_templates.txt",
        "*/zeroshot_classification_templates.txt",
        "dataset_type.txt",
        "*/dataset_type.txt",
    ]


def test_a_data_set_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch):
    def missing(*_: object, **__: object) -> list[str]:
        raise hub_errors.RevisionNotFoundError.__new__(hub_errors.RevisionNotFoundError)

    monkeypatch.setattr(HfApi, "list_repo_files", missing)
    with pytest.raises(DataError, match="the hub has no such public data set or revision"):
        open_dataset("hf://datasets/org/birds@v9")


@pytest.mark.parametrize(
    ("files", "part", "chosen"),
    [
        (["default/test/0000.parquet", "default/train/0000.parquet"], "default/test", 1),
        (["default/test/0000.parquet", "default/test/0001.parquet"], "", 2),
        (["train/0.tar", "test/0.tar", "test/1.tar"], "test", 2),
        (["00000.tar", "00001.tar"], "", 2),
        (["a.parquet", "b.parquet"], "b.parquet", 1),
        (["data/test-00000-of-00001-0123456789abcdef.parquet"], "test", 1),
        (["data/x.tar", "data/y.parquet"], "", 1),
        (["en/test-00000-of-00001.parquet", "de/test-00000-of-00001.parquet"], "de/test", 1),
        (["en/test-00000-of-00001.parquet", "de/test-00000-of-00001.parquet"], "de", 1),
    ],
)
def test_layouts_of_repositories(files: list[str], part: str, chosen: int):
    assert len(choose_files(files, part, "s")) == chosen
