"""Scores of captions by embeddings: CLIPScore, and RefCLIPScore where people wrote some too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from twinlens.errors import DataError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLIPSCORE_PROMPT = "A photo depicts {}"
"""What captions and references are put into before they are embedded (Hessel et al. 2021)."""

CLIPSCORE_WEIGHT = 2.5
"""Stretches the cosines of images and captions, from about 0 to about 0.4, over [0, 1]."""


def clip_score(
    image_embeddings: Float[np.ndarray, "n embed"], caption_embeddings: Float[np.ndarray, "n embed"]
) -> Float[np.ndarray, " n"]:
    """How well each caption fits its image: 2.5 max(cos, 0), float64 [n], in [0, 2.5].

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
    if image_embeddings.shape != caption_embeddings.shape:
        raise ShapeError(
            f"caption embeddings: got {list(caption_embeddings.shape)}, "
            f"expected {list(image_embeddings.shape)}"
        )
    images = _unit(image_embeddings, "image embeddings")
    captions = _unit(caption_embeddings, "caption embeddings")
    return CLIPSCORE_WEIGHT * _cosines(images, captions)


def ref_clip_score(
    image_embeddings: Float[np.ndarray, "n embed"],
    caption_embeddings: Float[np.ndarray, "n embed"],
    reference_embeddings: Float[np.ndarray, "reference embed"],
    owner: Int[np.ndarray, " reference"],
) -> Float[np.ndarray, " n"]:
    """How well each caption fits its image and what people wrote of it: float64 [n].

    RefCLIPScore (Hessel et al. 2021, section 3): the harmonic mean of `clip_score` and the highest
    max(cos, 0) of the caption with the image's references; 0 where either is. In [0, 10/7].

    Args:
        image_embeddings: Of the images.
        caption_embeddings: Of the captions to score, one an image, in `CLIPSCORE_PROMPT`.
        reference_embeddings: Of what people wrote, all images' in a row, in the same prompt.
        owner: The index of the image that each reference is of.

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
    seen = clip_score(image_embeddings, caption_embeddings)
    _check_references(reference_embeddings, owner, caption_embeddings)
    captions = _unit(caption_embeddings, "caption embeddings")
    references = _unit(reference_embeddings, "reference embeddings")
    written = np.zeros(len(captions))
    np.maximum.at(written, owner, _cosines(captions[owner], references))
    both = seen + written
    return np.divide(2 * seen * written, both, out=np.zeros_like(both), where=both > 0)


def _unit(embeddings: NDArray[np.floating], what: str) -> NDArray[np.float64]:
    exact = embeddings.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"{what}: got length {lengths[row, 0]} in row {row}, expected a finite one above 0"
        )
    return exact / lengths


def _cosines(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows that are unit vectors, those below 0 raised to it: [n]."""
    return np.einsum("ij,ij->i", first, second).clip(0, 1)


def _check_references(
    references: NDArray[np.floating], owner: NDArray[np.integer], captions: NDArray[np.floating]
) -> None:
    if references.ndim != captions.ndim or references.shape[1] != captions.shape[1]:
        expected = ["reference", captions.shape[1]]
        raise ShapeError(f"reference embeddings: got {list(references.shape)}, expected {expected}")
    if owner.shape != references.shape[:1]:
        raise ShapeError(f"owner: got {list(owner.shape)}, expected {[len(references)]}")
    if len(owner) and not 0 <= owner.min() <= owner.max() < len(captions):
        raise DataError(
            f"owner: got {owner.min()} to {owner.max()}, expected 0 to {len(captions) - 1}"
        )
    alone = np.setdiff1d(np.arange(len(captions)), owner)
    if len(alone):
        raise DataError(f"references of image {alone[0]}: got 0, expected at least 1")
