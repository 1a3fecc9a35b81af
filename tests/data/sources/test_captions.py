"""Where captions are found: the same sources in the same order in tars, folders and tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.cases_captions import IMAGE_COLUMNS, MEMBERS, SEPARATED, TEXT_COLUMNS
from tests.data.made import epoch, greys, image, pairs, tokens, write_files, write_table, write_tar
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.data.sources.columns import Columns
from twinlens.errors import DataError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TEXT = 'a "cat", or two; in | bars'


def captions(dataset: Dataset) -> list[tuple[str, ...]]:
    return [sample.captions for sample in dataset.samples]


# Files beside an image


@pytest.mark.parametrize("name", MEMBERS)
def test_members_of_a_tar(name: str, tmp_path: Path):
    members, expected = MEMBERS[name]
    files = {"a/s.png": image(3)} | {f"a/s.{ext}": data for ext, data in members.items()}
    dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    assert (captions(dataset), greys(dataset)) == ([expected], [3])
    assert (dataset.left_out.total, dataset.without_caption.total) == (0, 0)


@pytest.mark.parametrize("folder", ["", "cat/"])
@pytest.mark.parametrize("name", MEMBERS)
def test_files_of_a_folder(name: str, folder: str, tmp_path: Path):
    members, expected = MEMBERS[name]
    files = {f"{folder}s.png": image(3)} | {f"{folder}s.{e}": d for e, d in members.items()}
    dataset = open_dataset(write_files(tmp_path, files))
    assert (captions(dataset), greys(dataset)) == ([expected], [3])
    assert (dataset.left_out.total, dataset.without_caption.total) == (0, 0)


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_names_with_dots_and_endings_of_two_parts(kind: str, tmp_path: Path):
    files = {
        "s.input.png": image(1),
        "s.output.txt": b"two parts",
        "img_0.5.png": image(2),
        "img_0.5.txt": b"five",
        "img_0.7.png": image(3),
        "img_0.7.txt": b"seven",
        "img_1.5.png": image(4),
        "img_1.5.json": b'{"caption": "alone"}',
    }
    if kind == "tar":
        dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    else:
        dataset = open_dataset(write_files(tmp_path, files))
    found = dict(zip(greys(dataset), captions(dataset), strict=True))
    assert found == {1: ("two parts",), 2: ("five",), 3: ("seven",), 4: ("alone",)}
    assert (dataset.left_out.total, dataset.without_caption.total) == (0, 0)
    assert epoch(dataset).bad_samples == ()


@pytest.mark.parametrize("lonely", ["txt", "json", "md"])
def test_a_lonely_file_among_names_with_dots(lonely: str, tmp_path: Path):
    files = {
        "img_0.5.png": image(2),
        "img_0.5.txt": b"five",
        "img_0.7.png": image(3),
        "img_0.7.txt": b"seven",
        f"img_0.9.{lonely}": b"{}",
    }
    dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    assert (captions(dataset), greys(dataset)) == ([("five",), ("seven",)], [2, 3])
    (line,) = dataset.left_out.lines()
    assert line.endswith(f"0.tar: img_0.9.{lonely}")


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_plain_name_beside_names_with_dots(kind: str, tmp_path: Path):
    files = {
        "cat.png": image(1),
        "cat.txt": b"one",
        "cat.2.png": image(2),
        "cat.2.txt": b"two",
        "cat.3.png": image(3),
        "cat.3.caption": b"three",
    }
    if kind == "tar":
        files |= {"cat.mask.png": image(9)}  # without words of its own, a part of the first
        dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    else:
        dataset = open_dataset(write_files(tmp_path, files))
    found = dict(zip(greys(dataset), captions(dataset), strict=True))
    assert found == {1: ("one",), 2: ("two",), 3: ("three",)}
    assert (dataset.left_out.total, dataset.without_caption.total) == (0, 0)


def test_the_text_of_an_image_and_not_of_one_that_is_gone(tmp_path: Path):
    files = {
        "v0.2.txt": b"of an image that is gone",
        "v0.5.png": image(2),
        "v0.5.txt": b"five",
        "v0.5.ocr.txt": b"read from it",
    }
    dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    assert (captions(dataset), greys(dataset)) == ([("five",)], [2])
    (line,) = dataset.left_out.lines()
    assert line.endswith("0.tar: v0.2.txt")


def test_a_text_of_two_images(tmp_path: Path):
    files = {"s.input.png": image(1), "s.edited.png": image(2), "s.prompt.txt": b"make it red"}
    dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    assert (captions(dataset), greys(dataset)) == ([("make it red",)], [1])
    (line,) = dataset.left_out.lines()
    assert line.endswith("0.tar: s.edited.png")


# Columns of tables

CASES: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
}
KINDS = [(".tsv", "\t"), (".jsonl", ""), (".parquet", "")] + [
    (".csv", separator) for separator in SEPARATED.values()
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of three images for tables."""
    return write_files(tmp_path, {f"images/{n}.png": image(n) for n in range(3)})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("ending", "separator"), KINDS)
def test_columns_by_any_of_their_names(ending: str, separator: str, case: str, root: Path):
    for of_images in IMAGE_COLUMNS:
        for of_texts in TEXT_COLUMNS:
            names = CASES[case](of_images), CASES[case](of_texts)
            rows = [
                {"id": str(n), names[0]: f"images/{n}.png", "n": "x", names[1]: f"{TEXT} {n}"}
                for n in range(3)
            ]
            dataset = open_dataset(write_table(root / f"t{ending}", rows, separator))
            assert captions(dataset) == [(f"{TEXT} {n}",) for n in range(3)], names
            assert [sample.metadata for sample in dataset.samples] == [
                {"id": str(n), "n": "x"} for n in range(3)
            ]
    assert greys(open_dataset(root / f"t{ending}")) == [0, 1, 2]


@pytest.mark.parametrize(("ending", "separator"), KINDS)
def test_the_first_column_that_has_a_caption(ending: str, separator: str, root: Path):
    texts = [("one", "no", "no"), ("", "two", "no"), ("", "", "three")]
    rows = [
        {"title": title, "image": f"images/{n}.png", "caption": caption, "text": text}
        for n, (text, caption, title) in enumerate(texts)
    ]
    dataset = open_dataset(write_table(root / f"t{ending}", rows, separator))
    assert captions(dataset) == [("one",), ("two",), ("three",)]


# Tables without quotes, and long ones


def test_a_tsv_has_no_quotes(root: Path):
    lines = ['"a cat', 'say "hi"', '"', "'", '"two" 2"', "a, b; c"]
    rows = "".join(f"images/{n % 3}.png\t{line}\n" for n, line in enumerate(lines))
    write_files(root, {"t.tsv": f"image\ttext\n{rows}"})
    dataset = open_dataset(root / "t.tsv")
    assert captions(dataset) == [
        ('"a cat', "'"),
        ('say "hi"', '"two" 2"'),
        ('"', "a, b; c"),
    ]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_caption_of_a_million_letters(ending: str, root: Path):
    text = "long " * 200_000
    rows = [{"image": f"images/{n}.png", "text": text + str(n)} for n in range(2)]
    found = captions(open_dataset(write_table(root / f"t{ending}", rows)))
    assert found == [(text + "0",), (text + "1",)]


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("t.tsv", "images/0.png\ta\nimages/1.png\n", r"row 2 \(line 3\): got 1 cells, expected 2"),
        ("t.tsv", "images/0.png\ta\n\ni\tb\tc\n", r"row 2 \(line 4\): got 3 cells, expected 2"),
        ("t.csv", 'images/0.png,a\ni,"b\n', r"row 2 \(until line 3\): not a readable table"),
        ("t.csv", 'images/0.png,"a\nb"\ni\n', r"row 2 \(line 4\): got 1 cells, expected 2"),
        ("t.jsonl", '{"image": "images/0.png", "text": "a"}\n[]\n', "row 2: got a line that is no"),
    ],
)
def test_errors_name_the_row(name: str, lines: str, message: str, root: Path):
    header = "" if name.endswith("jsonl") else "image\ttext\n"
    header = header.replace("\t", ",") if name.endswith("csv") else header
    write_files(root, {name: header + lines})
    with pytest.raises(DataError, match=f"{name}: {message}"):
        open_dataset(root / name)


def test_quotes_in_the_header(root: Path):
    write_files(root, {"t.csv": '\ufeff"Image";"Caption"\n"images/0.png";"a; b"\n'})
    assert captions(open_dataset(root / "t.csv")) == [("a; b",)]


def test_lines_of_json_that_lack_a_field(root: Path):
    lines = ['{"image": "images/0.png", "text": "a"}', '{"text": "b"}', '{"image": "images/1.png"}']
    write_files(root, {"t.jsonl": "\n".join([*lines, '{"image": null, "text": "c"}'])})
    dataset = open_dataset(root / "t.jsonl")
    assert (captions(dataset), greys(dataset)) == ([("a",), ()], [0, 1])
    assert dataset.left_out.lines() == [
        f"2 x row without an image: {root}/t.jsonl: row 2, {root}/t.jsonl: row 4"
    ]
    write_files(root, {"t.jsonl": '{"img": "images/0.png", "words": "a"}\n{"id": 3}\n'})
    with pytest.raises(DataError, match="got the columns 'img', 'words', 'id', expected one of im"):
        open_dataset(root / "t.jsonl")


def test_one_image_under_two_ways_of_writing(root: Path):
    write_files(root, {"t.csv": "image,text\n./images/1.png,a\nimages/1.png,b\n"})
    assert captions(open_dataset(root / "t.csv")) == [("a", "b")]


def test_labels_that_are_kept_from_us(root: Path):
    rows = "images/0.png,-1\nimages/1.png,cat\nimages/2.png,\n"
    write_files(root, {"t.csv": f"image,label\n{rows}"})
    dataset = open_dataset(root / "t.csv")
    assert [sample.label for sample in dataset.samples] == [None, "cat", None]
    assert dataset.classnames == ("cat",)


def test_paths_as_windows_writes_them(root: Path):
    write_files(root, {"t.csv": "image,text\nimages\\2.png,a\n"})
    dataset = open_dataset(root / "t.csv")
    assert (greys(dataset), dataset.left_out.total) == ([2], 0)


# Parquet of other programs


def write(path: Path, columns: dict[str, Any], **metadata: bytes) -> Path:
    table = pyarrow.table(columns)
    if metadata:
        table = table.replace_schema_metadata(metadata)
    parquet.write_table(table, path)
    return path


def test_dictionaries_and_large_columns(root: Path):
    names = [f"images/{n % 3}.png" for n in range(3)]
    texts = ["a cat", None, "a dog"]
    for kind in (pyarrow.string(), pyarrow.large_string()):
        columns = {
            "filepath": pyarrow.array(names, kind).dictionary_encode(),
            "caption": pyarrow.array(texts, kind).dictionary_encode(),
            "label": pyarrow.array(["x", None, "y"], kind).dictionary_encode(),
            "when": pyarrow.array([1, 2, 3], pyarrow.timestamp("s")),
        }
        dataset = open_dataset(write(root / "t.parquet", columns))
        assert captions(dataset) == [("a cat",), (), ("a dog",)]
        assert dataset.classnames == ("x", "y")
        assert greys(dataset) == [0, 1, 2]
        assert dataset.without_caption.lines() == [
            f"1 x image without a caption: {root}/images/1.png"
        ]


@pytest.mark.parametrize("kind", ["struct", "bytes only", "binary", "large", "view", "dictionary"])
def test_images_inside(kind: str, tmp_path: Path):
    data = [image(n) for n in range(3)]
    column = {
        "struct": lambda: pyarrow.array([{"bytes": one, "path": "x.png"} for one in data]),
        "bytes only": lambda: pyarrow.array([{"bytes": one} for one in data]),
        "binary": lambda: pyarrow.array(data),
        "large": lambda: pyarrow.array(data, pyarrow.large_binary()),
        "view": lambda: pyarrow.array(data, pyarrow.binary_view()),
        "dictionary": lambda: pyarrow.array(data).dictionary_encode(),
    }[kind]()
    texts = {"title": [f"text {n}" for n in range(3)]}
    dataset = open_dataset(write(tmp_path / "t.parquet", {"img": column} | texts))
    assert pairs(epoch(dataset)) == [(n, tokens(f"text {n}")) for n in range(3)]


def test_columns_that_python_has_no_values_for(root: Path):
    columns = {
        "image": ["images/0.png", "images/1.png"],
        "text": pyarrow.array([b"a cat", b"\xff"]).view("string"),
        "when": pyarrow.array([1, 2_000_000_000], pyarrow.timestamp("ns")),
        "until": pyarrow.array([10**12, 0], pyarrow.timestamp("s")),
        "nested": pyarrow.array([[1], [2]], pyarrow.list_(pyarrow.duration("ns"))),
    }
    dataset = open_dataset(write(root / "t.parquet", columns))
    assert captions(dataset) == [("a cat",), ()]
    assert str(dataset.samples[0].metadata["when"]) == "1970-01-01 00:00:00.000000001"
    assert dataset.without_caption.total == 1


@pytest.mark.parametrize(
    "told", [b"{", b"null", b"[]", b"7", b'{"info": 3}', b'{"info": {"features": []}}', b"\xff"]
)
def test_what_other_programs_write_into_the_schema(told: bytes, tmp_path: Path):
    columns = {"image": [image(5)], "text": ["a cat"], "label": [3]}
    dataset = open_dataset(write(tmp_path / "t.parquet", columns, huggingface=told))
    assert (captions(dataset), dataset.classnames) == ([("a cat",)], ("3",))


def test_whole_numbers_as_pandas_writes_them_beside_empty_cells(tmp_path: Path):
    columns = {"image": [image(n) for n in range(4)], "label": [2.0, None, 10.0, 0.5]}
    dataset = open_dataset(write(tmp_path / "t.parquet", columns))
    assert [sample.label for sample in dataset.samples] == ["2", None, "10", None]
    assert dataset.classnames == ("2", "10")
    assert dataset.samples[3].passed_over == ("metadata 'label' of another kind",)


def test_a_class_each_in_a_column_called_labels(tmp_path: Path):
    features = {"labels": {"names": ["zebra", "ant"], "_type": "ClassLabel"}}
    told = json.dumps({"info": {"features": features}}).encode()
    columns = {"image": [image(n) for n in range(3)], "labels": [1, 0, -1]}
    dataset = open_dataset(write(tmp_path / "t.parquet", columns, huggingface=told))
    assert [sample.label for sample in dataset.samples] == ["ant", "zebra", None]
    assert (dataset.classnames, dataset.multi_label) == (("zebra", "ant"), False)


# A table of a folder's images


@pytest.mark.parametrize("folder", ["", "images/", "a/b/"])
@pytest.mark.parametrize("of_texts", TEXT_COLUMNS)
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_metadata_file(ending: str, of_texts: str, folder: str, tmp_path: Path):
    write_files(tmp_path, {f"{folder}{n}.png": image(n) for n in range(3)})
    write_files(tmp_path, {f"{folder}2.txt": "its own"})
    rows = [{"file_name": f"{folder}{n}.png", of_texts: TEXT, "where": "Kent"} for n in (0, 2)] + [
        {"file_name": "gone.png", of_texts: TEXT, "where": ""}
    ]
    table = write_table(tmp_path / f"metadata{ending}", rows)
    dataset = open_dataset(tmp_path)
    assert (captions(dataset), greys(dataset)) == ([(TEXT,), (), ("its own",)], [0, 1, 2])
    assert dataset.classnames == ()
    assert dataset.samples[0].metadata["where"] == "Kent"
    assert dataset.left_out.lines() == [f"1 x image file that is missing: {table}: row 3: gone.png"]
    assert dataset.without_caption.lines() == [
        f"1 x image without a caption: {tmp_path}/{folder}1.png"
    ]


def test_a_metadata_file_of_class_folders(tmp_path: Path):
    write_files(tmp_path, {"cat/1.png": image(1), "dog/1.png": image(2)})
    rows = [{"file_name": f"{name}/1.png", "text": f"a {name}"} for name in ("cat", "dog")]
    write_table(tmp_path / "metadata.jsonl", rows)
    dataset = open_dataset(tmp_path)
    assert dataset.classnames == ("cat", "dog")
    assert captions(dataset) == [("a cat",), ("a dog",)]


def test_a_metadata_file_of_something_else(tmp_path: Path):
    write_files(tmp_path, {"1.png": image(1), "1.txt": "a cat", "metadata.csv": "name,size\na,1\n"})
    dataset = open_dataset(tmp_path)
    assert captions(dataset) == [("a cat",)]
    (line,) = dataset.left_out.lines()
    assert line.startswith(f"1 x metadata file that is not read: {tmp_path}/metadata.csv: got the")


def test_metadata_files_of_folders_below(tmp_path: Path):
    for place, name in enumerate(("cat", "dog")):
        write_files(tmp_path, {f"{name}/1.png": image(place)})
        write_table(tmp_path / name / "metadata.csv", [{"file_name": "1.png", "text": f"a {name}"}])
    dataset = open_dataset(tmp_path)
    assert captions(dataset) == [("a cat",), ("a dog",)]
    assert (dataset.classnames, dataset.left_out.total) == (("cat", "dog"), 0)
    write_files(tmp_path, {"cat/nshards.txt": "3"})  # of no meaning there
    assert open_dataset(tmp_path).left_out.lines() == [
        f"1 x caption without an image: {tmp_path}/cat/nshards.txt"
    ]


def test_two_metadata_files_are_read_both(tmp_path: Path):
    write_files(tmp_path, {"1.png": image(1), "2.png": image(2)})
    write_table(tmp_path / "Metadata.CSV", [{"file_name": "1.png", "text": "one"}])
    rows = [{"file_name": f"{n}.png", "text": f"also {n}"} for n in (1, 2)]
    write_table(tmp_path / "metadata.jsonl", rows)
    dataset = open_dataset(tmp_path)
    assert captions(dataset) == [("one", "also 1"), ("also 2",)]
    assert dataset.left_out.total == 0


def test_classes_of_a_metadata_file(tmp_path: Path):
    write_files(tmp_path, {f"images/{n}.png": image(n) for n in range(3)})
    rows = [{"file_name": f"images/{n}.png", "label": f"c{10 - n}"} for n in range(2)]
    write_table(tmp_path / "metadata.csv", rows)
    dataset = open_dataset(tmp_path)
    assert [sample.label for sample in dataset.samples] == ["c10", "c9", None]
    assert (dataset.classnames, dataset.multi_label) == (("c9", "c10"), False)


# A table beside a tar


@pytest.mark.parametrize("prefix", ["", "00000/", "./", "./a/b/"])
@pytest.mark.parametrize("numbers", [False, True])
def test_a_parquet_beside_a_tar(numbers: bool, prefix: str, tmp_path: Path):
    files = {f"{prefix}{n:09d}.png": image(n) for n in range(3)}
    files[f"{prefix}{2:09d}.txt"] = b"its own"
    write_tar(tmp_path / "00000.tar", files)
    keys = [0, 1, 2] if numbers else [f"{n:09d}" for n in range(3)]
    for of_texts in ("caption", "TEXT", "title"):
        write(tmp_path / "00000.parquet", {"key": keys, of_texts: ["one", None, "no"]})
        dataset = open_dataset(tmp_path)
        assert captions(dataset) == [("one",), (), ("its own",)]
        assert dataset.left_out.total == 0


def test_the_table_beside_a_tar_comes_last(tmp_path: Path):
    described = [{"caption": "its own"}, {"caption": ""}, {"caption": {"en": "a cat"}}]
    files: dict[str, bytes] = {}
    for n, one in enumerate(described):
        files |= {f"{n}.png": image(n), f"{n}.json": json.dumps(one).encode()}
    write_tar(tmp_path / "00000.tar", files)
    write(tmp_path / "00000.parquet", {"key": ["0", "1", "2"], "caption": ["a", "b", "c"]})
    assert captions(open_dataset(tmp_path)) == [("its own",), ("b",), ("c",)]


def test_a_csv_in_utf_16_and_names_with_blanks(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(image())
    text = "Image Path ,Caption \na.png,une école\n"
    (tmp_path / "t.csv").write_bytes(text.encode("utf-16"))
    columns = Columns(image="Image Path ", text="Caption ")
    [sample] = open_dataset(tmp_path / "t.csv", columns=columns).samples
    assert sample.captions == ("une école",)


def test_a_column_of_lists_of_captions(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(image())
    (tmp_path / "t.jsonl").write_text('{"image": "a.png", "captions": ["a cat", "two"]}\n')
    assert open_dataset(tmp_path / "t.jsonl").samples[0].captions == ("a cat", "two")
