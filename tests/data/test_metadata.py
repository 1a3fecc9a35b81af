"""Metadata that nobody asked for: it costs no pair of image and text, and is counted."""

import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.data.cases_metadata import BESIDE, FIELDS, RAW, VALUES, documents
from tests.data.made import epoch, greys, image, pairs, tokens, write_files, write_tar
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.errors import DataError

Files = dict[str, bytes]

UNREAD = {name for name in RAW if name not in ("bom", "utf-16", "nan")}
"""Those that are no JSON object in any of Unicode's encodings."""


def opened(kind: str, root: Path, samples: Mapping[str, Files]) -> Dataset:
    """Samples by their names, in a tar or a folder."""
    files = {f"{key}.{ext}": data for key, own in samples.items() for ext, data in own.items()}
    if kind == "tar":
        return open_dataset(write_tar(root / "00000.tar", files))
    return open_dataset(write_files(root, files))


def described(document: bytes, number: int, **others: bytes) -> Files:
    return {"png": image(number), "txt": f"text {number}".encode(), "json": document, **others}


def captions_of(document: object, text: str) -> list[str]:
    """What a sample says: a list of texts in its JSON, else its own text."""
    listed = document.get("captions") if isinstance(document, dict) else None
    if isinstance(listed, list) and listed and all(isinstance(one, str) for one in listed):
        return listed
    return [text]


def odd_fields(document: dict[str, Any], kind: str) -> Counter[str]:
    """The fields that a sample's reader looks at and finds of another kind."""
    odd: Counter[str] = Counter()
    for name, value in document.items():
        texts = value if isinstance(value, list) else [value]
        named = not isinstance(value, list | dict | float | bool | None) and value != ""
        if name == "captions":
            odd[name] = not isinstance(value, list) or not all(isinstance(t, str) for t in texts)
        elif name == "concept":
            odd[name] = not isinstance(value, str)
        elif name == "label" and kind == "tar":
            odd[name] = not named
        elif name == "labels" and kind == "tar":
            plain = all(isinstance(t, str | int) and not isinstance(t, bool) for t in texts)
            odd[name] = not (isinstance(value, list) and plain)
    if "label" in document and not odd["label"]:
        del odd["labels"]  # is not looked at
    return +odd


kinds = pytest.mark.parametrize("kind", ["tar", "folder"])


@kinds
def test_every_document_leaves_the_caption(kind: str, tmp_path: Path):
    named = documents()
    samples = {f"{n:04d}": described(one, n) for n, one in enumerate(named.values())}
    dataset = opened(kind, tmp_path, samples)
    assert (len(dataset.samples), dataset.left_out.total) == (len(named), 0)
    found = dict(zip(named, dataset.samples, strict=True))
    listed = 'captions=["cat", "cat"]'
    expected = {name: (f"text {n}",) for n, name in enumerate(named)} | {listed: ("cat", "cat")}
    assert {name: sample.captions for name, sample in found.items()} == expected
    unread = ("JSON that cannot be read as an object",)
    assert {name for name, one in found.items() if one.passed_over == unread} == UNREAD
    assert all(one.metadata["width"] == 12 for name, one in found.items() if "=" in name)
    assert found["bom"].metadata == {"width": 3}
    assert found["utf-16"].metadata == {"titre": "été"}
    batch = epoch(dataset)
    assert batch.bad_samples == ()
    assert pairs(batch) == [(n, tokens(text[0])) for n, text in enumerate(expected.values())]


@kinds
@pytest.mark.parametrize("field", FIELDS)
def test_what_is_of_another_kind_is_kept_and_counted(field: str, kind: str, tmp_path: Path):
    samples = {
        f"{n:04d}": described(json.dumps({field: v}).encode(), n) for n, v in enumerate(VALUES)
    }
    for value, sample in zip(VALUES, opened(kind, tmp_path, samples).samples, strict=True):
        odd = odd_fields({field: value}, kind)
        counted = [one for one in sample.passed_over if one.startswith("metadata")]
        assert counted == [f"metadata {field!r} of another kind"] * odd[field]
        if odd[field]:
            assert sample.metadata == {field: value}


@kinds
def test_files_beside_that_nobody_reads(kind: str, tmp_path: Path):
    beside = {
        n: pair for n, pair in enumerate(BESIDE.items()) if kind == "tar" or "png" not in pair[0]
    }
    samples = {f"{n}": described(b"{}", n, **{ext: data}) for n, (ext, data) in beside.items()}
    dataset = opened(kind, tmp_path, samples)
    assert pairs(epoch(dataset)) == [(n, tokens(f"text {n}")) for n in beside]
    assert epoch(dataset).bad_samples == ()
    assert dataset.left_out.total == (
        0 if kind == "tar" else len(beside)
    )  # a folder's strange files


def generated(seed: int) -> tuple[dict[str, Files], list[object]]:
    """A sample set whose metadata is drawn from the lists, and the documents that were drawn."""
    rng = random.Random(seed)
    samples: dict[str, Files] = {}
    drawn: list[object] = []
    for number in range(rng.randint(4, 7)):
        fields = rng.sample(FIELDS, rng.randint(1, len(FIELDS)))
        document: object = {field: rng.choice(VALUES) for field in fields}
        data = json.dumps(document).encode()
        if rng.random() < 0.3:
            document, data = None, rng.choice(list(RAW.values()))
        exts = [
            ext for ext in rng.sample(list(BESIDE), rng.randint(0, 3)) if seed % 2 or "." not in ext
        ]
        samples[f"{number:03d}"] = described(data, number, **{ext: BESIDE[ext] for ext in exts})
        drawn.append(document)
    return samples, drawn


@pytest.mark.parametrize("seed", range(200))
def test_every_pair_of_a_generated_set_is_trained_on(seed: int, tmp_path: Path):
    samples, drawn = generated(seed)
    kind = "tar" if seed % 2 else "folder"
    if seed % 4 < 2:  # a list of classes that none of these is in
        write_files(tmp_path, {"classnames.txt": "ant\nbee\n"})
    dataset = opened(kind, tmp_path, samples)
    batch = epoch(dataset)
    assert batch.bad_samples == ()
    expected = [(n, tokens(captions_of(one, f"text {n}")[0])) for n, one in enumerate(drawn)]
    assert pairs(batch) == expected
    for document, sample in zip(drawn, dataset.samples, strict=True):
        odd = odd_fields(document, kind) if isinstance(document, dict) else Counter[str]()
        reasons = {f"metadata {name!r} of another kind" for name in odd}
        assert reasons <= set(sample.passed_over)
        kept = {name for name in odd if name in sample.metadata}
        assert kept == set(odd)


def test_labels_are_looked_at_where_classes_are_asked_for(tmp_path: Path):
    write_files(tmp_path, {"classnames.txt": "ant\nbee\n"})
    for label in (7, "wasp", 99999999999999999999):
        samples = {"0": described(json.dumps({"label": label}).encode(), 0)}
        samples["1"] = described(b'{"label": "bee"}', 1)
        dataset = opened("tar", tmp_path, samples)
        assert [sample.captions for sample in dataset.samples] == [("text 0",), ("text 1",)]
        assert (greys(dataset), dataset.templates, epoch(dataset).bad_samples) == ([0, 1], (), ())
        first = dataset.samples[0]
        if label == "wasp":
            assert (first.label, first.metadata, first.passed_over) == ("wasp", {}, ())
        else:
            assert (first.label, first.metadata) == (None, {"label": label})
            assert first.passed_over == ("class that cannot be used",)
        with pytest.raises(DataError, match=f"sample 0: got the class '{label}', expected"):
            _ = dataset.classnames


@kinds
@pytest.mark.parametrize("field", ["caption", "concept", "label", "width"])
def test_half_a_character(field: str, kind: str, tmp_path: Path):
    halves = [b"\\ud83d \\uDE00", b"\xed\xa0\xbd \xed\xb8\x80", b"\\ud83d\\ude00"]
    files = {
        str(n): {
            "png": image(n),
            "json": b'{"text": "a %s", "%s": "%s"}' % (half, field.encode(), half),
        }
        for n, half in enumerate(halves)
    }
    dataset = opened(kind, tmp_path, files)
    assert [one.captions for one in dataset.samples] == [("a ? ?",), ("a ? ?",), ("a \U0001f600",)]
    assert epoch(dataset).bad_samples == ()
    assert [len(label.encode()) for label in dataset.classnames] in ([], [3, 4])


@pytest.mark.parametrize("label", [-1, "", None, 0.5, True, {"a": 1}, [[1]], [-1]])
def test_what_is_no_label(label: object, tmp_path: Path):
    for field in ("label", "labels"):
        samples = {"0": described(json.dumps({field: label}).encode(), 0)}
        dataset = opened("tar", tmp_path, samples)
        assert (dataset.samples[0].labels, dataset.classnames) == ((), ())
