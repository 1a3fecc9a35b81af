"""The OpenVINO engine: towers compiled for processors, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib.util import find_spec
from mmap import mmap
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray

import twinlens
from twinlens.checkpoints.expected_weights import count_parameters
from twinlens.checkpoints.formats.storage.arrays import Array, release_pages
from twinlens.config import CLIPConfig, ViTConfig
from twinlens.errors import ConfigError, MissingExtraError
from twinlens.hardware import usable_cpu_count
from twinlens.images.decode import to_pixels
from twinlens.inference.engine import (
    HIDDEN_TEXT_BATCH,
    check_pixel_batch,
    require_tower,
    unit_vectors,
)
from twinlens.inference.openvino_graph import image_graph, prefix_tree_graph, text_graph
from twinlens.inference.openvino_layers import BFLOAT16, FLOAT32
from twinlens.inference.openvino_runtime import shared_core
from twinlens.inference.outputs import image_output_shape, require_output
from twinlens.text.prefix_tree import (
    PackedTexts,
    needs_full_context,
    pack_texts,
    unique_texts,
)
from twinlens.types import BF16_MIN_PARAMETERS, Embeddings, EngineName, Precision

if TYPE_CHECKING:
    from twinlens.checkpoints.weights import LazyWeights
    from twinlens.inference.compiled_cache import CompiledCache

PRECISIONS: Mapping[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
"""Precisions that the engine computes in, and OpenVINO's names of them."""


def pick_openvino_precision(precision: Precision, config: CLIPConfig) -> Precision:
    """The precision of a name; "auto" is bf16 for large models on processors that multiply it.

    Raises:
        ConfigError: The engine has no such precision.
    """
    if precision == "auto":
        is_large = count_parameters(config) > BF16_MIN_PARAMETERS
        return "bf16" if is_large and has_fast_bf16() else "fp32"
    if precision not in PRECISIONS:
        raise ConfigError(
            f"precision: got {precision!r} for the openvino engine, expected auto, fp32 or bf16; "
            "engine='torch' has the others"
        )
    return precision


def has_fast_bf16() -> bool:
    """True if the processor multiplies bf16 natively; emulation is slower than float32."""
    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compile_settings(precision: Precision) -> dict[str, Any]:
    """OpenVINO's settings of a graph that answers one call at a time, on all our cores."""
    return {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": usable_cpu_count(),
    }


@cache
def graph_digest() -> str:
    """A digest of the code that makes towers of files: what older code compiled is not used."""
    package = Path(twinlens.__file__).parent
    sources = [*package.glob("inference/*.py"), *package.glob("checkpoints/**/*.py")]
    sources += [package / "text" / "prefix_tree.py", package / "config.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(sources))).hexdigest()


class _CompiledTower:
    """A compiled tower, which answers one call at a time.

    Args:
        compiled: OpenVINO's compiled model.
        mapped: The file that it was read from, whose memory it uses.
    """

    def __init__(self, compiled: Any, mapped: mmap | None = None) -> None:
        self._request = compiled.create_infer_request()
        self._mapped = mapped
        self._is_fresh = True
        self._lock = Lock()

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """The output, a copy.

        Raises:
            RuntimeError: OpenVINO could not compute it.
        """
        with self._lock:
            found = self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)
            if self._is_fresh and self._mapped is not None:
                release_pages(self._mapped)  # kernels have copies of most weights now
            self._is_fresh = False
            return np.array(found[0], np.float32)  # a copy: the next request overwrites it


class OpenVINOEngine:
    """Runs the towers of a model in OpenVINO, each compiled when it is first used.

    Safe to use from several threads, which take turns.

    Args:
        weights: The weights, read when a tower is compiled that is not in the cache.
        precision: The precision of the towers.
        cache: Compiled towers on disk; None compiles in each process.
    """

    name: EngineName = "openvino"
    device = "cpu"

    def __init__(
        self, weights: LazyWeights, precision: Precision, cache: CompiledCache | None
    ) -> None:
        self._weights = weights
        self._cache = cache
        self.config = weights.config
        self.precision: Precision = pick_openvino_precision(precision, weights.config)
        self._compiled: dict[str, _CompiledTower] = {}
        self._making = Lock()
        self._torch_model: Any = None
        self._logit_scale: float | None = None
        if cache is None or not all(cache.has(self._cache_key(name)) for name in self._towers()):
            weights.verify()  # so that `load` fails where the checkpoint is damaged

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process compiles the towers again, or finds them in the cache."""
        return OpenVINOEngine, (self._weights, self.precision, self._cache)

    @property
    def logit_scale(self) -> float:
        """The inverse temperature."""
        if self._logit_scale is None:
            self._logit_scale = float(np.exp(np.float32(self._weights.tensor("logit_scale"))))
        return self._logit_scale

    def encode_images(
        self, batches: Iterable[UInt8[np.ndarray, "batch size size 3"]], output: str = "embedding"
    ) -> NDArray[np.float32]:
        """Encode batches of decoded images: see `Engine`."""
        require_tower(self.config, "image")
        require_output("image", output, self.config)
        parts = [self._run(f"image {output}", {"pixels": batch}) for batch in batches]
        if not parts:
            return np.zeros((0, *image_output_shape(self.config, output)), np.float32)
        found = np.concatenate(parts)
        return unit_vectors(found) if output == "embedding" else found

    def embed_pixels(self, pixels: UInt8[Any, "n 3 height width"]) -> Embeddings:
        """Embed pixels that are decoded already: see `Engine`."""
        require_tower(self.config, "image")
        check_pixel_batch(pixels)
        config = self.config.preprocess_config
        planes = np.asarray(pixels.cpu() if hasattr(pixels, "cpu") else pixels)
        if not len(planes):
            return self.encode_images([])
        images = np.empty((len(planes), *planes.shape[2:], 3), np.uint8)
        for channel in range(3):  # twice as fast as one transposed copy
            images[..., channel] = planes[:, channel]
        if images.shape[1:3] != (config.image_size, config.image_size):
            images = np.stack([to_pixels(image, config) for image in images])
        return self.encode_images([images])

    def encode_texts(
        self, tokens: Int64[np.ndarray, "n context"], output: str, batch_size: int
    ) -> NDArray[np.float32]:
        """Encode rows of token ids: see `Engine`."""
        require_tower(self.config, "text")
        require_output("text", output, self.config)
        text = self.config.text_config
        shape = (self.config.embed_dim,) if output == "embedding" else (tokens.shape[1], text.width)
        if not len(tokens):
            return np.zeros((0, *shape), np.float32)
        if output != "embedding":
            return self._hidden_states(tokens, output)
        texts = unique_texts(tokens, text)
        run = self._embed_rows if needs_full_context(text) else self._embed_tree
        found = np.concatenate([run(rows, ends) for rows, ends in texts.batches(batch_size)])
        return unit_vectors(found)[texts.indices]

    def project(self, features: Float32[np.ndarray, "n width"]) -> Embeddings:
        """Project the features of a linear probe: unit vectors."""
        require_tower(self.config, "image")
        vision = self.config.vision
        if isinstance(vision, ViTConfig) and vision.projection == "linear":
            features = features @ np.asarray(
                self._weights.tensor("image_tower.projection"), np.float32
            )
        return unit_vectors(features)

    def tower_weights(self, name: str) -> Mapping[str, Array]:
        """The weights of the "image" or the "text" tower by our names."""
        tensors = self._weights.read().tensors
        return {key: tensors[key] for key in tensors if key.startswith(f"{name}_tower.")}

    def torch_model(self) -> Any:
        """The torch model of these weights, in float32, made once."""
        if find_spec("torch") is None:
            raise MissingExtraError("torch", "torch")
        from twinlens.checkpoints.reader import build_model  # noqa: PLC0415

        with self._making:
            if self._torch_model is None:
                self._torch_model = build_model(self._weights.read())
        return self._torch_model

    def _hidden_states(self, tokens: Int64[np.ndarray, "n context"], output: str) -> Array:
        name = f"text {output}"
        starts = range(0, len(tokens), HIDDEN_TEXT_BATCH)
        parts = [tokens[start : start + HIDDEN_TEXT_BATCH] for start in starts]
        return np.concatenate([self._run(name, {"tokens": part}) for part in parts])

    def _embed_rows(self, rows: Array, ends: Array) -> Array:
        return self._run("text embedding", {"tokens": rows})

    def _embed_tree(self, rows: Array, ends: Array) -> Array:
        packed = pack_texts(rows, ends)
        inputs = {field.name: getattr(packed, field.name) for field in fields(PackedTexts)}
        return self._run("text embedding", inputs)[: len(rows)]

    def _run(self, name: str, inputs: Mapping[str, Array]) -> Array:
        tower = self._tower(name)
        try:
            return tower.run(inputs)
        except RuntimeError:
            with self._making:  # a request may stay broken; others may have made a new one
                if self._compiled.get(name) is tower:
                    del self._compiled[name]
            raise

    def _tower(self, name: str) -> _CompiledTower:
        if name in self._compiled:
            return self._compiled[name]
        with self._making:
            if name not in self._compiled:
                self._compiled[name] = self._load(name)
            return self._compiled[name]

    def _load(self, name: str) -> _CompiledTower:
        """A compiled tower from the cache, or compiled and added to it."""
        settings = compile_settings(self.precision)
        key = self._cache_key(name)
        if self._cache is not None:
            found = self._cache.load(key, settings)
            if found is not None:
                return _CompiledTower(*found)
        compiled = shared_core().compile_model(self._build(name), "CPU", settings)
        if self._cache is not None and not self._weights.has_changed():
            self._cache.save(key, compiled)
        return _CompiledTower(compiled)

    def _build(self, name: str) -> Any:
        tower, _, output = name.partition(" ")
        config, tensors = self.config, self._weights.read().tensors
        dtype = BFLOAT16 if self.precision == "bf16" else FLOAT32
        if tower == "image":
            return image_graph(config, tensors, pixels="uint8", output=output, dtype=dtype)
        if output == "embedding" and not needs_full_context(config.text_config):
            return prefix_tree_graph(config, tensors, dtype=dtype)
        return text_graph(config, tensors, output=output, dtype=dtype)

    def _cache_key(self, name: str) -> Mapping[str, str]:
        return {
            "model": self._weights.fingerprint,
            "tower": name,
            "precision": self.precision,
            "graph": graph_digest(),
        }

    def _towers(self) -> list[str]:
        sizes = {"image": self.config.vision, "text": self.config.text}
        return [f"{name} embedding" for name, size in sizes.items() if size is not None]
