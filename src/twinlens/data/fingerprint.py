"""What tells the samples of one data set from those of another, without reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePath

from twinlens.data.samples import LazySamples, Sample, file_size
from twinlens.data.shards import ShardSample
from twinlens.data.tables import TableImage


def fingerprint(samples: Sequence[Sample]) -> str:
    """Sixteen hexadecimal digits: others for other samples, or for the same in another order.

    What is cheap to know counts: in tars the place and size of each sample's members; in folders
    and tables the size of each file, and the words that a table holds; with the files' names, but
    not the directories that all of them are in, so that data moved elsewhere stays what it is.
    Nothing is decoded: a picture replaced by one of the same size is not noticed.

    Raises:
        DataError: A file is gone.
    """
    digest = hashlib.blake2b(digest_size=8)
    for index in range(len(samples)):
        # `ascii`, as what `repr` escapes depends on the version of Unicode.
        digest.update(ascii(mark(samples, index)).encode() + b"\n")
    return digest.hexdigest()


def mark(samples: Sequence[Sample], index: int) -> object:
    """What is cheap to know of one sample, as plain Python values."""
    if isinstance(samples, LazySamples):
        return samples.mark(index)
    sample = samples[index]
    return _place(sample), sample.captions, sample.concept


def _place(sample: Sample) -> object:
    source = sample.source
    if isinstance(source, ShardSample):
        return source.mark
    if isinstance(source, TableImage):
        return source.table.name, source.row, file_size(source.table)
    key = PurePath(sample.key)
    return key.name if key.is_absolute() else sample.key, file_size(source)
