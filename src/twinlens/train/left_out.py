"""Samples that a run leaves out: checked before it starts and written to `left-out.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twinlens.data.left_out import LeftOut
from twinlens.data.samples import Dataset
from twinlens.errors import DataError
from twinlens.files import atomic_write_text

LEFT_OUT_FILE = "left-out.json"
DATASET_KEY = "data set"
"""Key of what is left out when the data set is opened: each file once."""

TRAINING_KEY = "training"
"""Key of what is left out in training: samples that were replaced, as often as they were drawn, and
metadata that was passed over, once a sample."""


def check_training_data(dataset: Dataset, *, needs_captions: bool, strict: bool) -> None:
    """Refuse data without captions to train on or, if strict, with anything left out.

    Raises:
        DataError: No image has a caption and they are needed, or `strict` is not met.
    """
    count = len(dataset.samples)
    if needs_captions and count and dataset.without_caption.total == count:
        raise DataError(
            f"{dataset.name}: got no caption for any of {count:,} images, expected texts beside "
            "them (.txt, .caption, .json), a metadata file or a column of captions"
        )
    if strict:
        dataset.all_left_out(needs_captions=needs_captions).refuse(dataset.name)


def write_left_out(out: Path, data_set: LeftOut | None, training: LeftOut) -> None:
    """Write `left-out.json`; if `data_set` is None, that part stays as it is.

    Raises:
        OSError: It cannot be written.
    """
    content = read_left_out(out)
    if data_set is not None:
        content[DATASET_KEY] = data_set
    content[TRAINING_KEY] = training
    text = json.dumps({part: one.as_json() for part, one in content.items()}, indent=2)
    atomic_write_text(f"{text}\n", out / LEFT_OUT_FILE)


def read_left_out(out: Path) -> dict[str, LeftOut]:
    """Read both parts of `left-out.json`; empty ones for older runs without the file."""
    path = out / LEFT_OUT_FILE
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {part: LeftOut.from_json(content.get(part, {})) for part in (DATASET_KEY, TRAINING_KEY)}
