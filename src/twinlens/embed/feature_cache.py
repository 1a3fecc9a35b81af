"""Features on disk, so that no image and no prompt is computed twice.

The name of a file is made of everything that its contents depend on: the tower's weights and
precision, how images are decoded, and the samples. A file is written whole or not at all and has a
checksum: one that was cut short or damaged is removed with a warning and computed again.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config_io import to_dict
from twinlens.data.samples import fingerprint
from twinlens.errors import DataError, os_errors_as
from twinlens.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Sample
    from twinlens.embed.embedder import Embedder
    from twinlens.types import Embeddings

_FORMAT_VERSION = "1"
"""Version of the files; a new one is due when the same name would mean other contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChunk:
    """Features of consecutive images of a data set.

    Attributes:
        features: Features from `Embedder.probe_features`: float32 [readable, width].
        readable_indices: Indices of their images in the chunk, from 0: int64 [readable].
        unreadable: Why the other images cannot be decoded, by their indices.
    """

    features: NDArray[np.float32]
    readable_indices: NDArray[np.int64]
    unreadable: dict[int, str]


def default_cache_dir() -> Path:
    """The directory of features unless another one is given."""
    return Path.home() / ".cache" / "twinlens" / "features"


@dataclass(slots=True)
class FeatureCache:
    """A directory of features of one model.

    Attributes:
        directory: The directory; made when the first file is written.
        embedder: The model.
        num_computed: Number of images and texts that were computed and not read.
    """

    directory: Path
    embedder: Embedder
    num_computed: int = 0
    _tower_digests: dict[str, str] = field(default_factory=dict[str, str])

    def dataset_cache(
        self, name: str, samples: Sequence[Sample], transform: str = ""
    ) -> DatasetCache:
        """The part of the cache with a data set's features.

        Args:
            name: The data set's name, for people who look into the directory.
            samples: All its samples.
            transform: A name of what was done to the images first, if anything.
        """
        preprocessing = json.dumps(to_dict(self.embedder.config.preprocess_config), sort_keys=True)
        pixels = _digest_of_pieces(preprocessing, self.embedder.decode, transform)
        key = f"{self._tower_digest('image')}-{pixels}-{fingerprint(samples)}"
        tidy = "".join(c if c.isalnum() else "-" for c in name)[:40]
        return DatasetCache(self.directory / f"{tidy}-{key}")

    def zero_shot_classifier(
        self, classnames: Sequence[str], templates: Sequence[str]
    ) -> Embeddings:
        """`Embedder.zero_shot_classifier` from the cache: float32 [embed, class]."""
        return self._cached_texts(
            lambda: self.embedder.zero_shot_classifier(classnames, templates),
            [*classnames, *templates],
            f"{len(classnames)} x {len(templates)}",
        )

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """`Embedder.embed_texts` from the cache; texts that are too long are cut."""
        return self._cached_texts(
            lambda: self.embedder.embed_texts(texts, truncate=True), texts, "texts"
        )

    def _cached_texts(
        self, compute: Callable[[], Embeddings], texts: Sequence[str], kind: str
    ) -> Embeddings:
        # Ids, not only texts: another vocabulary has other ids for the same text.
        context = self.embedder.config.text_config.context_length
        ids = self.embedder.tokenizer(list(texts), context_length=context, truncate=True)
        key = _digest_of_pieces("\n".join(map(ascii, texts)), ids.tobytes(), kind)
        path = self.directory / "texts" / f"{self._tower_digest('text')}-{key}.safetensors"
        stored = _read_file(path)
        if stored is not None:
            return stored[0]["embeddings"]
        embeddings = np.ascontiguousarray(compute())
        self.num_computed += len(texts)
        _write_file(path, {"embeddings": embeddings}, {})
        return embeddings

    def _tower_digest(self, name: str) -> str:
        """A digest of a tower's weights, sizes, precision and type of device."""
        if name not in self._tower_digests:
            embedder = self.embedder
            sizes = embedder.config.vision if name == "image" else embedder.config.text
            place = [embedder.engine.name, embedder.device.partition(":")[0]]
            head = [_FORMAT_VERSION, embedder.precision, *place, repr(sizes)]
            weights = embedder.engine.tower_weights(name)
            pieces = chain([ascii(head).encode()], _tensor_pieces(weights))
            self._tower_digests[name] = _digest(pieces)
        return self._tower_digests[name]


@dataclass(frozen=True, slots=True)
class DatasetCache:
    """The features of one data set, a file a chunk."""

    directory: Path

    def read(self, index: int) -> FeatureChunk | None:
        """Read a chunk; None where there is none. A damaged one is removed with a warning."""
        stored = _read_file(self._path(index))
        if stored is None:
            return None
        arrays, metadata = stored
        return FeatureChunk(
            features=arrays["features"],
            readable_indices=arrays["readable"],
            unreadable={int(k): reason for k, reason in json.loads(metadata["unreadable"]).items()},
        )

    def write(self, index: int, chunk: FeatureChunk) -> None:
        """Write a chunk.

        Raises:
            DataError: It cannot be written, because the disk is full, say.
        """
        arrays = {"features": chunk.features, "readable": chunk.readable_indices}
        _write_file(self._path(index), arrays, {"unreadable": json.dumps(chunk.unreadable)})

    def _path(self, index: int) -> Path:
        return self.directory / f"{index:06}.safetensors"


def _read_file(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]] | None:
    """Read a file's arrays and metadata; None where there is none, or where it is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        return _discard_file(path, f"cut short or damaged ({' '.join(str(error).split())})")
    if metadata.pop("checksum", "") != _checksum(arrays):
        return _discard_file(path, "other bytes than were written")
    return arrays, metadata


def _discard_file(path: Path, why: str) -> None:
    warnings.warn(f"{path}: got {why}, expected a whole file: computing it again", stacklevel=4)
    path.unlink(missing_ok=True)


def _write_file(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    with os_errors_as(DataError, path, "cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(to_bytes(arrays, metadata | {"checksum": _checksum(arrays)}))


def _checksum(arrays: dict[str, NDArray[Any]]) -> str:
    pieces = ((key.encode(), np.ascontiguousarray(arrays[key]).tobytes()) for key in sorted(arrays))
    return _digest(chain.from_iterable(pieces))


def _tensor_pieces(weights: Mapping[str, Array]) -> Iterator[bytes | memoryview]:
    """The names and bytes of a tower's weights, in order."""
    for key, array in weights.items():
        yield key.encode()
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _digest_of_pieces(*pieces: str | bytes) -> str:
    """A digest that tells pieces apart also where they are the same when joined."""
    encoded = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
    return _digest(len(piece).to_bytes(8, "little") + piece for piece in encoded)


def _digest(pieces: Iterable[bytes | memoryview]) -> str:
    """Sixteen hexadecimal digits of the pieces' bytes, joined."""
    digest = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
