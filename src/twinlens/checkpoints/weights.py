"""Weights of a checkpoint of any family as NumPy arrays by our names, read without torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from twinlens.checkpoints.checksums import verify_tensor_checksums
from twinlens.checkpoints.expected_weights import expected_weights
from twinlens.checkpoints.formats.key_map import to_native_tensors
from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.checkpoints.formats.storage.tensors import LazyTensors, stream_tensors
from twinlens.checkpoints.recognise import Checkpoint, open_checkpoint
from twinlens.config import (
    Activation,
    CLIPConfig,
    ViTConfig,
)
from twinlens.errors import CheckpointError, ConfigError, os_errors_as, require
from twinlens.types import TowerSelection

_POSITIONAL_EMBEDDING = "image_tower.positional_embedding"

_NOTE_SUFFIXES = (".csv", ".html", ".jsonl", ".log", ".md", ".png", ".txt")
"""Files beside a model that do not change what its towers compute."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the towers that were read.

    Attributes:
        config: The configuration of these towers.
        tensors: Arrays by our names, of the types on disk. They stay in the file, mapped into
            memory, until they are used.
    """

    config: CLIPConfig
    tensors: Mapping[str, Array]


def load_weights(
    path: Path,
    *,
    towers: TowerSelection = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
) -> Weights:
    """Read the weights of a model.

    Args:
        path: Any checkpoint that `open_checkpoint` takes.
        towers: Only these towers' tensors are read.
        image_size: A size of images other than the checkpoint's: the positional embedding of a
            vision transformer is resized, bicubic as in open_clip.
        activation: See `open_checkpoint`.

    Raises:
        CheckpointError: Files are missing or damaged, or tensors do not fit the configuration;
            all that are missing, unexpected or of another shape are listed at once.
        ConfigError: The configuration is wrong, or the image size cannot be changed.
    """
    return open_weights(path, towers, image_size, activation).read()


def read_weights(
    checkpoint: Checkpoint, towers: TowerSelection = "both", image_size: int | None = None
) -> Weights:
    """Read the weights of an opened checkpoint: see `load_weights`."""
    return LazyWeights(checkpoint, towers, image_size).read()


def open_weights(
    path: Path,
    towers: TowerSelection = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
) -> LazyWeights:
    """Open the weights of a model without reading them: see `load_weights`."""
    path = Path(path).resolve()
    files = files_fingerprint(path)  # before they are opened: those replaced later are others
    weights = LazyWeights(open_checkpoint(path, activation=activation), towers, image_size)
    weights.opened_with = (path, towers, image_size, activation)
    weights.files = files
    return weights


class LazyWeights:
    """The weights of an opened checkpoint, checked when they are first read.

    Args:
        checkpoint: The opened checkpoint.
        towers: Only these towers' tensors are read.
        image_size: See `load_weights`.

    Attributes:
        config: The configuration of these towers.
        files: A digest of the model's files as they were opened: see `files_fingerprint`.
        opened_with: The arguments of `open_weights`, with which another process opens them again.

    Raises:
        ConfigError: The configuration lacks the tower, or the image size cannot be changed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        towers: TowerSelection = "both",
        image_size: int | None = None,
    ) -> None:
        self.files = ""
        self.opened_with: tuple[Any, ...] = (checkpoint.path, towers, image_size, None)
        self._checkpoint = checkpoint
        self._stored_config = select_towers(checkpoint.config, towers)
        self._is_verified = False
        self.config = self._stored_config
        if image_size not in (None, getattr(self.config.preprocess, "image_size", None)):
            self.config = resize_config(self.config, image_size)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_weights, self.opened_with

    @property
    def place(self) -> str:
        """The model's directory or file."""
        return str(self._checkpoint.path)

    @property
    def fingerprint(self) -> str:
        """The files as they were when they were opened, and the configuration."""
        return f"{self.files} {self.config!r}"

    def has_changed(self) -> bool:
        """True if the model's files are others than those that were opened."""
        return files_fingerprint(self.opened_with[0]) != self.files

    def verify(self) -> None:
        """Compare names, shapes, types and checksums.

        Raises:
            CheckpointError: See `load_weights`.
        """
        checkpoint, expected = self._checkpoint, self._expected()
        checkpoint.check_compatible(expected)
        wanted = [
            name
            for mapping in checkpoint.key_map
            if mapping.native_name in expected
            for name in mapping.foreign_names
        ]
        passed = stream_tensors(checkpoint.tensors, dict.fromkeys(wanted))
        verify_tensor_checksums(passed, checkpoint.checksums, checkpoint.path)
        self._is_verified = True

    def read(self) -> Weights:
        """All tensors, mapped into memory; verified once."""
        if not self._is_verified:
            self.verify()
        names = expected_weights(self._stored_config)
        readers = {name: partial(self._read_tensor, name) for name in names}
        return Weights(self.config, LazyTensors(readers))

    def tensor(self, name: str) -> Array:
        """One tensor by our name, the only one that is read and verified.

        Raises:
            CheckpointError: It is missing, or has changed since the model was saved.
        """
        checkpoint = self._checkpoint
        names = [
            foreign
            for mapping in checkpoint.key_map
            if mapping.native_name == name and name in self._expected()
            for foreign in mapping.foreign_names
        ]
        passed = ((foreign, checkpoint.tensors[foreign]) for foreign in names)
        verify_tensor_checksums(passed, checkpoint.checksums, checkpoint.path)
        return self._read_tensor(name)

    def _expected(self) -> dict[str, Array]:
        expected = expected_weights(self._stored_config)
        if self.config.vision is None or self.config.text is None:
            for name in self.config.initial_logits:  # one tower has no logits
                if name in expected and not self._has(name):
                    del expected[name]
        return expected

    def _has(self, name: str) -> bool:
        """True if the file has a tensor, by our name."""
        return any(
            mapping.native_name == name
            and all(foreign in self._checkpoint.tensors for foreign in mapping.foreign_names)
            for mapping in self._checkpoint.key_map
        )

    def _read_tensor(self, name: str) -> Array:
        initial = self.config.initial_logits
        if name in initial and name not in self._expected():
            return np.array(initial[name], np.float32)
        array = to_native_tensors(self._checkpoint.key_map, self._checkpoint.tensors)[name]
        if name == _POSITIONAL_EMBEDDING and self.config != self._stored_config:
            return resize_positional_embedding(array.astype(np.float32), self.config)
        return array


def files_fingerprint(path: Path) -> str:
    """A digest of the names, sizes and times of a model's files, which are not read.

    Args:
        path: The model's directory; or a file of weights, beside which its configuration lies.

    Raises:
        CheckpointError: A file cannot be read.
    """
    with os_errors_as(CheckpointError, path, "cannot be read"):
        return _files_fingerprint(path)


def _files_fingerprint(path: Path) -> str:
    directory = path.parent if path.is_file() else path
    files = sorted(
        file
        for file in directory.iterdir()
        if file.is_file() and (file == path or file.suffix not in _NOTE_SUFFIXES)
    )
    if path.is_file() and ".index." not in path.name:
        files = [file for file in files if file == path or file.suffix == ".json"]
    lines = [str(directory.resolve())]
    for file in files:
        status = file.stat()
        times = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        lines.append(f"{file.name} {times}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def select_towers(config: CLIPConfig, towers: TowerSelection) -> CLIPConfig:
    """Remove the towers that are not selected from a configuration.

    Raises:
        ConfigError: The model does not have the selected tower.
    """
    if towers == "image":
        _ = config.preprocess_config
        return replace(config, text=None)
    if towers == "text":
        _ = config.text_config
        return replace(config, vision=None, preprocess=None)
    return config


def resize_config(config: CLIPConfig, image_size: int) -> CLIPConfig:
    """The configuration for images of another size.

    Raises:
        ConfigError: The image tower is no vision transformer, or its patches do not fit.
    """
    is_number = isinstance(image_size, int)  # pyright: ignore[reportUnnecessaryIsInstance]
    require(is_number, "image_size", image_size, "a whole number of pixels")
    if not isinstance(config.vision, ViTConfig):
        raise ConfigError(
            f"image_size: got {image_size} for a ResNet, expected a vision transformer: "
            "only its positional embedding can be resized"
        )
    return replace(
        config,
        vision=replace(config.vision, image_size=image_size),
        preprocess=replace(config.preprocess_config, image_size=image_size),
    )


def resize_positional_embedding(
    positions: Float32[np.ndarray, "old width"], config: CLIPConfig
) -> Float32[np.ndarray, "new width"]:
    """Resize a positional embedding to the configuration's grid of patches.

    A class token's row is not changed.

    Bicubic with anti-aliasing, as open_clip's `resize_pos_embed`; Pillow's filter is the same.
    """
    assert isinstance(config.vision, ViTConfig)
    first = 1 if config.vision.pooling == "class" else 0
    new = config.vision.image_size // config.vision.patch_size
    old = math.isqrt(len(positions) - first)
    planes = positions[first:].T.reshape(-1, old, old)
    resized = [
        np.asarray(Image.fromarray(plane).resize((new, new), Image.Resampling.BICUBIC))
        for plane in planes
    ]
    return np.concatenate([positions[:first], np.stack(resized).reshape(-1, new * new).T])
