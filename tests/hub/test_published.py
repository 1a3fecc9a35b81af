"""The table of published models."""

import csv
import importlib.util
import re
from pathlib import Path

import pytest

from twinlens.errors import UnknownNameError
from twinlens.hub import published
from twinlens.hub.published import TABLE, published_by_repository, published_models

ROOT = Path(__file__).parents[2]
MODELS = list(published_models().values())


def test_it_has_every_row_under_a_name_and_a_repository_of_its_own():
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(published_models()) == len(published_by_repository()) >= 60
    assert [row["name"] for row in rows] == [one.name for one in MODELS]


@pytest.mark.parametrize("one", MODELS, ids=[one.name for one in MODELS])
def test_a_row_says_what_a_user_needs(one: published.PublishedModel):
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", one.name)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", one.repository)
    assert one.layout in ("open_clip", "hf")
    assert one.licence
    assert one.architecture
    assert one.data
    assert 224 <= one.image_size <= 512
    assert 20 < one.parameters_millions < 3000
    assert (one.imagenet_acc1_percent is None) == (one.source == "")
    assert one.imagenet_acc1_percent is None or 1 < one.imagenet_acc1_percent < 90
    assert ("NC" in one.licence) == (one.restrictions == "non-commercial")


@pytest.mark.parametrize(
    ("name", "acc1"),
    [
        ("openai/RN50", 59.82),
        ("openai/ViT-B-32", 63.32),
        ("openai/ViT-L-14-336", 76.56),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 66.56),
        ("laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", 79.21),
        ("apple/DFN5B-CLIP-ViT-H-14-378", 84.37),
        ("facebook/metaclip-b32-400m", 65.58),
        ("google/siglip-base-patch16-224", 76.04),
        ("timm/ViT-B-16-SigLIP", 76.04),
        ("google/siglip2-giant-opt-patch16-384", 85.0),
        ("wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M", 41.1),
    ],
)
def test_every_family_is_there_with_its_figure(name: str, acc1: float):
    assert published_models()[name].imagenet_acc1_percent == acc1


def test_all_nine_of_openai_s_models_have_a_short_name():
    resnets = {f"openai/RN50{size}" for size in ("", "x4", "x16", "x64")} | {"openai/RN101"}
    vits = {f"openai/ViT-{size}" for size in ("B-32", "B-16", "L-14", "L-14-336")}
    assert resnets | vits <= published_models().keys()


@pytest.mark.peers
def test_repositories_in_open_clip_s_layout_are_those_that_open_clip_names():
    package = importlib.util.find_spec("open_clip")
    text = (Path(package.submodule_search_locations[0]) / "pretrained.py").read_text("utf-8")
    named = {name.strip("/") for name in re.findall(r"""hf_hub=["']([^"']+)["']""", text)}
    assert len(named) > 100
    ours = {one.repository for one in MODELS if one.layout == "open_clip"}
    assert ours - named == set()


def test_parameters_are_those_of_the_architecture():
    """One architecture has one size, whoever published the weights."""
    sizes = {(one.architecture, one.image_size, one.parameters_millions) for one in MODELS}
    assert len(sizes) == len({one.architecture for one in MODELS})
    assert published_models()["openai/ViT-B-32"].parameters_millions == 151.28


def test_a_column_that_is_not_known_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = TABLE.read_text(encoding="utf-8").replace("licence,", "license,", 1)
    (tmp_path / "models.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(published, "TABLE", tmp_path / "models.csv")
    with pytest.raises(UnknownNameError, match="did you mean 'licence'"):
        published_models.__wrapped__()


def test_the_summary_in_the_documentation_is_that_of_the_table():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = {row[1]: row for row in re.findall(r"^(\| `([\w-]+)/` \|.*)$", text, re.MULTILINE)}
    assert rows.keys() == {one.name.split("/")[0] for one in MODELS}
    for owner, (row, _) in rows.items():
        models = [one for one in MODELS if one.name.startswith(f"{owner}/")]
        figures = [one.imagenet_acc1_percent for one in models if one.imagenet_acc1_percent]
        assert [cell.strip() for cell in row.split("|")][2:5] == [
            str(len(models)),
            ", ".join(sorted({one.licence for one in models})),
            f"{min(figures):.1f}% to {max(figures):.1f}%",
        ]


def test_the_notice_says_where_the_facts_are_from():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert TABLE.relative_to(ROOT).as_posix() in notice
    for name in ("open_clip", "big_vision", "MetaCLIP", "Cream"):
        assert f"/{name}>" in notice
