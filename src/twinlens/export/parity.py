"""Whether two implementations of one checkpoint agree: tokens, pixels, features and logits.

The same pictures and texts go through twinlens and through a reference: the library that the
checkpoint's format belongs to, or answers that were stored with the checkpoint before.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import twinlens
from twinlens.embedder import Embedder
from twinlens.errors import CheckpointError
from twinlens.model.weights import read_tensors, write_tensors

ANSWERS_FILE = "parity.safetensors"
"""Answers stored beside weights, to compare with where no reference library is at hand."""

TOLERANCE = 2e-5
"""Largest difference of features of unit length, in float32."""

_LIMITS = {
    "tokens": 0.0,
    "pixels": 1e-6,
    "image_features": TOLERANCE,
    "text_features": TOLERANCE,
    "logits": 100 * TOLERANCE,  # the scale multiplies differences, at most by 100
}

Answers = Mapping[str, Tensor]
"""What a model says of the probes: any of `tokens`, `pixels`, features of unit length, `logits`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far two implementations are apart in one kind of answer.

    Attributes:
        what: The kind of answer.
        max_error: Largest absolute difference; of tokens, how many differ.
        cosine_error: Largest 1 - cosine of two rows; None where rows are no vectors.
        limit: Largest `max_error` that passes.
    """

    what: str
    max_error: float
    cosine_error: float | None
    limit: float

    @property
    def passes(self) -> bool:
        """Whether the difference is within its limit (a NaN is not)."""
        return self.max_error <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """What was compared with what, and how it came out."""

    reference: str
    comparisons: tuple[Comparison, ...]
    versions: dict[str, str]

    @property
    def passes(self) -> bool:
        """Whether every comparison does."""
        return all(one.passes for one in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        rows = [asdict(one) | {"passes": one.passes} for one in self.comparisons]
        return {
            "reference": self.reference,
            "passes": self.passes,
            "comparisons": rows,
            "versions": self.versions,
        }


def probe_texts() -> list[str]:
    """Short, long, empty, foreign and strange texts; none with broken Unicode or HTML entities.

    What other libraries make of those is no matter of the checkpoint.
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
    ]


def probe_images() -> list[Image.Image]:
    """Drawn pictures, wide, tall and small: smooth ramps, edges and noise, always the same."""
    images: list[Image.Image] = []
    for seed, (width, height) in enumerate([(301, 227), (180, 411), (64, 64), (640, 480)]):
        y, x = np.mgrid[0:height, 0:width]
        ramps = np.stack([x / width, y / height, (x + y) / (width + height)], axis=-1)
        edges = ((x // 17 + y // 23) % 2)[..., None]
        noise = np.random.default_rng(seed).random((height, width, 3))
        mixed = 0.5 * ramps + 0.3 * edges + 0.2 * noise
        images.append(Image.fromarray((255 * mixed).astype(np.uint8)))
    return images


def our_answers(lens: Embedder) -> dict[str, Tensor]:
    """What twinlens says of the probes, in float32 on the processor."""
    answers: dict[str, Tensor] = {}
    config = lens.config
    if config.text is not None:
        answers["tokens"] = lens.tokenizer(
            probe_texts(), context_length=config.text.context_length, truncate=True
        )
        with torch.inference_mode():
            features = lens.model.encode_text(answers["tokens"], normalize=True)
        answers["text_features"] = features
    if config.vision is not None:
        answers["pixels"] = torch.stack([lens.preprocess(image) for image in probe_images()])
        with torch.inference_mode():
            answers["image_features"] = lens.model.encode_image(answers["pixels"], normalize=True)
    return _with_logits(answers, lens.model.logit_scale, lens.model.logit_bias)


def _with_logits(
    answers: dict[str, Tensor], scale: Tensor, bias: Tensor | None
) -> dict[str, Tensor]:
    if "image_features" in answers and "text_features" in answers:
        logits = scale.detach().exp() * answers["image_features"] @ answers["text_features"].T
        answers["logits"] = logits if bias is None else logits + bias.detach()
    return {name: value.detach().cpu().contiguous().clone() for name, value in answers.items()}


def reference_answers(path: Path) -> dict[str, dict[str, Tensor]]:
    """What every reference that is at hand says of the probes, by the reference's name.

    Args:
        path: A directory in Hugging Face's or open_clip's layout, or one with stored answers.

    Raises:
        CheckpointError: None is at hand; says what to install.
    """
    answers: dict[str, dict[str, Tensor]] = {}
    if (path / ANSWERS_FILE).is_file():
        answers["stored answers"] = read_tensors(path / ANSWERS_FILE)
    try:
        name, theirs = _library_answers(path)
        answers[name] = theirs
    except CheckpointError:
        if not answers:
            raise
    return answers


def _library_answers(path: Path) -> tuple[str, dict[str, Tensor]]:
    if (path / "open_clip_config.json").is_file():
        return _asked("open_clip", "open_clip_torch", path, _open_clip_answers)
    if (path / "preprocessor_config.json").is_file() or (path / "tokenizer_config.json").is_file():
        return _asked("transformers", "transformers", path, _transformers_answers)
    raise CheckpointError(
        f"{path}: got nothing to compare with, expected a directory in Hugging Face's or "
        f"open_clip's layout, or one with {ANSWERS_FILE}"
    )


def _asked(
    module: str, package: str, path: Path, ask: Callable[[Any, Path], dict[str, Tensor]]
) -> tuple[str, dict[str, Tensor]]:
    try:
        library = importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # the second: built for another torch
        raise CheckpointError(
            f"{path}: the reference cannot be asked ({error}): run  pip install {package}"
        ) from error
    return f"{module} {importlib.metadata.version(package)}", ask(library, path)


@torch.inference_mode()
def _open_clip_answers(open_clip: Any, path: Path) -> dict[str, Tensor]:
    name = f"local-dir:{path}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokens = open_clip.get_tokenizer(name)(probe_texts())
    model = model.float().eval()
    pixels = torch.stack([transform(image) for image in probe_images()])
    answers = {
        "tokens": tokens,
        "pixels": pixels,
        "text_features": model.encode_text(tokens, normalize=True),
        "image_features": model.encode_image(pixels, normalize=True),
    }
    return _with_logits(answers, model.logit_scale, model.logit_bias)


@torch.inference_mode()
def _transformers_answers(transformers: Any, path: Path) -> dict[str, Tensor]:
    model = transformers.AutoModel.from_pretrained(path, local_files_only=True)
    model = model.float().eval()
    answers: dict[str, Tensor] = {}
    config = model.config
    if hasattr(model, "get_text_features") or hasattr(config, "vocab_size"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        length = getattr(config, "text_config", config).max_position_embeddings
        answers["tokens"] = tokenizer(
            probe_texts(), padding="max_length", truncation=True, max_length=length,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        answers["text_features"] = _hf_features(model, "text", input_ids=answers["tokens"])
    if hasattr(model, "get_image_features") or hasattr(config, "patch_size"):
        processor = transformers.AutoImageProcessor.from_pretrained(
            path, local_files_only=True, backend="pil"
        )
        answers["pixels"] = processor(probe_images(), return_tensors="pt").pixel_values
        answers["image_features"] = _hf_features(model, "image", pixel_values=answers["pixels"])
    scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
    return _with_logits(answers, torch.zeros(()) if scale is None else scale, bias)


def _hf_features(model: Any, kind: str, **inputs: Tensor) -> Tensor:
    """Unit vectors of either tower, whatever shape of answer the version gives."""
    ask = getattr(model, f"get_{kind}_features", model)
    answer = ask(**inputs)
    if not isinstance(answer, Tensor):
        embeds = getattr(answer, f"{kind}_embeds", None)
        answer = answer.pooler_output if embeds is None else embeds
    return F.normalize(answer, dim=-1)


def store_answers(answers: Answers, directory: Path) -> None:
    """Keep answers beside the weights they are of.

    Raises:
        CheckpointError: The file cannot be written.
    """
    write_tensors(answers, directory / ANSWERS_FILE)


def compare(ours: Answers, theirs: Answers, reference: str) -> ParityReport:
    """Compare all that both answered.

    Tokens are compared up to each text's end: what follows it is padding, which libraries fill
    with different ids and towers that stop at the end never see.

    Raises:
        CheckpointError: They have no kind of answer in common.
    """
    kinds = [kind for kind in _LIMITS if kind in ours and kind in theirs]
    if not kinds:
        raise CheckpointError(
            f"{reference}: got no answer that twinlens has too, expected features"
        )
    return ParityReport(
        reference=reference,
        comparisons=tuple(_compare_one(kind, ours[kind], theirs[kind]) for kind in kinds),
        versions={
            "twinlens": twinlens.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def _compare_one(kind: str, ours: Tensor, theirs: Tensor) -> Comparison:
    limit = _LIMITS[kind]
    if ours.shape != theirs.shape:
        return Comparison(what=kind, max_error=float("inf"), cosine_error=None, limit=limit)
    if kind == "tokens":
        wrong = float(_different_tokens(ours, theirs))
        return Comparison(what=kind, max_error=wrong, cosine_error=None, limit=limit)
    ours, theirs = ours.double(), theirs.double()
    cosine = F.cosine_similarity(ours.flatten(1), theirs.flatten(1), dim=1)
    return Comparison(
        what=kind,
        max_error=(ours - theirs).abs().max().item(),
        cosine_error=(1 - cosine).max().item(),
        limit=limit,
    )


def _different_tokens(ours: Tensor, theirs: Tensor) -> int:
    """How many ids differ, padding aside."""
    # A row's padding is its last run of one id; the first of that run may be the end token.
    kept = torch.zeros_like(ours, dtype=torch.bool)
    for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        length = min(_length(a), _length(b))  # the longer differs at the other's end
        kept[row, :length] = True
    return int(((ours != theirs) & kept).sum())


def _length(row: Tensor) -> int:
    """Tokens before the padding: up to the last that differs from the row's last, and one more."""
    different = (row != row[-1]).nonzero()
    return min(len(row), int(different.max()) + 2) if len(different) else 1
