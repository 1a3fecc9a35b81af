"""The paper's data sets: complete, consistent with themselves and with what the paper says."""

import hashlib
from collections import Counter
from importlib.resources import files

import pytest

from twinlens.errors import DataError, UnknownNameError
from twinlens.eval.paper_sets import (
    PaperDataset,
    find_paper_dataset,
    paper_datasets,
    paper_metric_key,
)

EVERY = [pytest.param(one, id=name) for name, one in paper_datasets().items()]

TWICE = {"missile", "sunglasses"}
"""ImageNet's names that OpenAI published for two classes each."""


def test_there_are_27_and_they_lie_together():
    assert len(paper_datasets()) == 27
    assert all(name == one.name for name, one in paper_datasets().items())
    assert len({one.title for one in paper_datasets().values()}) == 27


@pytest.mark.parametrize("one", EVERY)
def test_a_data_set_is_whole(one: PaperDataset):
    assert one.templates
    assert all(template.count("{}") == 1 for template in one.templates)
    assert len(set(one.templates)) == len(one.templates)
    assert one.train > 0
    assert one.test >= 500
    assert one.source[-4:].isdigit()
    if one.name != "birdsnap":
        assert len(one.classnames) == one.classes
    every = [name for names in one.class_synonyms for name in names]
    assert all(name and name == name.strip() for name in every)
    repeated = {name for name, times in Counter(every).items() if times > 1}
    assert repeated == (TWICE if one.name == "imagenet1k" else set())


def test_measures_are_the_paper_s():
    by_metric: dict[str, set[str]] = {}
    for name in paper_datasets():
        by_metric.setdefault(paper_metric_key(name), set()).add(name)
    assert len(by_metric.pop("acc1")) == 20
    assert by_metric == {
        "mean_per_class_recall": {"fgvc_aircraft", "pets", "caltech101", "flowers"},
        "mean_average_precision": {"voc2007_multilabel"},
        "roc_auc": {"hateful_memes"},
        "mean_acc1_acc5": {"kinetics700"},
    }


def test_openai_s_texts_are_as_published():
    assert find_paper_dataset("food101").templates == ("a photo of {}, a type of food.",)
    assert find_paper_dataset("gtsrb").templates[0] == 'a zoomed in photo of a "{}" traffic sign.'
    assert find_paper_dataset("caltech101").classnames[:3] == (
        "background",
        "off-center face",
        "centered face",
    )
    assert find_paper_dataset("pets").classnames[11:14] == (
        "Sphynx",
        "american bulldog",
        "american pit bull terrier",
    )
    assert find_paper_dataset("ucf101").classnames[36] == "Hand Stand Pushups"
    counts = {
        name: len(find_paper_dataset(name).templates)
        for name in ("kinetics700", "ucf101", "cifar10")
    }
    assert counts == {"kinetics700": 28, "ucf101": 48, "cifar10": 18}


PAGE = [
    ("Caltech101", "caltech101"),
    ("Country211", "country211"),
    ("DescribableTextures", "dtd"),
    ("EuroSAT", "eurosat"),
    ("FGVCAircraft", "fgvc_aircraft"),
    ("FacialEmotionRecognition2013", "fer2013"),
    ("Flowers102", "flowers"),
    ("Food101", "food101"),
    ("GTSRB", "gtsrb"),
    ("HatefulMemes", "hateful_memes"),
    ("KITTI", "kitti_closest_vehicle_distance"),
    ("Kinetics700", "kinetics700"),
    ("MNIST", "mnist"),
    ("OxfordPets", "pets"),
    ("PascalVOC2007", "voc2007_multilabel"),
    ("PatchCamelyon", "pcam"),
    ("RESISC45", "resisc45"),
    ("SST2", "renderedsst2"),
    ("STL10", "stl10"),
    ("SUN397", "sun397"),
    ("StanfordCars", "cars"),
    ("UCF101", "ucf101"),
]
"""Sections of OpenAI's page, in its order."""


def test_openai_s_page_is_as_long_when_rebuilt():
    """Of the real page is known what stands at characters 16,000 to 64,000, and where it ends."""
    page = "".join(section(title, find_paper_dataset(name)) for title, name in PAGE)
    unpublished = page[page.index("    'stretching leg'") : page.index("    'yoga'")]
    page = page.replace(unpublished, "").replace("    'zumba',\n", "")
    start = page.index("ound',") - 16_000
    assert page.index("    'blue circle with white right turn arrow") == start + 32_000
    assert page.index("paniel',\n    'english setter'") == start + 48_000
    assert page.index("',\n    'Lamborghini Gallardo") == start + 64_000
    assert len(page.rstrip("\n")) + len("\n\n\n") == start + 69_893


def section(title: str, one: PaperDataset) -> str:
    many = any(len(names) > 1 for names in one.class_synonyms)
    names = [repr(list(names)) if many else repr(names[0]) for names in one.class_synonyms]
    lists = ("classes", names), ("templates", [repr(template) for template in one.templates])
    parts = [f"{word} = [\n" + "".join(f"    {x},\n" for x in xs) + "]\n" for word, xs in lists]
    return f"## {title}\n\n```bash\n" + "\n".join(parts) + "```\n\n\n\n"


def test_some_classes_have_several_names():
    fer = find_paper_dataset("fer2013")
    assert fer.class_synonyms[3] == ("happy", "smiling")
    assert fer.classnames[3] == "happy"


def test_clip_benchmark_s_prefixes_are_passed_over():
    assert find_paper_dataset("wds/vtab/flowers") is find_paper_dataset("flowers")
    assert find_paper_dataset("vtab/kitti_closest_vehicle_distance").classes == 4


def test_an_unknown_name_gets_close_ones():
    with pytest.raises(UnknownNameError, match=r"unknown data set of the paper .*'flowers'"):
        find_paper_dataset("flower")
    with pytest.raises(UnknownNameError, match="'cifar10'"):
        paper_metric_key("cifar")


def test_names_that_are_not_shipped_are_said_so():
    with pytest.raises(DataError, match="birdsnap: got no class names, expected 500"):
        _ = find_paper_dataset("birdsnap").classnames


def test_the_file_is_the_one_its_readme_tells_of():
    here = files("twinlens").joinpath("assets", "benchmarks")
    digest = hashlib.sha256(here.joinpath("paper.json").read_bytes()).hexdigest()
    assert digest in here.joinpath("README.md").read_text("utf-8")
