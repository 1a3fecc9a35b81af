"""What a run leaves out of its data: checked before it begins, and kept in `left-out.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twinlens.data.left_out import LeftOut, joined
from twinlens.data.samples import Dataset
from twinlens.errors import DataError
from twinlens.files import write_whole

LEFT_OUT_FILE = "left-out.json"
DATA_SET = "data set"
"""What is known of the data when it is opened: each file once."""

TRAINING = "training"
"""What was met while training: samples that were replaced, as often as they were drawn, and
metadata that was passed over, once a sample."""


def known(dataset: Dataset, *, needs_captions: bool) -> LeftOut:
    """What a data set leaves out of training, as far as it is known before it is read."""
    return joined([dataset.left_out, *([dataset.without_caption] if needs_captions else [])])


def check_data(dataset: Dataset, *, needs_captions: bool, strict: bool) -> None:
    """Refuse data that has nothing to train on or, if strict, of which anything is left out.

    Raises:
        DataError: No image has a caption where one is needed, or `strict` is not met.
    """
    count = len(dataset.samples)
    if needs_captions and count and dataset.without_caption.total == count:
        raise DataError(
            f"{dataset.name}: got no caption for any of {count:,} images, expected texts beside "
            "them (.txt, .caption, .json), a metadata file or a column of captions"
        )
    if strict:
        known(dataset, needs_captions=needs_captions).refuse(dataset.name)


def write_left_out(out: Path, data_set: LeftOut | None, training: LeftOut) -> None:
    """Write the file; without `data_set` that part stays as it is.

    Raises:
        OSError: It cannot be written.
    """
    content = read_left_out(out)
    if data_set is not None:
        content[DATA_SET] = data_set
    content[TRAINING] = training
    text = json.dumps({part: one.as_json() for part, one in content.items()}, indent=2)
    write_whole(f"{text}\n", out / LEFT_OUT_FILE)


def read_left_out(out: Path) -> dict[str, LeftOut]:
    """Both parts of a run's file; empty ones where there is none, as of older runs."""
    path = out / LEFT_OUT_FILE
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {part: LeftOut.from_json(content.get(part, {})) for part in (DATA_SET, TRAINING)}
