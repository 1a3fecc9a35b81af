"""Every form of SPEC opened, and every way in which one can be wrong."""

import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from twinlens.data import datasets
from twinlens.data.augment import Augmentation
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.data.loader import PairLoader
from twinlens.data.samples import Source, fingerprint
from twinlens.data.webdataset import shards
from twinlens.data.webdataset.shards import write_shard
from twinlens.errors import DataError, MissingExtraError
from twinlens.images.decode import decode_image
from twinlens.text.clip_bpe import Tokenizer

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def image(value: int = 0, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (value, value, value)).save(file, kind)
    return file.getvalue()


def write(root: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def values(dataset: Dataset) -> list[int]:
    """The grey level of each image: which image it is."""
    return [
        int(np.asarray(decode_image(sample.image_bytes()))[0, 0, 0]) for sample in dataset.samples
    ]


def refused(spec: str | Path, message: str) -> None:
    def open_whole() -> None:
        dataset = open_dataset(str(spec))
        _ = dataset.classnames, dataset.templates  # classes and prompts are looked at only now

    with pytest.raises(DataError, match=message) as told:
        open_whole()
    assert "\n" not in str(told.value)


def unusable(dataset: Dataset, message: str) -> None:
    """Make sure that training on it ends in an error."""
    loader = PairLoader(
        dataset,
        Tokenizer.clip(),
        batch_size=1,
        image_size=8,
        context_length=8,
        augmentation=Augmentation(),
        seed=0,
    )
    with pytest.raises(DataError, match=message) as told:
        loader.batch(0)
    assert "\n" not in str(told.value)


# A folder per class


def test_a_folder_per_class(tmp_path: Path):
    root = write(
        tmp_path / "animals",
        {
            "dog/b.png": image(2),
            "dog/a.PNG": image(1),
            "dog/deep/er.png": image(3),
            "cat/x.png": image(4),
            "cat/notes.md": "ignored",
            "cat/.hidden.png": b"",
            ".git/y.png": b"",
            "README.md": "ignored",
        },
    )
    dataset = open_dataset(str(root))
    assert dataset.name == "animals"
    assert dataset.classnames == ("cat", "dog")
    assert [sample.label for sample in dataset.samples] == ["cat", "dog", "dog", "dog"]
    assert [sample.key for sample in dataset.samples] == [
        "cat/x.png",
        "dog/a.PNG",
        "dog/b.png",
        "dog/deep/er.png",
    ]
    assert values(dataset) == [4, 1, 2, 3]
    assert dataset.samples[0].source == root / "cat/x.png"
    assert dataset.samples[0].where == str(root / "cat/x.png")
    assert dataset.left_out.total == 1  # a README belongs to it


def test_names_and_prompts_beside_the_folders(tmp_path: Path):
    root = write(
        tmp_path,
        {
            "n01/a.png": image(),
            "n01/a.txt": "a tench\nin a pond\n",
            "n02/b.png": image(),
            "classnames.txt": "tench\ngoldfish\n",
            "zeroshot_classification_templates.txt": "a photo of {c}\n\nart of {c}",
        },
    )
    dataset = open_dataset(root)
    assert dataset.classnames == ("tench", "goldfish")
    assert dataset.templates == ("a photo of {c}", "art of {c}")
    assert dataset.samples[0].label == "tench"
    assert dataset.samples[0].captions == ("a tench", "in a pond")
    assert dataset.left_out.total == 0
    write(root, {"classnames.txt": "tench"})
    refused(root, r"classnames.txt: got 1 names, expected 2, one for each folder")
    write(root, {"classnames.txt": "tench\ntench"})
    two = open_dataset(root)
    assert two.classnames == ("tench", "tench (1)")
    assert [sample.label for sample in two.samples] == ["tench", "tench (1)"]
    assert two.spoken == {"tench (1)": "tench"}


def test_folders_that_lead_back_are_read_once(tmp_path: Path):
    root = write(tmp_path, {"cat/a.png": image()})
    (root / "cat/again").symlink_to(root / "cat", target_is_directory=True)
    (root / "dog").symlink_to(write(tmp_path.parent / "far", {"b.png": image()}))
    assert [sample.key for sample in open_dataset(root).samples] == ["cat/a.png", "dog/b.png"]


def test_folders_without_images(tmp_path: Path):
    refused(tmp_path, "got no images, expected a folder of them per class")
    write(tmp_path, {"cat/a.png": image(), "dog/b.txt": ""})
    refused(tmp_path, r"dog: got no images, expected some in each class folder")
    (tmp_path / "dog" / "a.psd").write_bytes(b"")
    refused(tmp_path, r"expected some in each class folder; 1 x Photoshop image \(.psd\)")


def test_a_folder_of_folders_of_tars_says_where_they_are(tmp_path: Path):
    write_tars(tmp_path / "first", [{"png": image()}])
    refused(tmp_path, "got no images.*there are tars in .*first")


def test_a_folder_of_tars_named_as_a_split_says_where_it_is(tmp_path: Path):
    write_tars(tmp_path / "train", [{"png": image(6)}])
    refused(tmp_path, "got the splits 'train', expected one data set; or give .*/train$")
    assert values(open_dataset(tmp_path, splits=["train"])) == [6]


# Images with same-named texts


def test_images_with_same_named_texts(tmp_path: Path):
    root = write(
        tmp_path / "mine",
        {
            "a.png": image(1),
            "a.txt": "one\n  two  \n\n",
            "b.jpg": image(200, "JPEG"),
            "lonely.txt": "without an image",
            "x.pdf": "",
        },
    )
    dataset = open_dataset(str(root))
    assert dataset.classnames == ()
    assert [sample.captions for sample in dataset.samples] == [("one", "two"), ()]
    assert [sample.label for sample in dataset.samples] == [None, None]
    assert [sample.key for sample in dataset.samples] == ["a.png", "b.jpg"]
    assert dataset.left_out.total == 2


def test_captions_must_be_utf8(tmp_path: Path):
    write(tmp_path, {"a.png": image(), "a.txt": b"\xff\xfe\xfd"})
    unusable(open_dataset(tmp_path), r"a.png: .*not UTF-8")


def test_images_beside_folders_of_images(tmp_path: Path):
    write(tmp_path, {"a.png": image(), "cat/b.png": image()})
    refused(tmp_path, "got images beside the folder 'cat' of images, expected either")


# Tables


def test_csv(tmp_path: Path):
    write(
        tmp_path,
        {
            "images/1.png": image(1),
            "2.png": image(2),
            "birds.csv": "\ufeffimage, text ,label,concept,where\r\n"
            'images/1.png,"a robin, red",robin,erithacus,Kent\r\n'
            f"\r\n{tmp_path}/2.png,,,,\r\n"
            "images/1.png,the same robin,robin,erithacus,Kent\r\n",
        },
    )
    dataset = open_dataset(str(tmp_path / "birds.csv"))
    first, second = dataset.samples
    assert dataset.name == "birds"
    assert dataset.classnames == ("robin",)
    assert first.captions == ("a robin, red", "the same robin")
    assert (first.label, first.concept, first.key) == ("robin", "erithacus", "images/1.png")
    assert first.metadata == {"where": "Kent"}
    assert (second.captions, second.label, second.concept) == ((), None, None)
    assert values(dataset) == [1, 2]


def test_tsv(tmp_path: Path):
    write(tmp_path, {"1.png": image(7), "t.tsv": "text\timage\na, b\t1.png\n"})
    dataset = open_dataset(tmp_path / "t.tsv")
    assert dataset.samples[0].captions == ("a, b",)
    assert values(dataset) == [7]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "",
            "got the columns none, expected one of images \\('image'.* 'label'; --image",
        ),
        ("file,caption\n", "got the columns 'file', 'caption', expected one of images"),
        ("image\n1.png\n", "got the columns 'image', expected"),
        ("image,text,text\n", "got the column 'text' twice"),
        ("image,text\n", "got no rows, expected at least one"),
        ("image,text\n1.png\n", r"row 1 \(line 2\): got 1 cells, expected 2"),
        ("image,text\n1.png,a,b\n", "got 3 cells, expected 2"),
        ("image,text\n ,b\n", "got no row with an image .*: 1 x row without an image: .*row 1"),
        ("image,text\nnone.png,b\n", "got no row with an image .*: 1 x image file that is missing"),
        ("image,label\n1.png,a\n1.png,b\n", "row 2: got '1.png' as 'b', expected 'a' as above"),
        ('image,text\n1.png,"open\n', "not a readable table"),
        (b"image,text\n1.png,\xff\n", "got bytes that are not UTF-8"),
        (b"image,text\n" + b"x" * 200_000, r"row 1 \(line 2\): got 1 cells, expected 2"),
    ],
)
def test_csv_that_is_wrong(table: str | bytes, message: str, tmp_path: Path):
    write(tmp_path, {"1.png": image(), "t.csv": table})
    refused(tmp_path / "t.csv", f"t.csv.*{message}")


def test_rows_whose_image_is_not_there_are_counted(tmp_path: Path):
    rows = "1.png,a\n ,b\nnone.png,c\nnone.png,d\nno/2.png,e\n"
    write(tmp_path, {"1.png": image(3), "t.csv": f"image,text\n{rows}"})
    dataset = open_dataset(tmp_path / "t.csv")
    assert [sample.captions for sample in dataset.samples] == [("a",)]
    table = tmp_path / "t.csv"
    assert dataset.left_out.lines() == [
        f"1 x row without an image: {table}: row 2",
        f"3 x image file that is missing: {table}: row 3: none.png, {table}: row 4: none.png, "
        f"{table}: row 5: no/2.png",
    ]


def test_a_url_is_no_file_that_is_missing(tmp_path: Path):
    write(tmp_path, {"t.csv": "image,text\nhttps://x.org/1.png,a\n"})
    dataset = open_dataset(tmp_path / "t.csv")
    (sample,) = dataset.samples
    assert (sample.where, sample.captions) == ("https://x.org/1.png", ("a",))
    assert dataset.left_out.total == 0


def write_parquet(path: Path, columns: Mapping[str, Any], features: Any = None, **options: Any):
    table = pyarrow.table(dict(columns))
    if features is not None:
        described = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": described})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **options)


def structs(count: int) -> list[dict[str, Any]]:
    return [{"bytes": image(number), "path": None} for number in range(count)]


def test_parquet_as_hugging_face_writes_it(tmp_path: Path):
    path = tmp_path / "t.parquet"
    features = {"label": {"names": ["zebra", "ant"], "_type": "ClassLabel"}}
    columns = {"image": structs(7), "label": [0, 1, 1, 0, 0, -1, None], "id": list(range(7))}
    write_parquet(path, columns, features, row_group_size=3)
    dataset = open_dataset(path)
    assert dataset.classnames == ("zebra", "ant")
    labels = ["zebra", "ant", "ant", "zebra", "zebra", None, None]
    assert [sample.label for sample in dataset.samples] == labels
    assert values(dataset) == list(range(7))
    assert values(Dataset(name="", samples=dataset.samples[::-1])) == list(range(7))[::-1]
    assert dataset.samples[4].metadata == {"id": 4}
    assert dataset.samples[4].where == f"{path}: row 5"


def test_parquet_of_bytes_paths_and_several_texts(tmp_path: Path):
    write_parquet(
        tmp_path / "a/0.parquet",
        {"image": [image(5)], "text": [["one", None, " two "]], "label": ["x"]},
    )
    write_parquet(tmp_path / "a/1.parquet", {"image": ["p.png"], "text": ["three"]})
    write(tmp_path, {"a/p.png": image(6)})
    dataset = open_dataset(tmp_path / "a")
    assert [sample.captions for sample in dataset.samples] == [("one", "two"), ("three",)]
    assert dataset.classnames == ("x",)
    assert values(dataset) == [5, 6]
    assert dataset.left_out.total == 1  # the image, which is not taken for a sample of its own
    assert dataset.name == "a"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"drawing": ["a"], "text": ["b"]}, "got the columns 'drawing', 'text', expected one of"),
        ({"image": [3], "text": ["b"]}, "got 'image' of type int64, expected paths or encoded"),
        (
            {"image": [None, "p"], "label": ["a", "b"]},
            "1 x row without an image: .*row 1; 1 x image",
        ),
    ],
)
def test_parquet_that_is_wrong(columns: Any, message: str, tmp_path: Path):
    write_parquet(tmp_path / "t.parquet", columns)
    refused(tmp_path / "t.parquet", f"t.parquet.*{message}")


@pytest.mark.parametrize(("name", "value"), [("text", 3), ("label", 0.5), ("concept", 7)])
def test_cells_of_another_kind_are_passed_over(name: str, value: object, tmp_path: Path):
    columns = {"image": [image(4)], "caption": ["a cat"], name: [value]}
    write_parquet(tmp_path / "t.parquet", columns)
    dataset = open_dataset(tmp_path / "t.parquet")
    (sample,) = dataset.samples
    assert (sample.captions, sample.label, sample.concept) == (("a cat",), None, None)
    assert sample.metadata == {name: value}
    assert sample.passed_over == (f"metadata {name!r} of another kind",)
    assert (dataset.classnames, values(dataset)) == ((), [4])


def test_parquet_with_a_class_number_beyond_its_names(tmp_path: Path):
    features = {"label": {"names": ["a", "b"]}}
    write_parquet(tmp_path / "t.parquet", {"image": [b"x"], "label": [2]}, features)
    refused(tmp_path / "t.parquet", "row 1: got class 2, expected 0 to 1")


def test_parquet_with_an_empty_image(tmp_path: Path):
    path = tmp_path / "t.parquet"
    write_parquet(path, {"image": [{"bytes": None, "path": "/etc/passwd"}], "text": ["a"]})
    sample = open_dataset(path).samples[0]
    with pytest.raises(DataError, match=r"t.parquet: row 1: got an empty 'image'"):
        sample.image_bytes()


def test_parquet_cut_short(tmp_path: Path):
    path = tmp_path / "t.parquet"
    write_parquet(path, {"image": structs(2), "text": ["a", "b"]})
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, r"t.parquet: not a whole Parquet file")


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"t.parquet": b""})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twinlens\[data\]'"):
        open_dataset(tmp_path / "t.parquet")


# Tars


def write_tars(
    folder: Path, samples: list[dict[str, bytes]], samples_per_shard: int = 100, first: int = 0
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    keyed = [(f"{number:05d}", members) for number, members in enumerate(samples, start=first)]
    for shard, start in enumerate(range(0, len(keyed), samples_per_shard)):
        write_shard(folder / f"{shard:05d}.tar", keyed[start : start + samples_per_shard])
    return folder


def told(**content: Any) -> bytes:
    return json.dumps(content).encode()


def test_tars_of_our_own(tmp_path: Path):
    described = told(
        captions=["a red cat", "une chat rouge"], label="cat", concept="c1", names={"fr": "chat"}
    )
    folder = write_tars(
        tmp_path / "set",
        [
            {"webp": image(0, "WEBP"), "json": described, "txt": b"cat"},
            {"png": image(9), "txt": b"one\ntwo\n", "json": told(label="ant", style="x")},
            {"jpg": image(99, "JPEG")},
            {"txt": b"no image"},
        ],
        samples_per_shard=2,
    )
    dataset = open_dataset(str(folder))
    one, two, three = dataset.samples
    assert dataset.name == "set"
    assert dataset.classnames == ("ant", "cat")
    assert (one.captions, one.label, one.concept) == (
        ("a red cat", "une chat rouge"),
        "cat",
        "c1",
    )
    assert one.metadata == {"names": {"fr": "chat"}}
    assert (two.captions, two.label, two.concept) == (("one", "two"), "ant", None)
    assert two.metadata == {"style": "x"}
    assert (three.captions, three.label) == ((), None)
    assert [sample.key for sample in dataset.samples] == ["00000", "00001", "00002"]
    assert three.where.endswith("00001.tar: sample 00002")
    assert values(dataset)[:2] == [0, 9]
    assert dataset.left_out.total == 1


def test_tars_of_clip_benchmark(tmp_path: Path):
    labels = [b"1", b"0\n", b"2"]
    write_tars(tmp_path / "test", [{"webp": image(), "cls": cls} for cls in labels])
    write(
        tmp_path,
        {
            "classnames.txt": "zebra\nyak\nant\n",
            "zeroshot_classification_templates.txt": "a photo of {c}.\n",
            "test/nshards.txt": "1",
        },
    )
    dataset = open_dataset(tmp_path / "test")
    assert dataset.classnames == ("zebra", "yak", "ant")
    assert [sample.label for sample in dataset.samples] == ["yak", "zebra", "ant"]
    assert dataset.templates == ("a photo of {c}.",)
    assert dataset.left_out.total == 0
    assert not dataset.multi_label
    write(tmp_path, {"classnames.txt": "zebra\nyak\n"})
    refused(tmp_path / "test", "sample 00002: got the class '2', expected a number from 0 to 1")


def test_class_numbers_without_names_are_the_labels(tmp_path: Path):
    write_tars(tmp_path, [{"webp": image(), "cls": b"7"}])
    assert open_dataset(tmp_path).classnames == ("7",)


def test_ranges_single_tars_and_joined_ones(tmp_path: Path):
    a = write_tars(tmp_path / "a", [{"png": image(n)} for n in range(5)], samples_per_shard=1)
    b = write_tars(tmp_path / "b", [{"png": image(50), "json": told(label="z")}])
    assert values(open_dataset(f"{a}/{{00001..00003}}.tar")) == [1, 2, 3]
    assert values(open_dataset(f"{a}/00004.tar")) == [4]
    assert open_dataset(f"{a}/{{00001..00003}}.tar").name == "a"
    joined = open_dataset(f"{b} :: {a}/{{00000..00001}}.tar::{a}/00004.tar")
    assert values(joined) == [50, 0, 1, 4]
    assert joined.samples[-1].key == "00004"
    assert joined.classnames == ("z",)
    assert joined.name == "b+a+00004"
    with pytest.raises(IndexError):
        _ = joined.samples[4]


@pytest.mark.parametrize(
    "pattern", ["{a..b}.tar", "{3..1}.tar", "{00..01.tar", "x{y}.tar", "{0..1}{z.tar"]
)
def test_ranges_that_are_none(pattern: str, tmp_path: Path):
    refused(tmp_path / pattern, "not a range of tars, expected one like")


@given(first=st.integers(0, 200), count=st.integers(1, 30), width=st.integers(1, 6))
def test_ranges_keep_their_zeros(first: int, count: int, width: int):
    last = first + count - 1
    spec = Path(f"d/x-{str(first).zfill(width)}.tar".replace(str(first).zfill(width), "{}"))
    pattern = str(spec).replace("{}", f"{{{str(first).zfill(width)}..{str(last).zfill(width)}}}")
    got = [Path(path).name for path in datasets._expand(pattern)]
    assert got == [f"x-{str(n).zfill(width)}.tar" for n in range(first, last + 1)]


def test_a_range_with_a_tar_missing(tmp_path: Path):
    write_tars(tmp_path, [{"png": image()}])
    refused(tmp_path / "{00000..00001}.tar", r"00001.tar: no such shard")


def test_tars_without_images(tmp_path: Path):
    write_tars(tmp_path, [{"txt": b"a"}])
    counted = r"; 1 x caption without an image: .*00000.tar: 00000.txt"
    refused(tmp_path, f"got no images, expected samples with jpg, png or webp{counted}")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"json": b"{"}, "JSON that cannot be read as an object"),
        ({"json": b"\xff"}, "JSON that cannot be read as an object"),
        ({"json": b"[]"}, "JSON that cannot be read as an object"),
        ({"json": b'{"label": [1]}'}, "metadata 'label' of another kind"),
        ({"json": b'{"captions": [1]}'}, "metadata 'captions' of another kind"),
        ({"json": b'{"concept": 1}'}, "metadata 'concept' of another kind"),
        ({"caption": b"\xff"}, "text that is not UTF-8"),
    ],
)
def test_what_nobody_asked_for_is_passed_over(
    members: dict[str, bytes], reason: str, tmp_path: Path
):
    more = {"json": b'{"text": "a cat"}'} if "caption" in members else {"txt": b"a cat"}
    dataset = open_dataset(write_tars(tmp_path, [{"png": image(5), **members, **more}]))
    (sample,) = dataset.samples
    assert (sample.captions, sample.label, sample.concept) == (("a cat",), None, None)
    assert sample.passed_over == (reason,)
    assert (dataset.classnames, values(dataset), dataset.left_out.total) == ((), [5], 0)


def test_captions_as_one_text_are_used(tmp_path: Path):
    (sample,) = open_dataset(
        write_tars(tmp_path, [{"png": b"", "json": told(captions="one")}])
    ).samples
    assert (sample.captions, sample.passed_over, sample.metadata) == (("one",), (), {})


def test_a_label_kept_from_us_is_none(tmp_path: Path):
    dataset = open_dataset(write_tars(tmp_path, [{"png": b"", "cls": b"-1"}]))
    assert (dataset.classnames, dataset.samples[0].labels) == ((), ())


def test_of_several_images_the_first_is_used(tmp_path: Path):
    members = {"png": image(8), "jpg": image(99, "JPEG")}
    dataset = open_dataset(write_tars(tmp_path, [members]))
    assert values(dataset) == [8]
    assert dataset.left_out.lines() == [
        "1 x further image of a sample, of which the first is used: "
        f"{tmp_path}/00000.tar: 00000.jpg"
    ]


def test_captions_that_are_no_text(tmp_path: Path):
    dataset = open_dataset(write_tars(tmp_path, [{"png": image(), "txt": b"\xff"}]))
    unusable(dataset, "sample 00000: .*not UTF-8")


def test_a_key_in_two_tars(tmp_path: Path):
    write_tars(tmp_path / "a", [{"png": image(1)}])
    write_tars(tmp_path / "b", [{"png": image(2)}])
    os.replace(tmp_path / "b/00000.tar", tmp_path / "a/00001.tar")  # noqa: PTH105
    dataset = open_dataset(tmp_path / "a")
    assert [sample.key for sample in dataset.samples] == ["00000/00000", "00001/00000"]
    assert values(dataset) == [1, 2]
    assert dataset.left_out.lines() == [
        "1 x key that is in several tars, told apart by the tar: "
        f"{tmp_path}/a/00000.tar: 00000 and {tmp_path}/a/00001.tar: 00000"
    ]


def test_a_half_written_tar(tmp_path: Path):
    path = write_tars(tmp_path, [{"png": image()} for _ in range(9)]) / "00000.tar"
    path.write_bytes(path.read_bytes()[:4000])
    refused(path, r"00000.tar: not a whole tar")


def test_a_compressed_tar_is_another_kind(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz"):
        pass
    refused(tmp_path / "a.tar.gz", "a.tar.gz: got a file of another kind")


def test_opening_tars_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tars(tmp_path, [{"png": image(3), "json": told(label="a", captions=["b"])}])
    read: list[str] = []
    plain = shards.ShardSample.read_member
    monkeypatch.setattr(
        shards.ShardSample, "read_member", lambda self, ext: read.append(ext) or plain(self, ext)
    )
    dataset = open_dataset(tmp_path)
    assert (dataset.classnames, len(dataset.samples), read) == (("a",), 1, [])
    assert dataset.samples[0].captions == ("b",)
    assert read == ["json"]


def test_captions_of_a_parquet_file_beside_the_tar(tmp_path: Path):
    members = {"png": image()}
    write_tars(tmp_path, [members, {**members, "txt": b"own"}, members, members], first=0)
    columns = {"key": ["00000", "00001", "00003"], "caption": [" a\ncat ", "other", None]}
    write_parquet(tmp_path / "00000.parquet", columns)
    dataset = open_dataset(tmp_path)
    captions = [("a cat",), ("own",), (), ()]
    assert [sample.captions for sample in dataset.samples] == captions
    assert dataset.left_out.total == 0


@pytest.mark.parametrize("columns", [{"url": ["a"], "text": ["b"]}, {"key": ["00000"]}])
def test_a_parquet_file_beside_the_tar_of_something_else(
    columns: dict[str, list[str]], tmp_path: Path
):
    write_tars(tmp_path, [{"png": image(), "json": told(width=3)}])
    write_parquet(tmp_path / "00000.parquet", columns)
    (sample,) = open_dataset(tmp_path).samples
    assert (sample.captions, sample.metadata) == ((), {"width": 3})


def test_a_parquet_file_beside_the_tar_that_is_broken(tmp_path: Path):
    write(write_tars(tmp_path, [{"png": image()}]), {"00000.parquet": b"PAR1"})
    unusable(open_dataset(tmp_path), "not a whole Parquet file|cannot be read")


# Mixtures


def test_weights_of_parts(tmp_path: Path):
    a = write_tars(tmp_path / "a", [{"png": image(n)} for n in range(3)], samples_per_shard=2)
    b = write(tmp_path / "b", {"x.png": image(9)})
    mixed = open_dataset(f"0.7*{a} :: .3*{b}")
    plain = open_dataset(f"{a}::{b}")
    assert mixed.sources == (
        Source(weight=0.7, shard_sizes=[2, 1]),
        Source(weight=0.3, shard_sizes=(1,)),
    )
    assert (plain.sources, plain.shard_sizes) == ((), [2, 1, 1])
    assert values(mixed) == values(plain) == [0, 1, 2, 9]
    other = open_dataset(f"0.6*{a}::0.4*{b}")
    marks = {fingerprint(dataset.samples) for dataset in (mixed, plain, other)}
    assert len(marks) == 3


def test_weights_that_are_wrong(tmp_path: Path):
    write(tmp_path, {"a/1.png": image(), "2*a/1.png": image()})
    for spec in (f"2*{tmp_path}/a::{tmp_path}/a", f"0*{tmp_path}/a::1*{tmp_path}/a"):
        refused(spec, "got parts of no weight beside others, expected one for each")
    refused("-1*a", r"-1\*a: no such file or directory")


def test_a_path_that_looks_like_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"2*a/1.png": image(1), "a/1.png": image(2)})
    monkeypatch.chdir(tmp_path)
    assert values(open_dataset("2*a")) == [1]
    assert values(open_dataset("3*a::1*./2*a")) == [2, 1]


# What is no data set


def test_what_is_not_there(tmp_path: Path):
    refused(tmp_path / "none", r"none: no such file or directory, expected a directory, a CSV")
    refused(tmp_path / "none.csv", "none.csv: no such file or directory")
    refused("", "data set: no such file or directory")
    refused("a::", "a: no such file or directory")


@pytest.mark.parametrize("spec", ["s3://bucket/x.zip", "https://x.org/{0..1}.csv", "hf://org/a"])
def test_urls_of_something_else(spec: str):
    refused(spec, f"{spec.split(':', maxsplit=1)[0]}.*: got a URL of something else than tars")


def test_a_image_is_no_data_set(tmp_path: Path):
    write(tmp_path, {"a.png": image()})
    refused(tmp_path / "a.png", "a.png: got a file of another kind, expected a directory, a CSV")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read(tmp_path: Path):
    root = write(tmp_path / "r", {"cat/a.png": image()})
    (root / "cat").chmod(0)
    refused(root, "cannot be read: Permission denied")
    (root / "cat").chmod(0o700)


def test_a_image_that_went_away(tmp_path: Path):
    root = write(tmp_path, {"cat/a.png": image()})
    sample = open_dataset(root).samples[0]
    (root / "cat/a.png").unlink()
    with pytest.raises(DataError, match=r"cat/a.png: no such file"):
        sample.image_bytes()
