"""The object most users meet: images and words in, unit vectors and answers out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

from twinlens import hub
from twinlens.checkpoints.head import Head, load_head
from twinlens.checkpoints.reader import Towers, load_model
from twinlens.config import Activation, CLIPConfig
from twinlens.embed.labels import checked_labels
from twinlens.errors import ConfigError, DataError, UnknownNameError
from twinlens.hardware import keep_freed_memory, usable_cores
from twinlens.images.batches import pixel_batches
from twinlens.images.decode import normalize, to_pixels
from twinlens.images.drawing_detector import DrawingTest, load_drawing_test
from twinlens.images.resize import require_pixels, squares
from twinlens.inference.compiled import CompiledTower, can_compile
from twinlens.inference.cpu_packed import Tower, packed, weights_state
from twinlens.model.clip import CLIP
from twinlens.model.precision import (
    Precision,
    dtype_of,
    is_placed,
    pick_device,
    pick_precision,
    place_at,
)
from twinlens.model.text import TextTransformer, encode_distinct
from twinlens.model.vision import VisionTransformer
from twinlens.text.loading import AnyTokenizer, load_tokenizer
from twinlens.types import Decode, Embeddings, ImageInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TEXTS = 8
"""Times as many texts as images make a batch: a text is less work."""

_PROJECTED = 8192
"""Images' features that are projected at a time."""

_PROMPTS = 100_000
"""Prompts of a zero-shot classifier whose embeddings are held at a time."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its probability among the labels asked about."""

    label: str
    probability: float


def available_models() -> list[str]:
    """The names that `load` takes without a download."""
    return [model.name for model in hub.known_models()]


def load(
    name: str | Path = "icons",
    *,
    device: str = "auto",
    precision: Precision = "auto",
    towers: Towers = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
    decode: Decode = "fast",
    compiled: bool = False,
) -> Embedder:
    """Load a model by name, whatever family's layout its checkpoint has.

    Args:
        name: "icons" (embedded in the package), a known name such as "openai/ViT-B-32", a
            directory or file of weights, or `hf://org/name[@revision]`.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto": CUDA, else Apple's, else the
            processor.
        precision: "auto" is "bf16" where the model has more than 50 million parameters and the
            device multiplies bf16 natively, "fp16" where it only does that, else "fp32". "int8"
            has weights and activations of the linear layers in 8 bits, "int8-weights" the weights
            alone, for little memory; both on processors, and not to be saved or trained.
        towers: Read "both", or only the "image" or "text" tower.
        image_size: For images of another size than the checkpoint's: a vision transformer's
            positions are resized.
        activation: Of a state dict without a configuration, which cannot tell.
        decode: How images become pixels: "fast", or "exact" as the reference implementations
            (see `to_pixels`).
        compiled: Compile the image tower when it is first used: for long work on GPUs.

    Raises:
        UnknownNameError: There is no model of that name; close names are suggested.
        CheckpointError: The checkpoint cannot be read, or is not what its configuration says.
        ConfigError: It has not got the tower, or another image size is impossible.
    """
    _check_one_of("towers", towers, ("both", "image", "text"))
    path = hub.resolve(name)
    model = load_model(path, towers=towers, image_size=image_size, activation=activation)
    has_texts = model.config.text is not None
    tokenizer = load_tokenizer(path, model.config) if has_texts else None
    target = pick_device(device)
    chosen = pick_precision(precision, model, target)
    place_at(model, target, chosen)  # in place: a large model is not held twice
    head = load_head(path, model.config.embed_dim)
    return Embedder(
        model,
        tokenizer,
        device=str(target),
        precision=chosen,
        head=head,
        decode=decode,
        compiled=compiled,
        drawing_test=load_drawing_test(path),
    )


class Embedder:
    """A model with its tokenizer and its preprocessing, ready for images and words.

    Embeddings are float32 of unit length and do not depend on what else is in the batch: in
    fp32 they agree to 1e-5; those computed in bf16 have a cosine of 0.999 or more with them.

    The model handed in stays as it is: another device or precision makes a copy.
    """

    def __init__(
        self,
        model: CLIP,
        tokenizer: AnyTokenizer | None,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 64,
        head: Head | None = None,
        decode: Decode = "fast",
        compiled: bool = False,
        drawing_test: DrawingTest | None = None,
    ) -> None:
        _check_one_of("decode", decode, get_args(Decode))
        self._tokenizer = tokenizer
        self._head = head
        self.device = pick_device(device)
        self.precision: Precision = pick_precision(precision, model, self.device)
        self.batch_size = batch_size
        self.decode: Decode = decode
        self.compiled = compiled and can_compile()
        self.drawing_test = drawing_test
        if not is_placed(model, self.device, self.precision):
            model = place_at(copy.deepcopy(model), self.device, self.precision)
        self.model = model.eval()
        self._packed: dict[str, tuple[list[object], Tower | CompiledTower]] = {}
        if self.precision == "int8":
            keep_freed_memory()
        # More threads than cores that we may use only take turns.
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made again where it is needed."""
        return self.__dict__ | {"_packed": {}}

    @property
    def config(self) -> CLIPConfig:
        """Sizes, preprocessing, vocabulary and provenance, of the towers that were read."""
        return self.model.config

    @property
    def tokenizer(self) -> AnyTokenizer:
        """The vocabulary.

        Raises:
            ConfigError: The model has no text tower.
        """
        if self._tokenizer is None:
            raise ConfigError("texts: the model has no text tower, expected one with both")
        return self._tokenizer

    @property
    def head(self) -> Head:
        """The classifier that the model was fine-tuned to.

        Raises:
            ConfigError: It was not.
        """
        if self._head is None:
            raise ConfigError(
                "labels: the model has no classifier of its own, "
                "expected one fine-tuned to classes, or labels to choose from"
            )
        return self._head

    @property
    def has_head(self) -> bool:
        """Whether it was."""
        return self._head is not None

    @property
    def templates(self) -> tuple[str, ...]:
        """The sentences that labels are put in when none are given."""
        return self.config.templates

    def preprocess(self, image: ImageInput) -> Float32[Tensor, "3 size size"]:
        """One image as the reference implementations make it, to the last bit.

        Float32, resized, cropped, normalised; whatever `decode` is.
        """
        pixels = torch.as_tensor(to_pixels(image, self.config.image_input))
        return normalize(pixels.permute(2, 0, 1)[None], self.config.image_input)[0]

    def embed_images(self, images: ImageInput | Iterable[ImageInput]) -> Embeddings:
        """Embed images: float32 [n, embed_dim], unit length.

        Args:
            images: One image or several: paths, encoded bytes, PIL images or uint8 arrays.

        Raises:
            DataError: An image cannot be decoded.
        """
        return self._embed_images(images, failures=None)

    def embed_readable_images(
        self,
        images: Iterable[ImageInput],
        *,
        seen: Callable[[Tensor], object] | None = None,
    ) -> tuple[Embeddings, dict[int, DataError]]:
        """Embed those images that can be decoded.

        Args:
            images: The images.
            seen: Gets the pixels of each batch, uint8 [batch, 3, size, size], in order.

        Returns:
            The readable images' embeddings, and what is wrong with the others by their
            position; both in the order of the images.
        """
        failures: dict[int, DataError] = {}
        embeddings = self._embed_images(images, failures=failures, seen=seen)
        return embeddings, dict(sorted(failures.items()))  # threads find them in any order

    def probe_features(
        self, images: Iterable[ImageInput]
    ) -> tuple[Float32[np.ndarray, "n width"], dict[int, DataError]]:
        """What a linear probe reads of those images that can be decoded.

        A vision transformer's features before the projection (paper section 3.2), another tower's
        as `encode_pixels` has them. `project` makes embeddings of them, those of `embed_images`.

        Returns:
            float32, not of unit length, and what is wrong with the other images by their
            position.
        """
        failures: dict[int, DataError] = {}
        batches = self._pixel_batches(images, failures)
        parts = [self.encode_pixels(batch, project=False).float().cpu() for batch in batches]
        features = torch.cat(parts).numpy() if parts else np.zeros((0, self.probe_width))
        return features.astype(np.float32, copy=False), dict(sorted(failures.items()))

    @property
    def probe_width(self) -> int:
        """How many numbers `probe_features` has of an image."""
        tower = self.model.image_tower
        has_own = isinstance(tower, VisionTransformer)
        return tower.transformer.width if has_own else self.config.embed_dim

    @torch.inference_mode()
    def project(self, features: Float32[np.ndarray, "n width"]) -> Embeddings:
        """Embeddings of what `probe_features` gave: float32 [n, embed_dim], unit length."""
        tower, parts = self.model.image_tower, torch.from_numpy(features).split(_PROJECTED)
        if not isinstance(tower, VisionTransformer):
            return self._unit_vectors(list(parts))
        kind = dtype_of(self.precision)
        return self._unit_vectors([tower.project(part.to(self.device, kind)) for part in parts])

    def _embed_images(
        self,
        images: ImageInput | Iterable[ImageInput],
        failures: dict[int, DataError] | None,
        seen: Callable[[Tensor], object] | None = None,
    ) -> Embeddings:
        parts: list[Tensor] = []
        for batch in self._pixel_batches(images, failures):
            if seen is not None:
                seen(batch)
            parts.append(self.encode_pixels(batch))
        return self._unit_vectors(parts)

    def _pixel_batches(
        self, images: ImageInput | Iterable[ImageInput], failures: dict[int, DataError] | None
    ) -> Iterator[UInt8[Tensor, "batch 3 size size"]]:
        self._require_tower("image")
        return pixel_batches(
            _as_images(images),
            partial(to_pixels, config=self.config.image_input, decode=self.decode),
            self.batch_size,
            failures,
            ahead=self.device.type != "cpu",
        )

    @torch.inference_mode()
    def encode_pixels(
        self, pixels: UInt8[Tensor, "n 3 height width"], *, project: bool = True
    ) -> Float[Tensor, "n features"]:
        """Features, not of unit length, of images that are decoded already.

        Args:
            pixels: 0..255, on any device; those of another size than the model's are resized on
                the model's device.
            project: Whether a vision transformer's are projected to [n, embed_dim].

        Returns:
            In the model's precision, on its device.

        Raises:
            ShapeError: They are not uint8, or have another shape.
        """
        self._require_tower("image")
        require_pixels(pixels)
        config = self.config.image_input
        if self.device.type == "cuda" and pixels.device.type == "cpu":
            pixels = pixels.pin_memory()  # so that the copy does not stop what decodes the next
        moved = squares(pixels.to(self.device, non_blocking=True), config)
        ready = normalize(moved, config).to(dtype_of(self.precision))
        tower = self._tower("image")
        if not project and isinstance(self.model.image_tower, VisionTransformer):
            plain = self.model.image_tower if isinstance(tower, CompiledTower) else tower
            return cast(VisionTransformer, plain).unprojected(ready)
        return tower(ready)

    @torch.inference_mode()
    def embed_texts(self, texts: str | Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Embed texts: float32 [n, embed_dim], unit length.

        What is there twice is computed once: equal texts, and equal beginnings where the tower is
        causal.

        Args:
            texts: One or several.
            truncate: Cut what is longer than the model's context.

        Raises:
            DataError: A text is longer than the model's context, and not to be cut.
        """
        self._require_tower("text")
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            return self._unit_vectors([])
        context = self.config.text_input.context_length
        tokens = self.tokenizer(texts, context_length=context, truncate=truncate)
        tower = cast(TextTransformer, self._tower("text"))
        return self._unit_vectors([encode_distinct(tower, tokens, _TEXTS * self.batch_size)])

    def score(
        self, images: ImageInput | Iterable[ImageInput], texts: str | Sequence[str]
    ) -> NDArray[np.float32]:
        """Cosine similarities of all images with all texts: float32 [n, m] in [-1, 1]."""
        return self.embed_images(images) @ self.embed_texts(texts).T

    def classify(
        self,
        images: ImageInput | Iterable[ImageInput],
        labels: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
    ) -> list[list[Prediction]]:
        """Which label fits each image (zero-shot, paper section 3.1).

        Args:
            images: One image or several.
            labels: What to choose from; one that is there twice as the model reads it counts
                once. None are the classes that the model was fine-tuned for.
            templates: Sentences with `{}` where the label goes; several are averaged. None are
                the model's own.

        Returns:
            For each image all these labels with their probabilities (they sum to 1), best first.

        Raises:
            DataError: An image cannot be decoded, or a label is empty or too long.
            ConfigError: A template has no `{}`; or there are no labels, and the model was not
                fine-tuned to a classifier.
        """
        if labels is None:
            weight = self.head.weight.numpy()
            return self.rank(self.embed_images(images) @ weight, self.head.classnames)
        self._require_tower("text")
        names = checked_labels(labels, self.tokenizer)
        classifier = self.zero_shot_classifier(names, templates)
        return self.rank(self.embed_images(images) @ classifier, names)

    def zero_shot_classifier(
        self, classnames: Sequence[str], templates: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """A linear classifier written in words (paper section 3.1.4): float32 [embed, class].

        Each class is the mean of its templates' embeddings, made unit length again.

        Raises:
            DataError: A text is longer than the model's context.
            ConfigError: A template has no `{}`.
        """
        templates = self.templates if templates is None else templates
        if not classnames:
            return np.zeros((self.config.embed_dim, 0), np.float32)
        for template in templates:
            if "{}" not in template:
                raise ConfigError(f"template: got {template!r}, expected {{}} where the label goes")
        if not templates:
            raise ConfigError("templates: got none, expected at least one such as 'a photo of {}'")
        step = max(1, _PROMPTS // len(templates))
        parts = [classnames[i : i + step] for i in range(0, len(classnames), step)]
        means = np.concatenate([self._class_means(part, templates) for part in parts])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).T

    def _class_means(
        self, classnames: Sequence[str], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        texts = [template.replace("{}", name) for name in classnames for template in templates]
        embeddings = self.embed_texts(texts)
        return embeddings.reshape(len(classnames), len(templates), -1).mean(axis=1)

    def rank(
        self, similarities: NDArray[np.float32], labels: Sequence[str]
    ) -> list[list[Prediction]]:
        """Cosine similarities [image, label] as probabilities, each image's best first."""
        logits = self.model.logit_scale.exp().item() * similarities.astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        probabilities = odds / odds.sum(axis=1, keepdims=True)
        return [
            [Prediction(labels[int(i)], float(row[i])) for i in np.argsort(-row, kind="stable")]
            for row in probabilities
        ]

    def _tower(self, name: str) -> Tower | CompiledTower:
        """The tower as it answers fastest; laid out anew when its weights have changed."""
        tower: Tower = getattr(self.model, f"{name}_tower")
        state = weights_state(tower)
        if name not in self._packed or self._packed[name][0] != state:
            if self.compiled and not isinstance(tower, TextTransformer):
                self._packed[name] = state, CompiledTower(tower)
            else:
                self._packed[name] = state, packed(tower)
        return self._packed[name][1]

    def _require_tower(self, tower: str) -> None:
        if not hasattr(self.model, f"{tower}_tower"):
            raise ConfigError(
                f"{tower}s: the model was loaded without its {tower} tower, "
                f"expected towers='both' or towers={tower!r}"
            )

    def _unit_vectors(self, parts: list[Tensor]) -> Embeddings:
        if not parts:
            return np.zeros((0, self.config.embed_dim), np.float32)
        return F.normalize(torch.cat(parts).float(), dim=-1).cpu().numpy()


def _as_images(images: ImageInput | Iterable[ImageInput]) -> Iterable[ImageInput]:
    single = isinstance(images, str | Path | bytes | Image.Image)
    if single or (isinstance(images, np.ndarray) and images.ndim <= 3):
        return [cast(ImageInput, images)]
    return cast("Iterable[ImageInput]", images)


def _check_one_of(what: str, got: str, known: Sequence[str]) -> None:
    if got not in known:
        raise UnknownNameError(what, got, known)
