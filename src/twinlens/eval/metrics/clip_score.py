"""Scores of captions from embeddings: CLIPScore, and RefCLIPScore with reference captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from twinlens.errors import DataError, ShapeError, require_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLIPSCORE_PROMPT = "A photo depicts {}"
"""Prompt of captions and references (Hessel et al. 2021)."""

CLIPSCORE_WEIGHT = 2.5
"""Factor that stretches the cosines of images and captions, about 0 to 0.4, over [0, 1]."""


def clip_score(
    image_embeddings: Float[np.ndarray, "n embed"], caption_embeddings: Float[np.ndarray, "n embed"]
) -> Float[np.ndarray, " n"]:
    """Score each caption with its image: 2.5 max(cos, 0), float64 [n], in [0, 2.5].

    CLIPScore (Hessel et al. 2021, section 3). The published figures are of ViT-B/32, with captions
    put into `CLIPSCORE_PROMPT`; other libraries' "CLIP score" is often 100 max(cos, 0) of bare
    captions. Embeddings need not be of unit length.

    Raises:
        DataError: An embedding has length zero, or is not finite.
        ShapeError: The shapes differ.

    Example:
        >>> clip_score(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
        [1.5]
    """
    require_shape("caption embeddings", caption_embeddings.shape, image_embeddings.shape)
    images = _normalise(image_embeddings, "image embeddings")
    captions = _normalise(caption_embeddings, "caption embeddings")
    return CLIPSCORE_WEIGHT * _clipped_cosines(images, captions)


def ref_clip_score(
    image_embeddings: Float[np.ndarray, "n embed"],
    caption_embeddings: Float[np.ndarray, "n embed"],
    reference_embeddings: Float[np.ndarray, "reference embed"],
    image_indices: Int[np.ndarray, " reference"],
) -> Float[np.ndarray, " n"]:
    """Score each caption with its image and the image's reference captions: float64 [n].

    RefCLIPScore (Hessel et al. 2021, section 3): the harmonic mean of `clip_score` and the highest
    max(cos, 0) of the caption with the image's references; 0 where either is. In [0, 10/7].

    Args:
        image_embeddings: Of the images.
        caption_embeddings: Of the captions to score, one an image, in `CLIPSCORE_PROMPT`.
        reference_embeddings: Of reference captions of all images, in the same prompt.
        image_indices: Index of each reference's image.

    Raises:
        DataError: An image has no reference, a reference no image, or an embedding has length
            zero or is not finite.
        ShapeError: The shapes do not fit each other.

    Example:
        >>> image, caption = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
        >>> references = np.array([[0.0, 1.0], [0.8, 0.6]])
        >>> ref_clip_score(image, caption, references, np.array([0, 0])).round(4).tolist()
        [1.1707]
    """
    image_scores = clip_score(image_embeddings, caption_embeddings)
    _check_references(reference_embeddings, image_indices, caption_embeddings)
    captions = _normalise(caption_embeddings, "caption embeddings")
    references = _normalise(reference_embeddings, "reference embeddings")
    reference_scores = np.zeros(len(captions))
    np.maximum.at(
        reference_scores, image_indices, _clipped_cosines(captions[image_indices], references)
    )
    total = image_scores + reference_scores
    product = 2 * image_scores * reference_scores
    return np.divide(product, total, out=np.zeros_like(total), where=total > 0)


def _normalise(embeddings: NDArray[np.floating], what: str) -> NDArray[np.float64]:
    exact = embeddings.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"{what}: got length {lengths[row, 0]} in row {row}, expected a finite one above 0"
        )
    return exact / lengths


def _clipped_cosines(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosines of pairs of unit vectors, clipped to [0, 1]: float64 [n]."""
    return np.einsum("ij,ij->i", first, second).clip(0, 1)


def _check_references(
    references: NDArray[np.floating],
    image_indices: NDArray[np.integer],
    captions: NDArray[np.floating],
) -> None:
    if references.ndim != captions.ndim or references.shape[1] != captions.shape[1]:
        expected = ["reference", captions.shape[1]]
        raise ShapeError(f"reference embeddings: got {list(references.shape)}, expected {expected}")
    require_shape("owner", image_indices.shape, references.shape[:1])
    if len(image_indices) and not 0 <= image_indices.min() <= image_indices.max() < len(captions):
        raise DataError(
            f"owner: got {image_indices.min()} to {image_indices.max()}, "
            f"expected 0 to {len(captions) - 1}"
        )
    alone = np.setdiff1d(np.arange(len(captions)), image_indices)
    if len(alone):
        raise DataError(f"references of image {alone[0]}: got 0, expected at least 1")
