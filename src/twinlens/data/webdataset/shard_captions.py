"""Captions in a Parquet file beside a tar: `00000.parquet` of img2dataset's `00000.tar`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePosixPath

from twinlens.data.sources.captions import TEXT_FIELDS, texts_of
from twinlens.data.sources.parquet import parquet_rows, parquet_schema
from twinlens.data.sources.remote import Place, beside, name_of, read_small
from twinlens.data.webdataset.shards import ShardSample


def read_table_captions(sample: ShardSample) -> tuple[str, ...]:
    """The caption that the table beside the tar has for a sample; none where there is no table.

    Its `key` is the sample's, with or without the folder that the tar has before it.

    Raises:
        DataError: The table is broken.
        MissingExtraError: There is one and pyarrow is not installed.
    """
    captions = _load_captions(caption_table_path(sample.shard))
    name = PurePosixPath(sample.key).name
    number = name.lstrip("0") or "0"  # where the table's keys are numbers
    return captions.get(sample.key) or captions.get(name) or captions.get(number, ())


def caption_table_path(shard: Place) -> Place:
    """The path of the table of a tar, which need not exist."""
    return beside(shard, PurePosixPath(name_of(shard)).with_suffix(".parquet").name)


@lru_cache(maxsize=64)  # a window of shuffling has some dozens of shards
def _load_captions(table: Place) -> dict[str, tuple[str, ...]]:
    data = read_small(table)
    if data is None:
        return {}
    known = {name.lower(): name for name in reversed(parquet_schema(table, data).names)}
    columns = [known[field] for field in TEXT_FIELDS if field in known]
    if "key" not in known or not columns:  # a table of something else
        return {}
    return {
        str(row[known["key"]]): next(filter(None, (texts_of(row[c]) for c in columns)), ())
        for row in parquet_rows(table, [known["key"], *columns], data)
    }
