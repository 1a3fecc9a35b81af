"""Reference outputs for the probes: from the library of a format, or stored answers."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from twinlens.checkpoints.formats import hugging_face, openai
from twinlens.checkpoints.formats.hugging_face.names import ARCHITECTURES
from twinlens.checkpoints.formats.storage.tensors import open_tensors
from twinlens.checkpoints.native import read_tensors
from twinlens.checkpoints.torch_arrays import to_tensor
from twinlens.config_io import read_json_object
from twinlens.errors import CheckpointError, TwinlensError, root_cause
from twinlens.export.parity import ANSWERS_FILE, add_logits, probe_images, probe_texts
from twinlens.hub.layouts import find_layout


def reference_answers(path: Path) -> dict[str, dict[str, Tensor]]:
    """Compute the outputs of every available reference for the probes, by the reference's name.

    Args:
        path: A directory in Hugging Face's or open_clip's layout, one with stored answers, or
            OpenAI's archive.

    Raises:
        CheckpointError: No reference is available; the message says why.
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
    if path.is_file():
        names = open_tensors(path)
        if all(mark in names for mark in openai.ARCHIVE_KEYS):
            return _ask_library("open_clip", "open_clip_torch", path, _openai_answers)
        raise CheckpointError(
            f"{path}: got weights alone, expected a configuration or the marks of OpenAI's own: "
            "no reference can tell whether an activation that was named is the right one"
        )
    layout = find_layout(path)
    if layout is not None and layout.kind == "open_clip":
        return _ask_library("open_clip", "open_clip_torch", path, _open_clip_answers)
    if layout is not None and hugging_face.is_supported_config(
        read_json_object(path / layout.config)
    ):
        return _ask_library("transformers", "transformers", path, _transformers_answers)
    raise CheckpointError(
        f"{path}: got nothing to compare with, expected a directory in Hugging Face's or "
        f"open_clip's layout, or one with {ANSWERS_FILE}"
    )


def _ask_library(
    module: str, package: str, path: Path, ask: Callable[[Any, Path], dict[str, Tensor]]
) -> tuple[str, dict[str, Tensor]]:
    with translate_library_errors(path, module, package, CheckpointError):
        answers = ask(importlib.import_module(module), path)
    return f"{module} {importlib.metadata.version(package)}", answers


@contextmanager
def translate_library_errors(
    subject: object, module: str, package: str, error_type: type[TwinlensError]
) -> Generator[None]:
    """Turn whatever importing or calling a reference library raises into one of our errors."""
    try:
        yield
    except Exception as error:  # libraries import parts of themselves late, and raise any error
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        reason = (
            f"it is not installed: run  pip install {package}" if missing else root_cause(error)
        )
        raise error_type(f"{subject}: {module} cannot be asked: {reason}") from error


@torch.inference_mode()
def _openai_answers(open_clip: Any, path: Path) -> dict[str, Tensor]:
    """Run OpenAI's weights in open_clip's model; open_clip's reader would execute the archive."""
    tensors = open_tensors(path)
    state = {
        name: to_tensor(tensors[name]).float() for name in tensors if not openai.is_ignored(name)
    }
    model = open_clip.model.build_model_from_openai_state_dict(
        dict(state), cast_dtype=torch.float32
    )
    model = model.float()
    model.load_state_dict(state)  # again in float32: building it rounded to float16
    transform = open_clip.image_transform(
        model.visual.image_size,
        is_train=False,
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
    )
    tokens = open_clip.tokenize(probe_texts(), context_length=model.context_length)
    return _encoder_answers(model.eval(), tokens, transform)


@torch.inference_mode()
def _open_clip_answers(open_clip: Any, path: Path) -> dict[str, Tensor]:
    name = f"local-dir:{path}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokens = open_clip.get_tokenizer(name)(probe_texts())
    return _encoder_answers(model.float().eval(), tokens, transform)


def _encoder_answers(model: Any, tokens: Tensor, transform: Any) -> dict[str, Tensor]:
    pixels = torch.stack([transform(image) for image in probe_images()])
    answers = {
        "tokens": tokens,
        "pixels": pixels,
        "text_features": model.encode_text(tokens, normalize=True),
        "image_features": model.encode_image(pixels, normalize=True),
    }
    return add_logits(answers, model.logit_scale, model.logit_bias)


@torch.inference_mode()
def _transformers_answers(transformers: Any, path: Path) -> dict[str, Tensor]:
    model = model_class(transformers, path).from_pretrained(path, local_files_only=True)
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
        answers["text_features"] = normalised_features(model, "text", input_ids=answers["tokens"])
    if hasattr(model, "get_image_features") or hasattr(config, "patch_size"):
        processor = transformers.AutoImageProcessor.from_pretrained(
            path, local_files_only=True, backend="pil"
        )
        answers["pixels"] = processor(probe_images(), return_tensors="pt").pixel_values
        answers["image_features"] = normalised_features(
            model, "image", pixel_values=answers["pixels"]
        )
    scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
    return add_logits(answers, torch.zeros(()) if scale is None else scale, bias)


def model_class(transformers: Any, path: Path) -> Any:
    """Return the class that a directory names: `model_type` is ambiguous for single towers."""
    names = read_json_object(path / "config.json").get("architectures") or ["AutoModel"]
    return getattr(transformers, names[0] if names[0] in ARCHITECTURES else "AutoModel")


def normalised_features(model: Any, modality: str, **inputs: Tensor) -> Tensor:
    """Compute unit vectors of a tower, whatever type of output the library's version returns."""
    encode = getattr(model, f"get_{modality}_features", model)
    output = encode(**inputs)
    if not isinstance(output, Tensor):
        embeds = getattr(output, f"{modality}_embeds", None)
        output = output.pooler_output if embeds is None else embeds
    return F.normalize(output, dim=-1)
