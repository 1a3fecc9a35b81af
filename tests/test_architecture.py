"""The map in docs/architecture.md against the code, and limits of size, names and words."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import twinlens

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "twinlens"
MODULES = sorted(SRC.rglob("*.py"))
LAYERS: list[str] = next(
    contract["layers"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    if contract["type"] == "layers"
)


def rooms_of_the_table() -> dict[str, int]:
    """Rooms and their floors as the table says."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `([\w/.]+?)/?` \|", text, re.MULTILINE)
    assert len(rows) == len({room for _, room in rows})
    return {room: int(floor) for floor, room in rows}


def rooms_of_the_code() -> dict[str, list[Path]]:
    """Each room's own modules: directories of modules, and modules at the root."""
    rooms: dict[str, list[Path]] = {}
    for path in MODULES:
        place = path.relative_to(SRC)
        room = str(place.parent) if len(place.parts) > 1 else place.name
        rooms.setdefault(room, []).append(path)
    del rooms["__init__.py"]
    return rooms


def test_the_table_has_the_rooms_of_the_code_on_the_floors_of_the_layers():
    floors = {
        room: number for number, layer in enumerate(LAYERS, start=1) for room in layer.split(" | ")
    }
    expected = {room: floors[re.split(r"[/.]", room)[0]] for room in rooms_of_the_code()}
    assert rooms_of_the_table() == expected


def test_the_layers_are_written_as_they_are():
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = text.split("## What may import what")[1].split("```")[1]
    assert " ".join(block.split()) == " > ".join(LAYERS)


def test_modules_that_the_map_names_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`([a-z_]+/[\w/]*\.py)`", text):
        assert (SRC / name).exists() or (ROOT / name).exists(), name


def test_no_room_is_too_large_and_few_modules_are_in_view():
    lines = {
        room: sum(len(path.read_text().splitlines()) for path in paths)
        for room, paths in rooms_of_the_code().items()
    }
    largest = max(lines, key=lambda room: lines[room])
    assert lines[largest] <= 0.13 * sum(lines.values()), largest
    in_view = {
        room: sum(path.name != "__init__.py" for path in paths)
        for room, paths in rooms_of_the_code().items()
    }
    for room, most in {"data": 10, "model": 10, "eval": 10, "train": 17}.items():
        assert in_view[room] <= most, room


def test_files_are_short():
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 400, path


def public_classes() -> list[tuple[str, Path]]:
    return [
        (node.name, path)
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]


def test_no_two_public_classes_share_a_name():
    counts = Counter(name for name, _ in public_classes())
    assert [name for name, count in counts.items() if count > 1] == []


RIDDLES = (
    "drawn_by", "gathered", "leads", "lots", "made_again", "measure_choice", "stand",
    "told_by_leader", "written",
)  # fmt: skip
"""Names that were renamed to the field's words and may not come back."""


def test_names_that_were_riddles_do_not_come_back():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "name", None)
            assert name not in RIDDLES, (path, name)


OUTSIDE = re.compile(r"an? picture of (an? )?\{|values..unseen_pictures")
"""Prompts that models were trained with, and a key that published corpora were hashed with."""


@pytest.mark.parametrize("place", ["src", "docs", "README.md"])
def test_images_are_called_images(place: str):
    root = ROOT / place
    paths = [root] if root.is_file() else sorted(root.rglob("*"))
    for path in paths:
        if path.suffix not in {".py", ".md", ".css", ".svg"} or "assets" in path.parts:
            continue
        for line in path.read_text().splitlines():
            assert "pictur" not in OUTSIDE.sub("", line).lower(), (path, line)


def test_the_public_names_are_these():
    assert twinlens.__all__ == [
        "CLIP", "Embedder", "Prediction", "available_models", "load", "presets", "tokenize",
    ]  # fmt: skip


CLOCKS = re.compile(r"assert [^\n]*(perf_counter|monotonic|process_time)\(")


def test_no_test_asserts_how_long_something_took():
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        for line in path.read_text().splitlines():
            found = CLOCKS.search(line)
            assert found is None or "TIME_LIMIT" in line or " end" in line, (path, line)
