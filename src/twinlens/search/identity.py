"""The model of an index: vectors of one model say nothing about those of another.

Files of the same model differ by layout, and its vectors a little by runtime and precision. So an
index keeps, beside hashes, the embeddings of a few texts and of one image; a model that is to
answer must embed them alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from twinlens.checkpoints.formats.storage.arrays import release_array
from twinlens.errors import DataError

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder

MIN_COSINE = 0.999
"""Smallest cosine of one model's embeddings in two precisions: that of the parity gate."""

PROBE_TEXTS = ("a red bicycle against a wall", "sheet music", "Two cats asleep on a sofa.")

_SAMPLED_NUMBERS = 64
"""Numbers of each tensor that the hash of a model reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The model that made an index's vectors.

    Attributes:
        model: Its name or directory, as `load` takes it.
        model_hash: A hash of its weights, the same for every layout of its files.
        preprocessing_hash: A hash of how images become its input.
        precision: The precision that it computed in.
        engine: The runtime.
        probes: The embeddings of `PROBE_TEXTS`, then of the probe image, in hexadecimal.
    """

    model: str
    model_hash: str
    preprocessing_hash: str
    precision: str
    engine: str
    probes: str

    @classmethod
    def of(cls, embedder: Embedder, model: str) -> Identity:
        """The identity of a model with both towers."""
        probes = np.concatenate([_text_probes(embedder), _image_probe(embedder)])
        return cls(
            model=model,
            model_hash=_weights_hash(embedder),
            preprocessing_hash=preprocessing_hash(embedder),
            precision=embedder.precision,
            engine=embedder.engine.name,
            probes=probes.astype("<f4").tobytes().hex(),
        )

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> Identity:
        """The identity that `facts` gave."""
        return cls(**{name: facts[name] for name in cls.__dataclass_fields__})

    def facts(self) -> dict[str, str]:
        """Name and value of each attribute, as an index keeps them."""
        return asdict(self)

    def probe_vectors(self, width: int) -> Float32[np.ndarray, "probe width"]:
        """The embeddings of the probes."""
        return np.frombuffer(bytes.fromhex(self.probes), "<f4").reshape(-1, width)


def check_same_model(
    identity: Identity,
    embedder: Embedder,
    index: Path,
    *,
    images: bool = True,
    texts: Sequence[str] = (),
) -> Float32[np.ndarray, "text width"]:
    """Refuse a model whose vectors cannot be compared with an index's.

    Another runtime or precision of the same model is accepted within `MIN_COSINE`.

    Args:
        identity: The index's.
        embedder: The model that is to answer.
        index: The index's directory, for the message.
        images: Compare the image tower too, which is not needed for queries of words.
        texts: Texts to embed in the same batch as the probes.

    Returns:
        The texts' embeddings.

    Raises:
        DataError: It is another model, or preprocesses images in another way.
    """
    expected = f"{identity.model} ({identity.model_hash[:12]}), which made the index"
    width = embedder.config.embed_dim
    if len(identity.probes) != 8 * width * (len(PROBE_TEXTS) + 1):
        raise DataError(
            f"{index}: got a model of embeddings of {width} numbers, expected {expected}"
        )
    if images and preprocessing_hash(embedder) != identity.preprocessing_hash:
        raise DataError(f"{index}: got a model of other preprocessing, expected {expected}")
    embedded = embedder.embed_texts([*texts, *PROBE_TEXTS])
    found, got = embedded[: len(texts)], embedded[len(texts) :]
    if images:
        got = np.concatenate([got, _image_probe(embedder)])
    cosine = float((got * identity.probe_vectors(width)[: len(got)]).sum(axis=1).min())
    if not cosine >= MIN_COSINE:  # a NaN is none either
        raise DataError(
            f"{index}: got another model (cosine {cosine:.3f} of its embeddings with the index's), "
            f"expected {expected}"
        )
    return found


def preprocessing_hash(embedder: Embedder) -> str:
    """A hash of how images become a model's input."""
    settings = json.dumps(asdict(embedder.config.preprocess_config), sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()


def _weights_hash(embedder: Embedder) -> str:
    """A hash of some numbers of every tensor, in float32, by our names."""
    digest = hashlib.sha256()
    for tower in ("image", "text"):
        weights = embedder.engine.tower_weights(tower)
        for name in sorted(weights):
            numbers = np.asarray(weights[name]).reshape(-1)
            places = np.linspace(0, len(numbers) - 1, _SAMPLED_NUMBERS).astype(int)
            digest.update(f"{name} {weights[name].shape}".encode())
            digest.update(numbers[places].astype("<f4").tobytes())
            release_array(weights[name])  # they were verified, which has read all of them
    return digest.hexdigest()


def _text_probes(embedder: Embedder) -> Float32[np.ndarray, "probe width"]:
    return embedder.embed_texts(PROBE_TEXTS)


def _image_probe(embedder: Embedder) -> Float32[np.ndarray, "1 width"]:
    return embedder.embed_images(probe_image())


def probe_image() -> UInt8[np.ndarray, "192 256 3"]:
    """An image with edges, gradients and colours, not square."""
    down, across = np.mgrid[0:192, 0:256].astype(np.uint16)
    stripes = 255 * ((down // 16 + across // 24) % 2)
    disc = 200 * ((down - 96) ** 2 + (across.astype(np.int64) - 100) ** 2 < 3_600)
    return np.stack([down, stripes, disc], axis=-1).astype(np.uint8)
