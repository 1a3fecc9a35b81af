"""The lists beside a data set: each line counts."""

from pathlib import Path

import pytest

from tests.data.test_datasets import image, refused, write, write_tars
from twinlens.data.datasets import open_dataset
from twinlens.data.sources.metadata_files import distinct_labels
from twinlens.eval.prompts import imagenet_classnames, localised_classnames

PROMPTS = "zeroshot_classification_templates.txt"


def write_tar(root: Path, number: int = 0) -> Path:
    return write_tars(root, [{"png": image(), "cls": str(number).encode()}])


@pytest.mark.parametrize("text", ["ant\n\nbee\n", "ant\n \t\nbee", "\nant\nbee"])
def test_an_empty_line_would_move_the_classes_after_it(text: str, tmp_path: Path):
    line = text.splitlines().index(next(one for one in text.splitlines() if not one.strip())) + 1
    message = f"classnames.txt: line {line}: got an empty line, expected the name of a class"
    refused(write(write_tar(tmp_path / "tars"), {"classnames.txt": text}), message)
    images = {"a/1.png": image(), "b/1.png": image()}
    refused(write(tmp_path / "folders", images | {"classnames.txt": text}), message)


def test_empty_lines_at_the_end_move_nothing(tmp_path: Path):
    root = write(write_tar(tmp_path, 1), {"classnames.txt": "\ufeff ant\r\nbee \n\n \n"})
    assert open_dataset(root).classnames == ("ant", "bee")


@pytest.mark.parametrize("kind", ["tars", "folders", "table"])
def test_a_prompt_without_a_place_for_the_class(kind: str, tmp_path: Path):
    write(tmp_path, {PROMPTS: "a {}\n\na photo of {d}\n"})
    if kind == "tars":
        write_tar(tmp_path)
    elif kind == "folders":
        write(tmp_path, {"cat/1.png": image()})
    else:
        write(tmp_path, {"1.png": image(), "t.csv": "image,label\n1.png,cat\n"})
    spec = tmp_path / "t.csv" if kind == "table" else tmp_path
    refused(spec, rf"{PROMPTS}: line 3: got 'a photo of {{d}}', expected a sentence with")


def test_prompts_beside_a_table(tmp_path: Path):
    write(tmp_path, {"1.png": image(), "t.csv": "image,label\n1.png,cat\n", PROMPTS: "a {c}"})
    assert open_dataset(tmp_path / "t.csv").templates == ("a {c}",)


def test_classes_without_samples_are_kept(tmp_path: Path):
    root = write(write_tar(tmp_path, 2), {"classnames.txt": "ant\nbee\ncat\ndog"})
    assert open_dataset(root).classnames == ("ant", "bee", "cat", "dog")


def test_imagenets_list_has_two_names_twice(tmp_path: Path):
    names = imagenet_classnames()
    again = [place for place, name in enumerate(names) if name in names[:place]]
    write(tmp_path, {"classnames.txt": "\n".join(names)})
    dataset = open_dataset(
        write_tars(tmp_path, [{"png": image(), "cls": str(n).encode()} for n in again])
    )
    assert [sample.label for sample in dataset.samples] == [f"{names[n]} ({n})" for n in again]
    assert len(set(dataset.classnames)) == 1000
    assert list(localised_classnames(dataset).values()) == names


def test_labels_are_told_apart_whatever_they_are_called():
    cases = {
        ("crane", "egret", "crane"): ("crane", "egret", "crane (2)"),
        ("a", "a", "a"): ("a", "a (1)", "a (2)"),
        ("a", "a (2)", "a"): ("a", "a (2)", "a (2) (2)"),
        ("a (2)", "a", "a", "a (2)"): ("a (2)", "a", "a (2) (2)", "a (2) (3)"),
        ("A", "a", "a "): ("A", "a", "a "),
        (): (),
    }
    for names, labels in cases.items():
        assert distinct_labels(names) == labels
        assert len(set(labels)) == len(labels)
