"""The shards and images that come with the package."""

import io
import json
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from twinlens.data.webdataset.shards import ShardSample

from .fake_packages import list_all

SHARDS = Path(str(files("twinlens"))) / "assets" / "shards"
IMAGES = SHARDS.parent / "images"


def samples(part: str) -> list[tuple[ShardSample, dict[str, str]]]:
    index = list_all(SHARDS / part)
    return [(sample, json.loads(sample.read_member("json"))) for sample in index]


def test_the_ready_shards_are_small_and_counted() -> None:
    manifest = json.loads((SHARDS / "manifest.json").read_text())
    for part in ("train", "unseen-style"):
        assert len(samples(part)) == manifest["parts"][part]["images"] > 800
    assert manifest["failed"] == {}
    assert sum(path.stat().st_size for path in SHARDS.rglob("*.tar")) < 9_000_000


def test_the_unseen_style_is_unseen_and_every_label_means_one_concept() -> None:
    train = [record for _, record in samples("train")]
    unseen = [record for _, record in samples("unseen-style")]
    assert {record["style"] for record in unseen} == {"twemoji"}
    assert "twemoji" not in {record["style"] for record in train}
    assert len({record["label"] for record in unseen}) == len(unseen)
    assert {record["label"] for record in unseen} == {record["label"] for record in train}


def test_images_of_the_shards_can_be_decoded() -> None:
    for sample, _ in samples("train")[::200]:
        assert Image.open(io.BytesIO(sample.read_member("webp"))).convert("RGB").size == (64, 64)


@pytest.mark.parametrize("name", ["cat", "dog", "bicycle", "pizza", "guitar", "sailboat"])
def test_sample_images(name: str) -> None:
    with Image.open(IMAGES / f"{name}.png") as image:
        assert (image.mode, image.size) == ("RGB", (192, 192))
    assert name in {record["label"] for _, record in samples("unseen-style")}


def test_their_makers_are_named() -> None:
    attribution = (SHARDS / "ATTRIBUTION.md").read_text()
    for style in {record["style"] for _, record in samples("train")} | {"twemoji"}:
        assert f"(`{style}`)" in attribution
