"""What is left out: each reason once, in folders, tars and tables, with the example named."""

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.data.made import epoch, greys, image, write_files, write_table, write_tar
from twinlens.data.datasets import open_dataset
from twinlens.errors import DataError

SPARSE = "sparse file in a tar, which is not read (write the tar without --sparse)"
LINK = "link that leads nowhere new"


def lines(left_out: Any, root: Path) -> list[str]:
    """The reasons with their examples, without the root."""
    return [line.replace(f"{root}/", "") for line in left_out.lines()]


# Folders


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"lonely.txt": "a dog"}, "1 x caption without an image: lonely.txt"),
        ({"b.caption": "a dog"}, "1 x caption without an image: b.caption"),
        ({"notes.pdf": ""}, "1 x file of another kind: notes.pdf"),
        ({"b.json": "{}"}, "1 x file of another kind: b.json"),
        ({"x.svg": ""}, "1 x SVG image (.svg), which is not read: x.svg"),
        ({"x.PSD": "", "x.txt": "a"}, "1 x Photoshop image (.psd), which is not read: x.PSD"),
        ({"noending": ""}, "1 x file of another kind: noending"),
    ],
)
@pytest.mark.parametrize("folder", ["", "cat/"])
def test_files_of_a_folder(files: dict[str, str], expected: str, folder: str, tmp_path: Path):
    write_files(tmp_path, {f"{folder}a.png": image(7), f"{folder}a.txt": "a cat"})
    write_files(tmp_path, {f"{folder}{name}": data for name, data in files.items()})
    dataset = open_dataset(tmp_path)
    name = next(iter(files))
    assert greys(dataset) == [7]
    assert expected.replace(name, folder + name) in lines(dataset.left_out, tmp_path)
    assert dataset.left_out.total == len(files)
    assert dataset.without_caption.total == 0


@pytest.mark.parametrize(
    "name", ["._a.png", ".DS_Store", "__MACOSX/b.png", "Thumbs.db", ".hidden/b.png", "._a.txt"]
)
@pytest.mark.parametrize("kind", ["captioned", "classes", "tar"])
def test_what_systems_put_there_is_no_file(name: str, kind: str, tmp_path: Path):
    folder = "cat/" if kind == "classes" else ""
    files = {
        f"{folder}a.png": image(7),
        f"{folder}a.txt": b"a cat",
        f"{folder}{name}": b"\0\5\26\7",
    }
    if kind == "tar":
        dataset = open_dataset(
            write_tar(tmp_path / "0.tar", {"x/" + one: d for one, d in files.items()})
        )
    else:
        dataset = open_dataset(write_files(tmp_path, files))
    assert (greys(dataset), dataset.left_out.total) == ([7], 0)
    assert dataset.samples[0].captions == ("a cat",)


def test_images_without_a_caption(tmp_path: Path):
    captioned = write_files(tmp_path / "f", {f"{n}.png": image(n) for n in range(5)})
    write_files(captioned, {"3.txt": "a cat"})
    expected = "4 x image without a caption: 0.png, 1.png, 2.png, ..."
    assert lines(open_dataset(captioned).without_caption, captioned) == [expected]
    files = {f"{n}.png": image(n) for n in range(5)} | {"3.txt": b"a cat"}
    write_tar(tmp_path / "t/0.tar", files)
    named = ", ".join(f"0.tar: sample {n}" for n in range(3))
    found = open_dataset(tmp_path / "t")
    assert lines(found.without_caption, tmp_path / "t") == [
        f"4 x image without a caption: {named}, ..."
    ]
    assert found.left_out.total == 0
    rows = [{"image": f"{n}.png", "text": "a" * (n == 3)} for n in range(5)]
    table = write_table(captioned / "t.csv", rows)
    assert lines(open_dataset(table).without_caption, captioned) == [expected]


def test_links_of_folders(tmp_path: Path):
    write_files(tmp_path, {"cat/a.png": image(1), "dog/b.png": image(2)})
    (tmp_path / "cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "cat/again").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "dog/same.png").symlink_to(tmp_path / "cat/a.png")
    dataset = open_dataset(tmp_path)
    assert greys(dataset) == [1, 2, 1]
    assert sorted(lines(dataset.left_out, tmp_path)) == [f"2 x {LINK}: cat/again, cat/gone.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_of_another_kind(tmp_path: Path):
    write_files(tmp_path, {"a.png": image(1)})
    os.mkfifo(tmp_path / "b.png")
    dataset = open_dataset(tmp_path)
    assert (greys(dataset), lines(dataset.left_out, tmp_path)) == (
        [1],
        ["1 x file of another kind: b.png"],
    )


# Tars


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"b.txt": b"a dog"}, "1 x caption without an image: 0.tar: b.txt"),
        ({"b.json": b"{}"}, "1 x caption without an image: 0.tar: b.json"),
        ({"README": b""}, "1 x file of another kind: 0.tar: README"),
        ({"b.svg": b"", "b.txt": b"a"}, "1 x SVG image (.svg), which is not read: 0.tar: b.svg"),
        (
            {"a.jpg": image(9)},
            "1 x further image of a sample, of which the first is used: 0.tar: a.jpg",
        ),
    ],
)
def test_members_of_a_tar(files: dict[str, bytes], expected: str, tmp_path: Path):
    write_tar(tmp_path / "0.tar", {"a.png": image(7), "a.txt": b"a cat", **files})
    dataset = open_dataset(tmp_path)
    assert greys(dataset) == [7]
    assert lines(dataset.left_out, tmp_path) == [expected]
    assert epoch(dataset).bad_samples == ()


def test_a_mask_is_no_rival(tmp_path: Path):
    files = {"a.mask.png": image(9), "a.png": image(7), "a.depth.png": image(8), "a.txt": b"a cat"}
    dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    assert (greys(dataset), dataset.left_out.total) == ([7], 0)


def test_a_member_that_is_there_twice(tmp_path: Path):
    files = [("a.png", image(7)), ("a.txt", b"old"), ("a.png", image(8)), ("a.txt", b"new")]
    dataset = open_dataset(write_tar(tmp_path / "0.tar", files))
    assert (greys(dataset), dataset.samples[0].captions) == ([8], ("new",))
    assert lines(dataset.left_out, tmp_path) == [
        "2 x file named twice in a tar, of which the last is used: 0.tar: a.png, 0.tar: a.txt"
    ]


def test_keys_of_several_tars(tmp_path: Path):
    for tar in range(3):
        files = {f"{n}.png": image(10 * tar + n) for n in range(2)} | {"0.txt": b"a", "1.txt": b"b"}
        write_tar(tmp_path / f"{tar:05d}.tar", files)
    dataset = open_dataset(tmp_path)
    assert [sample.key for sample in dataset.samples] == [
        f"{tar:05d}/{n}" for tar in range(3) for n in range(2)
    ]
    assert greys(dataset) == [0, 1, 10, 11, 20, 21]
    (line,) = lines(dataset.left_out, tmp_path)
    assert line.startswith("2 x key that is in several tars, told apart by the tar: 00000.tar: ")


def test_links_of_tars(tmp_path: Path):
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind, link in (
            ("a.png", tarfile.REGTYPE, ""),
            ("a.txt", tarfile.REGTYPE, ""),
            ("./b.png", tarfile.LNKTYPE, "a.png"),
            ("b.txt", tarfile.LNKTYPE, "./a.txt"),
            ("e.png", tarfile.LNKTYPE, "b.png"),
            ("c.png", tarfile.SYMTYPE, "a.png"),
            ("d.png", tarfile.LNKTYPE, "elsewhere.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            data = {"a.png": image(7), "a.txt": b"a cat"}.get(name, b"")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    dataset = open_dataset(path)
    assert [(one.key, one.captions) for one in dataset.samples] == [
        ("a", ("a cat",)),
        ("b", ("a cat",)),
        ("e", ()),
    ]
    assert greys(dataset) == [7, 7, 7]
    assert lines(dataset.left_out, tmp_path) == [
        f"2 x {LINK}: 0.tar: c.png -> a.png, 0.tar: d.png -> elsewhere.png"
    ]


def tar_by_gnu(root: Path, kind: str, *options: str) -> Path:
    """A tar as GNU tar writes it, of what is in a folder."""
    path = root.with_name("0.tar")
    names = sorted(one.name for one in root.iterdir())
    command = ["tar", *options, f"--format={kind}", "-cf", str(path), "-C", str(root), *names]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs GNU tar: {error}")
    return path


@pytest.mark.parametrize("kind", ["gnu", "posix"])
def test_sparse_files_of_tars(kind: str, tmp_path: Path):
    root = write_files(tmp_path / "s", {"a.png": image(7), "a.txt": "a cat", "c.png": image(9)})
    with (root / "b.bmp").open("wb") as file:  # holes are what makes a file sparse
        file.write(b"BM")
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x" * 4096)
        file.truncate(1 << 21)
    path = tar_by_gnu(root, kind, "--sparse")
    assert path.stat().st_size < 1 << 19, "the tar is not sparse"
    dataset = open_dataset(path)
    assert (greys(dataset), [one.key for one in dataset.samples]) == ([7, 9], ["a", "c"])
    assert lines(dataset.left_out, tmp_path) == [f"1 x {SPARSE}: 0.tar: b.bmp"]


@pytest.mark.parametrize("kind", ["gnu", "posix", "ustar", "v7"])
def test_tars_by_other_programs(kind: str, tmp_path: Path):
    names = ["a", "b" * 80, "é" * 30]
    root = tmp_path / "s"
    for grey, name in enumerate(names):
        write_files(root, {f"{name}.png": image(grey), f"{name}.txt": f"text {grey}"})
    os.link(root / "a.png", root / "d.png")
    (root / "e.png").symlink_to("a.png")
    dataset = open_dataset(tar_by_gnu(root, kind))
    found = {
        one.key: (one.captions, grey)
        for one, grey in zip(dataset.samples, greys(dataset), strict=True)
    }
    expected = {name: ((f"text {grey}",), grey) for grey, name in enumerate(names)}
    assert found == expected | {"d": ((), 0)}
    assert lines(dataset.left_out, tmp_path) == [f"1 x {LINK}: 0.tar: e.png -> a.png"]


# Files beside tars and tables


@pytest.mark.parametrize("ending", [".tar", ".parquet"])
def test_files_beside_a_data_set(ending: str, tmp_path: Path):
    if ending == ".tar":
        write_tar(tmp_path / "0.tar", {"a.png": image(7), "a.txt": b"a cat"})
    else:
        write_table(tmp_path / "0.parquet", [{"image": image(7), "text": "a cat"}])
    write_files(tmp_path, {"notes.md": "", "0_stats.json": "{}", "classnames.txt": "a", ".x": ""})
    dataset = open_dataset(tmp_path)
    assert greys(dataset) == [7]
    assert lines(dataset.left_out, tmp_path) == ["1 x file of another kind: notes.md"]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_images_that_are_missing(ending: str, tmp_path: Path):
    write_files(tmp_path, {"1.png": image(1), "7.png": image(7)})
    rows = [{"image": f"{n}.png", "text": f"text {n}"} for n in range(9)]
    table = write_table(tmp_path / f"t{ending}", rows)
    dataset = open_dataset(table)
    assert greys(dataset) == [1, 7]
    assert epoch(dataset).bad_samples == ()
    named = ", ".join(f"t{ending}: row {n + 1}: {n}.png" for n in (0, 2, 3))
    assert lines(dataset.left_out, tmp_path) == [f"7 x image file that is missing: {named}, ..."]
    for name in ("1.png", "7.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"got no row with an image .*: 9 x image file that is"):
        open_dataset(table)


def test_cells_without_an_image(tmp_path: Path):
    write_files(tmp_path, {"1.png": image(1)})
    rows = [{"image": one, "text": "a"} for one in ("1.png", "", None)]
    for ending in (".jsonl", ".parquet"):
        dataset = open_dataset(write_table(tmp_path / f"t{ending}", rows))
        assert greys(dataset) == [1]
        assert lines(dataset.left_out, tmp_path) == [
            f"2 x row without an image: t{ending}: row 2, t{ending}: row 3"
        ]


# Together


def test_parts_are_counted_together(tmp_path: Path):
    for name in ("a", "b"):
        write_files(tmp_path / name, {"1.png": image(1), "x.pdf": "", "y.svg": ""})
    dataset = open_dataset(f"{tmp_path}/a::{tmp_path}/b")
    assert lines(dataset.left_out, tmp_path) == [
        "2 x file of another kind: a/x.pdf, b/x.pdf",
        "2 x SVG image (.svg), which is not read: a/y.svg, b/y.svg",
    ]
    assert lines(dataset.without_caption, tmp_path) == [
        "2 x image without a caption: a/1.png, b/1.png"
    ]


def test_a_link_to_the_folder_itself_is_no_class(tmp_path: Path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(image())
    (tmp_path / "loop").symlink_to(".", target_is_directory=True)
    dataset = open_dataset(tmp_path)
    assert (dataset.classnames, len(dataset.samples)) == (("cat", "dog"), 2)
    assert dataset.left_out.lines() == [f"1 x link that leads nowhere new: {tmp_path / 'loop'}"]


def test_what_belongs_to_a_data_set_is_not_left_out(tmp_path: Path):
    write_tar(tmp_path / "00000.tar", {"0.png": image(), "0.txt": b"a cat"})
    for name in ("00000_stats.json", "README.md", "LICENSE", "licence.txt"):
        (tmp_path / name).write_text("{}")
    assert open_dataset(tmp_path).left_out.total == 0


def test_metadata_of_several_splits_is_counted(tmp_path: Path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.png").write_bytes(image())
    (tmp_path / "metadata.csv").write_text("file_name,text\ntrain/0.png,a cat\n")
    dataset = open_dataset(tmp_path, splits=("train",))
    assert dataset.left_out.lines() == [
        f"1 x metadata file that is not read: {tmp_path / 'metadata.csv'}"
    ]
