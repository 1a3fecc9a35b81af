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


RIDDLES = {
    "asked", "between", "contestant", "drawn_by", "figures", "futile", "gathered", "guard", "leads",
    "lean", "lens", "lots", "made_again", "measure_choice", "oddities", "peers", "picture",
    "pictures", "squares", "stand", "standing", "strength", "tally", "told_by_leader",
    "workload", "written",
}  # fmt: skip
"""Names that were renamed to the field's words and may not come back."""

KEPT = {("benchmark/records.py", "asked")}
"""A key of `bench --json`."""


def definitions(path: Path) -> set[str]:
    """Names that a module defines: its own, classes, functions, arguments and fields."""
    found = {path.stem}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
            found |= {node.name, *(one.id for one in fields if isinstance(one, ast.Name))}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return {name.strip("_").lower() for name in found}


def test_names_that_were_riddles_do_not_come_back():
    for path in MODULES:
        place = str(path.relative_to(SRC))
        back = {name for name in definitions(path) & RIDDLES if (place, name) not in KEPT}
        assert not back, (place, back)


OUTSIDE = re.compile(r"an? picture of (an? )?\{|unseen_pictures")
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
        "CLIP", "Embedder", "Index", "Prediction", "available_models", "load", "presets",
        "tokenize",
    ]  # fmt: skip


CLOCKS = re.compile(r"\b(perf_counter|monotonic|process_time|thread_time|time\.time)(_ns)?\(")
DEADLINES = {
    "curate/icons/test_build.py": "a build in another process has to come to a point, or hangs",
    "e2e/test_signals.py": "a process has to read, and to end, or hangs",
    "e2e/test_worlds.py": "processes have to come to a step, or hang",
    "train/world_runs.py": "a port of its own for each run",
}
"""Tests that read a clock: as a deadline for a process that hangs, and for nothing else."""


def test_no_test_depends_on_the_time_that_something_takes():
    tests = ROOT / "tests"
    read = {
        str(path.relative_to(tests))
        for path in tests.rglob("*.py")
        if path != Path(__file__) and CLOCKS.search(path.read_text())
    }
    assert read == DEADLINES.keys()


ELSEWHERE = {
    "checkpoints/formats/{config_reader,extras,key_map,shapes}.py": (
        "checkpoints/formats/test_trainers.py",
        "parts that every family uses, tested by reading and writing whole checkpoints",
    ),
    "checkpoints/formats/hugging_face/{infer,names}.py": (
        "checkpoints/formats/hugging_face/test_layout.py",
        "names and shapes of tensors, compared with transformers' own",
    ),
    "checkpoints/formats/open_clip/{config,describe,timm_siglip}.py": (
        "checkpoints/formats/open_clip/test_layout.py",
        "configuration and names, compared with open_clip's own",
    ),
    "checkpoints/formats/storage/{arrays,safe_pickle}.py": (
        "checkpoints/formats/storage/test_torch_save.py",
        "the reader of pickles is tested with whole files, hostile ones among them",
    ),
    "checkpoints/native_files.py": ("checkpoints/test_native.py", "what `save_model` writes"),
    "checkpoints/{meta,writer}.py": (
        "checkpoints/test_reader.py",
        "a model without weights, and models written for others, are only used by reading",
    ),
    "cli/{bench_tables,plan_tables,options,given}.py": (
        "cli/test_wrong_values.py",
        "tables and options are what the verbs print and take: the verbs' tests run them",
    ),
    "cli/compare.py": ("cli/test_eval.py", "compares what `eval` wrote"),
    "cli/found.py": ("cli/test_classify_directory.py", "the images that `classify` is given"),
    "curate/icons/{card,choice,choose_emoji,choose_icons,plan,sample,tags}.py": (
        "curate/icons/test_build.py",
        "the corpus is built whole from small packages",
    ),
    "checkpoints/weights.py": ("checkpoints/test_reader.py", "models are read through them"),
    "data/prefetch.py": ("data/test_loader.py", "the loader reads ahead by it"),
    "data/sources/arrays.py": ("data/sources/test_builtin.py", "built-in sets are arrays"),
    "data/sources/{folder_captions,folders,sample_files,table_datasets,tables,parquet}.py": (
        "data/test_datasets.py",
        "readers are tested as a user meets them, by `open_dataset`",
    ),
    "data/sources/split_names.py": ("data/test_splits.py", "the lists of names of splits"),
    "data/webdataset/{duplicate_keys,shard_captions,shard_index,tar_labels,tars}.py": (
        "data/webdataset/test_indexes.py",
        "an index, what is in it and what is read by it are one thing",
    ),
    "embed/{dataset,labels,loading,prompt_ensemble}.py": (
        "embed/test_embedder.py",
        "parts of the embedder; `embed_dataset` is also in the tests of tasks and caches",
    ),
    "errors.py": ("test_config_io.py", "messages are tested where they are raised"),
    "eval/context.py": ("eval/test_suite.py", "the features of a suite"),
    "eval/requirements.py": ("eval/test_suite.py", "refusals, before and in a task"),
    "eval/report/*.py": ("eval/test_report.py", "a page is judged whole: balanced, escaped, small"),
    "eval/results/{metric_names,references,result}.py": (
        "eval/results/test_files.py",
        "results are tested as they are written, read and shown",
    ),
    "eval/tasks/{classification,multi_label,robustness,scores}.py": (
        "eval/test_suite.py",
        "the suite runs every task",
    ),
    "export/{card,onnx,openvino,torch_export,towers,vocabulary}.py": (
        "export/test_deployment.py",
        "an export is one thing: towers, vocabulary and card for each runtime",
    ),
    "export/references.py": ("export/test_parity.py", "the libraries that answers must equal"),
    "search/exact.py": ("search/test_nearest.py", "exact search is the search without codes"),
    "search/code_search.py": ("search/test_codes.py", "codes and the search by them are one"),
    "formatting.py": ("test_docs.py", "doctests, and the tables of `plan` and `bench`"),
    "inference/{engine,outputs}.py": (
        "inference/test_openvino_engine.py",
        "what both engines share is tested by both",
    ),
    "inference/openvino_layers.py": (
        "inference/test_openvino_graph.py",
        "layers are tested in whole towers",
    ),
    "html/*.py": ("html/test_html.py", "parts of a page, judged in one"),
    "hub/unsupported.py": ("checkpoints/test_recognise.py", "models of other kinds, named"),
    "images/metadata.py": (
        "images/test_facts.py",
        "metadata is found for the facts, and tested by them in files of every format",
    ),
    "images/{exif,headers,tiff}.py": (
        "images/test_codecs.py",
        "headers are read before a decoder sees the file, and tested by decoding files",
    ),
    "inference/{preprocess,torch_engine}.py": (
        "embed/test_embedder.py",
        "the engine answers through the embedder",
    ),
    "model/flops.py": ("train/planning/test_flops.py", "compared with torch's own counter"),
    "model/loss/{ring,tiles}.py": ("model/loss/test_tiled.py", "tiles and rings against dense"),
    "model/{resnet,vision}.py": ("model/test_clip.py", "towers, compared with the references"),
    "search/calibration_fit.py": ("search/test_calibrate.py", "a fit is judged by its cut-offs"),
    "signals.py": ("e2e/test_signals.py", "signals need processes"),
    "text/{base_tokenizer,cleaning,loading}.py": (
        "text/test_clip_bpe.py",
        "parts that both vocabularies use",
    ),
    "text/sentencepiece/{normalizer,settings}.py": (
        "text/sentencepiece/test_tokenizer.py",
        "tested by the ids of whole texts, compared with the libraries' own",
    ),
    "train/{bad_samples,loss_guard}.py": (
        "train/test_trainer.py",
        "tested in runs that meet bad samples and explosions",
    ),
    "train/finetune/{initial,lora}.py": ("train/finetune/test_layers.py", "what is trained"),
    "train/finetune/weight_interpolation.py": ("cli/test_interpolate.py", "the verb is the test"),
    "train/recipes/{adapt,paper,recipe}.py": (
        "train/recipes/test_builtin.py",
        "recipes are tested by name, each with every setting",
    ),
    "types.py": ("test_shapes.py", "names of types alone"),
}
"""Modules without a test file of their own: the file with their tests, and the reason."""


def elsewhere() -> dict[str, str]:
    """The test file of each module that `ELSEWHERE` names."""
    found: dict[str, str] = {}
    for pattern, (test, _) in ELSEWHERE.items():
        head, _, rest = pattern.partition("{")
        names, _, tail = rest.partition("}")
        for name in names.split(","):
            paths = list(SRC.glob(f"{head}{name}{tail}"))
            assert paths, pattern
            found |= {str(path.relative_to(SRC)): test for path in paths}
    return found


def test_every_module_has_a_test_file_or_a_reason():
    tests = ROOT / "tests"
    listed = elsewhere()
    for path in MODULES:
        place = path.relative_to(SRC)
        has_own = (tests / place.parent / f"test_{path.name}").exists()
        if path.name != "__init__.py":
            assert has_own != (str(place) in listed), place
    for test in listed.values():
        assert (tests / test).exists(), test


QUESTION = re.compile(r"(What|Where|Which|Whether|How|Who|When|Why)\b")


def test_docstrings_name_things():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                text = str(node.value.value)
                assert not QUESTION.match(text), (path, text[:60])


def test_the_map_names_what_is_there_to_read():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| `([\w/.]+?)/?` \|.*\|([^|]*)\|$", text, re.MULTILINE)
    assert len(rows) == len(rooms_of_the_table())
    for room, first in rows:
        files = re.findall(r"`(\w+\.py)`", first)
        paths = [SRC / room / file for file in files] or [SRC / room]
        source = "".join(path.read_text() for path in paths if path.is_file())
        assert not files or source, (room, first)
        for name in re.findall(r"`(\w+)`", first):
            assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), (room, name)
