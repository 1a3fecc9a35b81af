"""Parity of two implementations of one checkpoint: tokens, pixels, features and logits.

The same images and texts go through twinlens and through a reference: the library that the
checkpoint's format belongs to, or answers that were stored with the checkpoint earlier.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import twinlens
from twinlens.checkpoints.native import write_tensors
from twinlens.embed.embedder import Embedder
from twinlens.errors import CheckpointError

ANSWERS_FILE = "parity.safetensors"
"""Answers stored with the weights, for machines without the reference library."""

FEATURE_TOLERANCE = 2e-5
"""Largest allowed difference of features of unit length, in float32."""

_MAX_ERRORS = {
    "tokens": 0.0,
    "pixels": 1e-6,
    "image_features": FEATURE_TOLERANCE,
    "text_features": FEATURE_TOLERANCE,
    "logits": 100 * FEATURE_TOLERANCE,  # the scale multiplies differences, at most by 100
}

ParityAnswers = Mapping[str, Tensor]
"""A model's outputs for the probes: any of `tokens`, `pixels`, unit features and `logits`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityComparison:
    """The difference of two implementations in one kind of output.

    Attributes:
        what: The kind of output.
        max_error: Largest absolute difference; for tokens, the number that differ.
        cosine_error: Largest 1 - cosine of two rows; None if rows are not vectors.
        limit: Largest `max_error` that passes.
    """

    what: str
    max_error: float
    cosine_error: float | None
    limit: float

    @property
    def passes(self) -> bool:
        """True if the difference is within its limit (never for a NaN)."""
        return self.max_error <= self.limit


def _versions() -> dict[str, str]:
    return {
        "twinlens": twinlens.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """The result of comparing twinlens with a reference.

    Attributes:
        reference: Name of the reference.
        comparisons: One for each kind of output.
        versions: Versions of twinlens, torch and Python.
        skip_reason: The reason why nothing was compared; empty if something was.
    """

    reference: str
    comparisons: tuple[ParityComparison, ...] = ()
    versions: dict[str, str] = field(default_factory=_versions)
    skip_reason: str = ""

    @property
    def passes(self) -> bool:
        """True if there are comparisons and all of them pass."""
        return bool(self.comparisons) and all(row.passes for row in self.comparisons)

    @property
    def has_failures(self) -> bool:
        """True if a comparison does not pass."""
        return not all(row.passes for row in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        rows = [asdict(row) | {"passes": row.passes} for row in self.comparisons]
        return {
            "reference": self.reference,
            "passes": None if self.skip_reason else self.passes,
            "comparisons": rows,
            "versions": self.versions,
        } | ({"not checked, because": self.skip_reason} if self.skip_reason else {})


def probe_texts() -> list[str]:
    """Short, long, empty, foreign and strange texts; none with broken Unicode or HTML entities.

    How libraries read those does not depend on the checkpoint. The last three fill contexts of 64
    (SigLIP's) and 77 tokens (CLIP's) exactly, and exceed both.
    """
    return [
        "a photo of a cat",
        "a dog, sitting on a bench in the park; two children are playing behind it.",
        "",
        "Ein gelber Vogel auf einem Ast",
        "une tasse de café près de la fenêtre",
        "木の上の黄色い鳥",
        "an emoji of a 🐱 & a 🚲",
        "7 + 8 = 15",
        "UPPER lower MiXeD   white\tspace",
        " ".join(["word"] * 12),
        *(" ".join(["cat"] * count) for count in (64 - 1, 77 - 2, 90)),
    ]


def probe_images() -> list[Image.Image]:
    """Synthetic images, wide, tall and small: smooth ramps, edges and noise, always the same.

    The sides have a ratio of two or three, so that a crop of any even size falls on whole pixels:
    libraries round half pixels differently, which does not depend on the checkpoint.
    """
    images: list[Image.Image] = []
    for seed, (width, height) in enumerate([(681, 227), (180, 540), (64, 64), (640, 320)]):
        y, x = np.mgrid[0:height, 0:width]
        ramps = np.stack([x / width, y / height, (x + y) / (width + height)], axis=-1)
        edges = ((x // 17 + y // 23) % 2)[..., None]
        noise = np.random.default_rng(seed).random((height, width, 3))
        mixed = 0.5 * ramps + 0.3 * edges + 0.2 * noise
        images.append(Image.fromarray((255 * mixed).astype(np.uint8)))
    return images


def model_answers(embedder: Embedder) -> dict[str, Tensor]:
    """Compute twinlens's outputs for the probes, in float32 on the CPU."""
    answers: dict[str, Tensor] = {}
    config = embedder.config
    if config.text is not None:
        tokens = embedder.tokenizer(
            probe_texts(), context_length=config.text.context_length, truncate=True
        )
        answers["tokens"] = torch.from_numpy(tokens)
        with torch.inference_mode():
            features = embedder.model.encode_text(answers["tokens"], normalize=True)
        answers["text_features"] = features
    if config.vision is not None:
        pixels = np.stack([embedder.preprocess(image) for image in probe_images()])
        answers["pixels"] = torch.from_numpy(pixels)
        with torch.inference_mode():
            answers["image_features"] = embedder.model.encode_image(
                answers["pixels"], normalize=True
            )
    return add_logits(answers, embedder.model.logit_scale, embedder.model.logit_bias)


def add_logits(
    answers: dict[str, Tensor], logit_scale: Tensor, logit_bias: Tensor | None
) -> dict[str, Tensor]:
    """Add logits to the answers if there are features of both towers; all on the CPU."""
    if "image_features" in answers and "text_features" in answers:
        logits = logit_scale.detach().exp() * answers["image_features"] @ answers["text_features"].T
        answers["logits"] = logits if logit_bias is None else logits + logit_bias.detach()
    return {name: value.detach().cpu().contiguous().clone() for name, value in answers.items()}


def write_answers(answers: ParityAnswers, directory: Path) -> None:
    """Store answers with the weights that gave them.

    Raises:
        CheckpointError: The file cannot be written.
    """
    write_tensors(answers, directory / ANSWERS_FILE)


def compare_answers(ours: ParityAnswers, expected: ParityAnswers, reference: str) -> ParityReport:
    """Compare the outputs that both have.

    Tokens are compared up to each text's end: the rest is padding, for which libraries use
    different ids and which towers that stop at the end never see.

    Raises:
        CheckpointError: They have no kind of output in common.
    """
    kinds = [kind for kind in _MAX_ERRORS if kind in ours and kind in expected]
    if not kinds:
        raise CheckpointError(
            f"{reference}: got no answer that twinlens has too, expected features"
        )
    return ParityReport(
        reference=reference,
        comparisons=tuple(_compare_kind(kind, ours[kind], expected[kind]) for kind in kinds),
    )


def _compare_kind(kind: str, ours: Tensor, theirs: Tensor) -> ParityComparison:
    limit = _MAX_ERRORS[kind]
    if ours.shape != theirs.shape:
        return ParityComparison(what=kind, max_error=float("inf"), cosine_error=None, limit=limit)
    if kind == "tokens":
        wrong = float(_count_token_mismatches(ours, theirs))
        return ParityComparison(what=kind, max_error=wrong, cosine_error=None, limit=limit)
    ours, theirs = ours.double(), theirs.double()
    cosine = F.cosine_similarity(ours.flatten(1), theirs.flatten(1), dim=1)
    return ParityComparison(
        what=kind,
        max_error=(ours - theirs).abs().max().item(),
        cosine_error=(1 - cosine).max().item(),
        limit=limit,
    )


def _count_token_mismatches(ours: Tensor, theirs: Tensor) -> int:
    """Count the ids that differ, padding aside."""
    # A row's padding is its last run of one id; the first of that run may be the end token.
    is_text = torch.zeros_like(ours, dtype=torch.bool)
    for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        # The shorter of both: the longer text differs at the shorter one's end.
        is_text[row, : min(_unpadded_length(a), _unpadded_length(b))] = True
    return int(((ours != theirs) & is_text).sum())


def _unpadded_length(row: Tensor) -> int:
    """Count a row's tokens up to the last that differs from the final one, and one more."""
    different = (row != row[-1]).nonzero()
    return min(len(row), int(different.max()) + 2) if len(different) else 1
