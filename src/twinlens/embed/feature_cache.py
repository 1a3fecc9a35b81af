"""Features on disk, so that no image and no prompt is computed twice.

A file is named after all that decides what is in it: the tower's weights and precision, how
images are read, and the samples. It is written whole or not at all and carries a checksum, so
that a file that was cut short or damaged is noticed, said, and made again.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from twinlens.config_io import to_dict
from twinlens.data.fingerprint import fingerprint
from twinlens.errors import DataError
from twinlens.files import whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from twinlens.data.samples import Sample
    from twinlens.embed.embedder import Embedder
    from twinlens.types import Embeddings

_FORMAT = "1"
"""Of the files; another number where the same key would mean other contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Features of some images that lie together in a data set.

    Attributes:
        features: What `Embedder.probe_features` gave: float32 [readable, width].
        readable: Which of the images these are, from 0: int64 [readable].
        unreadable: What ails the others, by their number.
    """

    features: NDArray[np.float32]
    readable: NDArray[np.int64]
    unreadable: dict[int, str]


def default_folder() -> Path:
    """Where features are kept unless another place is named."""
    return Path.home() / ".cache" / "twinlens" / "features"


@dataclass(slots=True)
class Store:
    """A folder of features of one model.

    Attributes:
        folder: Where the files are; made when the first is written.
        lens: The model.
        computed: How many images and texts were computed, not read.
    """

    folder: Path
    lens: Embedder
    computed: int = 0
    _towers: dict[str, str] = field(default_factory=dict[str, str])

    def shelf(self, name: str, samples: Sequence[Sample], change: str = "") -> Shelf:
        """The place of a data set's features.

        Args:
            name: The data set's, for people who look into the folder.
            samples: Its samples, all of them.
            change: What was done to the images first, if anything.
        """
        lens = self.lens
        image = json.dumps(to_dict(lens.config.image_input), sort_keys=True)
        read = _digest(image, lens.decode, change)
        key = f"{self._tower('image')}-{read}-{fingerprint(samples)}"
        tidy = "".join(c if c.isalnum() else "-" for c in name)[:40]
        return Shelf(self.folder / f"{tidy}-{key}")

    def classifier(self, classnames: Sequence[str], templates: Sequence[str]) -> Embeddings:
        """`Embedder.zero_shot_classifier`, computed once: float32 [embed, class]."""
        return self._texts(
            lambda: self.lens.zero_shot_classifier(classnames, templates),
            [*classnames, *templates],
            f"{len(classnames)} x {len(templates)}",
        )

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """`Embedder.embed_texts`, computed once; what is too long is cut."""
        return self._texts(lambda: self.lens.embed_texts(texts, truncate=True), texts, "texts")

    def _texts(
        self, compute: Callable[[], Embeddings], texts: Sequence[str], how: str
    ) -> Embeddings:
        # Ids, not only words: another vocabulary reads the same words otherwise.
        context = self.lens.config.text_input.context_length
        ids = self.lens.tokenizer(list(texts), context_length=context, truncate=True)
        words = _digest("\n".join(map(ascii, texts)), ids.numpy().tobytes(), how)
        path = self.folder / "texts" / f"{self._tower('text')}-{words}.safetensors"
        found = _read(path)
        if found is not None:
            return found[0]["embeddings"]
        embeddings = np.ascontiguousarray(compute())
        self.computed += len(texts)
        _write(path, {"embeddings": embeddings}, {})
        return embeddings

    def _tower(self, name: str) -> str:
        """A digest of a tower's weights and of what it computes in."""
        if name not in self._towers:
            lens = self.lens
            tower = cast("nn.Module", getattr(lens.model, f"{name}_tower"))
            digest = hashlib.blake2b(digest_size=8)
            sizes = lens.config.vision if name == "image" else lens.config.text
            head = [_FORMAT, lens.precision, lens.device.type, repr(sizes)]
            digest.update(ascii(head).encode())
            for key, value in tower.state_dict().items():
                digest.update(key.encode())
                if isinstance(value, torch.Tensor):
                    raw = value.detach().cpu().contiguous().flatten()
                    digest.update(cast(Any, raw.view(torch.uint8).numpy()))
            self._towers[name] = digest.hexdigest()
        return self._towers[name]


@dataclass(frozen=True, slots=True)
class Shelf:
    """The parts of one data set's features, a file each."""

    folder: Path

    def read(self, number: int) -> Part | None:
        """A part, or nothing where there is none; a damaged one is removed with a warning."""
        found = _read(self._path(number))
        if found is None:
            return None
        arrays, facts = found
        return Part(
            features=arrays["features"],
            readable=arrays["readable"],
            unreadable={int(k): why for k, why in json.loads(facts["unreadable"]).items()},
        )

    def write(self, number: int, part: Part) -> None:
        """Keep a part.

        Raises:
            DataError: It cannot be written: a full disk, say.
        """
        arrays = {"features": part.features, "readable": part.readable}
        _write(self._path(number), arrays, {"unreadable": json.dumps(part.unreadable)})

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.safetensors"


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]] | None:
    """What is in a file; nothing where there is none, or where it is not what was written."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
            facts = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        return _discard(path, f"cut short or damaged ({' '.join(str(error).split())})")
    if facts.pop("checksum", "") != _checksum(arrays):
        return _discard(path, "other bytes than were written")
    return arrays, facts


def _discard(path: Path, why: str) -> None:
    warnings.warn(f"{path}: got {why}, expected a whole file: computing it again", stacklevel=4)
    path.unlink(missing_ok=True)


def _write(path: Path, arrays: dict[str, NDArray[Any]], facts: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(to_bytes(arrays, facts | {"checksum": _checksum(arrays)}))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def _checksum(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()


def _digest(*pieces: str | bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        data = piece if isinstance(piece, bytes) else piece.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
