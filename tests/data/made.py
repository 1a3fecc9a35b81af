"""Small data sets for tests: images told apart by their grey, tars and tables of them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from twinlens.data.augment import Augmentation
from twinlens.data.datasets import Dataset
from twinlens.data.loader import Batch, PairLoader
from twinlens.data.samples import Sample
from twinlens.images.decode import decode_image
from twinlens.text.clip_bpe import Tokenizer

CONTEXT = 12


@cache
def image(grey: int = 0) -> bytes:
    """A PNG of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


def grey(sample: Sample) -> int:
    """Which image it is."""
    return int(np.asarray(decode_image(sample.image_bytes()))[0, 0, 0])


def greys(dataset: Dataset) -> list[int]:
    """Which images they are, in the order of the samples."""
    return [grey(sample) for sample in dataset.samples]


def write_files(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Files under a root, whose folders are made."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_tar(path: Path, files: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> Path:
    """A tar of files in their order; with pairs, a name may be there twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], separator: str = ",") -> Path:
    """A table of the kind that its ending tells: `.csv`, `.tsv`, `.jsonl` or `.parquet`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        parquet.write_table(pytest.importorskip("pyarrow").table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".tsv" or separator == "\t":  # cells as they are, which nothing quotes
        lines = [rows[0].keys(), *(row.values() for row in rows)]
        path.write_text("".join("\t".join(cells) + "\n" for cells in lines), "utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
    return path


def epoch(dataset: Dataset) -> Batch:
    """All samples once, as training sees them."""
    loader = PairLoader(
        dataset,
        Tokenizer.clip(),
        batch_size=len(dataset.samples),
        image_size=4,
        context_length=CONTEXT,
        augmentation=Augmentation(),
        seed=len(dataset.samples),
    )
    return loader.batch(0)


def pairs(batch: Batch) -> list[tuple[int, tuple[int, ...]]]:
    """Which image was shown with which words, in order of the images."""
    shown = batch.pixels[:, 0, 0, 0].tolist()
    return sorted(zip(shown, map(tuple, batch.tokens[0].tolist()), strict=True))


def tokens(text: str) -> tuple[int, ...]:
    """What a caption becomes in an `epoch`."""
    return tuple(Tokenizer.clip().encode_truncated([text], CONTEXT)[0][0].tolist())
