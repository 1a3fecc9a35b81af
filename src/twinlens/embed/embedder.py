"""The embedder: images and texts in, unit vectors and predictions out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, overload

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from twinlens.checkpoints.head import ClassifierHead, load_head
from twinlens.checkpoints.reader import load_model
from twinlens.config import Activation, CLIPConfig
from twinlens.embed.labels import Prediction, rank_labels, validate_labels
from twinlens.embed.prompt_ensemble import prompt_ensemble
from twinlens.errors import ConfigError, DataError, require_known
from twinlens.hub.resolve import known_models, resolve
from twinlens.images.decode import to_pixels
from twinlens.images.drawing_detector import DrawingDetector, load_drawing_detector
from twinlens.inference.preprocess import normalize
from twinlens.inference.torch_engine import OnPixels, TorchEngine
from twinlens.model.clip import CLIP
from twinlens.model.precision import pick_device, pick_precision, prepare_model
from twinlens.text.loading import AnyTokenizer, load_tokenizer
from twinlens.types import DecodeMode, Embeddings, ImageInput, Precision, TowerSelection

if TYPE_CHECKING:
    from numpy.typing import NDArray

OnError = Literal["raise", "skip"]
"""Treatment of an image that cannot be decoded: raise the error, or skip the image."""


def available_models() -> list[str]:
    """The names that `load` takes without a download."""
    return [model.name for model in known_models()]


def load(
    name: str | Path = "icons",
    *,
    device: str = "auto",
    precision: Precision = "auto",
    towers: TowerSelection = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
    decode: DecodeMode = "fast",
    compiled: bool = False,
) -> Embedder:
    """Load a model by name; its checkpoint may have the layout of any known family.

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
    require_known("towers", towers, ("both", "image", "text"))
    path = resolve(name)
    model = load_model(path, towers=towers, image_size=image_size, activation=activation)
    has_texts = model.config.text is not None
    tokenizer = load_tokenizer(path, model.config) if has_texts else None
    target = pick_device(device)
    chosen = pick_precision(precision, model, target)
    prepare_model(model, target, chosen)  # in place: a large model is not held twice
    head = load_head(path, model.config.embed_dim)
    return Embedder(
        model,
        tokenizer,
        device=str(target),
        precision=chosen,
        head=head,
        decode=decode,
        compiled=compiled,
        drawing_test=load_drawing_detector(path),
    )


class Embedder:
    """A model with its tokenizer and its preprocessing, ready for images and texts.

    Embeddings are float32 of unit length and do not depend on what else is in the batch: in
    fp32 they agree to 1e-5; those computed in bf16 have a cosine of 0.999 or more with them.

    The model passed in stays as it is: another device or precision makes a copy.
    """

    def __init__(
        self,
        model: CLIP,
        tokenizer: AnyTokenizer | None,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 64,
        head: ClassifierHead | None = None,
        decode: DecodeMode = "fast",
        compiled: bool = False,
        drawing_test: DrawingDetector | None = None,
    ) -> None:
        require_known("decode", decode, get_args(DecodeMode))
        self._tokenizer = tokenizer
        self._head = head
        self.drawing_test = drawing_test
        self.engine = TorchEngine(
            model,
            device=device,
            precision=precision,
            batch_size=batch_size,
            decode=decode,
            compiled=compiled,
        )

    @property
    def model(self) -> CLIP:
        """The model on its device, in its precision."""
        return self.engine.model

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self.engine.device

    @property
    def precision(self) -> Precision:
        """The precision that the model computes in."""
        return self.engine.precision

    @property
    def batch_size(self) -> int:
        """The number of images of a batch."""
        return self.engine.batch_size

    @property
    def decode(self) -> DecodeMode:
        """The decoding mode of images (see `to_pixels`)."""
        return self.engine.decode

    @property
    def compiled(self) -> bool:
        """True if the image tower is compiled when it is first used."""
        return self.engine.compiled

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
    def head(self) -> ClassifierHead:
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
        """True if the model was fine-tuned to a classifier."""
        return self._head is not None

    @property
    def templates(self) -> tuple[str, ...]:
        """The prompt templates that are used when none are given."""
        return self.config.templates

    def preprocess(self, image: ImageInput) -> Float32[Tensor, "3 size size"]:
        """Preprocess one image as the reference implementations do, to the last bit.

        Float32, resized, cropped, normalised; independent of `decode`.
        """
        pixels = torch.as_tensor(to_pixels(image, self.config.preprocess_config))
        return normalize(pixels.permute(2, 0, 1)[None], self.config.preprocess_config)[0]

    def embed_images(self, images: ImageInput | Iterable[ImageInput]) -> Embeddings:
        """Embed images: float32 [n, embed_dim], unit length.

        Args:
            images: One image or several: paths, encoded bytes, PIL images or uint8 arrays.

        Raises:
            DataError: An image cannot be decoded.
        """
        return self.engine.embed_images(images)

    def embed_readable_images(
        self, images: Iterable[ImageInput], *, seen: OnPixels | None = None
    ) -> tuple[Embeddings, dict[int, DataError]]:
        """Embed those images that can be decoded.

        Args:
            images: The images.
            seen: Called with the pixels of each batch, uint8 [batch, 3, size, size], in order.

        Returns:
            The readable images' embeddings, and what is wrong with the others by their
            position; both in the order of the images.
        """
        failures: dict[int, DataError] = {}
        embeddings = self.engine.embed_images(images, failures, seen)
        return embeddings, dict(sorted(failures.items()))  # threads find them in any order

    def probe_features(
        self, images: Iterable[ImageInput]
    ) -> tuple[Float32[np.ndarray, "n width"], dict[int, DataError]]:
        """Compute the features that a linear probe reads, of those images that can be decoded.

        A vision transformer's features before the projection (paper section 3.2), another tower's
        as `encode_pixels` has them. `project` turns them into the embeddings of `embed_images`.

        Returns:
            float32, not of unit length, and what is wrong with the other images by their
            position.
        """
        failures: dict[int, DataError] = {}
        features = self.engine.probe_features(images, failures)
        return features, dict(sorted(failures.items()))

    @property
    def probe_width(self) -> int:
        """The width of the features that `probe_features` gives."""
        return self.engine.probe_width

    def project(self, features: Float32[np.ndarray, "n width"]) -> Embeddings:
        """Project what `probe_features` gave: float32 [n, embed_dim], unit length."""
        return self.engine.project(features)

    def encode_pixels(
        self, pixels: UInt8[Tensor, "n 3 height width"], *, project: bool = True
    ) -> Float[Tensor, "n features"]:
        """Encode images that are decoded already; the features are not of unit length.

        Args:
            pixels: 0..255, on any device; those of another size than the model's are resized on
                the model's device.
            project: Project a vision transformer's features to [n, embed_dim].

        Returns:
            In the model's precision, on its device.

        Raises:
            ShapeError: They are not uint8, or have another shape.
        """
        return self.engine.encode_pixels(pixels, project=project)

    def embed_texts(self, texts: str | Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Embed texts: float32 [n, embed_dim], unit length.

        Equal texts are computed once, and so are equal beginnings where the tower is causal.

        Args:
            texts: One or several.
            truncate: Cut texts that are longer than the model's context.

        Raises:
            DataError: A text is longer than the model's context, and not to be cut.
        """
        self.engine.require_tower("text")
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            return self.engine.unit_vectors([])
        context = self.config.text_config.context_length
        tokens = self.tokenizer(texts, context_length=context, truncate=truncate)
        return self.engine.unit_vectors([self.engine.encode_tokens(tokens)])

    def score(
        self, images: ImageInput | Iterable[ImageInput], texts: str | Sequence[str]
    ) -> NDArray[np.float32]:
        """Cosine similarities of all images with all texts: float32 [n, m] in [-1, 1]."""
        return self.embed_images(images) @ self.embed_texts(texts).T

    @overload
    def classify(
        self,
        images: ImageInput | Iterable[ImageInput],
        labels: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        *,
        on_error: Literal["raise"] = "raise",
        on_pixels: OnPixels | None = None,
    ) -> list[list[Prediction]]: ...

    @overload
    def classify(
        self,
        images: ImageInput | Iterable[ImageInput],
        labels: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        *,
        on_error: Literal["skip"],
        on_pixels: OnPixels | None = None,
    ) -> tuple[list[list[Prediction]], dict[int, DataError]]: ...

    def classify(
        self,
        images: ImageInput | Iterable[ImageInput],
        labels: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        *,
        on_error: OnError = "raise",
        on_pixels: OnPixels | None = None,
    ) -> list[list[Prediction]] | tuple[list[list[Prediction]], dict[int, DataError]]:
        """Choose the label that fits each image (zero-shot, paper section 3.1).

        Args:
            images: One image or several.
            labels: The labels to choose from; one that is there twice as the model reads it counts
                once. None are the classes that the model was fine-tuned for.
            templates: Sentences with `{}` where the label goes; several are averaged. None are
                the model's own.
            on_error: What to do about an image that cannot be decoded.
            on_pixels: Called with the pixels of each batch, uint8 [batch, 3, size, size], in order.

        Returns:
            For each image all these labels with their probabilities (they sum to 1), best first.
            With "skip", that of the images that can be decoded, in their order, and what is wrong
            with the others by their position.

        Raises:
            DataError: An image cannot be decoded and is not to be skipped, or a label is empty or
                too long.
            ConfigError: A template has no `{}`; or there are no labels, and the model was not
                fine-tuned to a classifier.
        """
        require_known("on_error", on_error, get_args(OnError))
        if labels is None:
            names, classifier = self.head.classnames, self.head.weight.numpy()
        else:
            self.engine.require_tower("text")
            names = validate_labels(labels, self.tokenizer)
            classifier = self.zero_shot_classifier(names, templates)
        failures: dict[int, DataError] | None = {} if on_error == "skip" else None
        embeddings = self.engine.embed_images(images, failures, on_pixels)
        predictions = self.rank(embeddings @ classifier, names)
        return predictions if failures is None else (predictions, dict(sorted(failures.items())))

    def zero_shot_classifier(
        self, classnames: Sequence[str], templates: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Build a linear classifier from prompts (paper section 3.1.4): float32 [embed, class].

        Each class is the mean of its templates' embeddings, made unit length again.

        Raises:
            DataError: A text is longer than the model's context.
            ConfigError: A template has no `{}`.
        """
        templates = self.templates if templates is None else templates
        if not classnames:
            return np.zeros((self.config.embed_dim, 0), np.float32)
        return prompt_ensemble(self.embed_texts, classnames, templates).T

    def rank(
        self, similarities: NDArray[np.float32], labels: Sequence[str]
    ) -> list[list[Prediction]]:
        """Turn cosine similarities [image, label] into probabilities, each image's best first."""
        logits = self.model.logit_scale.exp().item() * similarities.astype(np.float64)
        return rank_labels(logits, labels)
