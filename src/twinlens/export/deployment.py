"""A model as files for a runtime, without twinlens and without torch's model code.

A directory of one file a tower, `tokenizer.json`, and `twinlens.json`, which says how to use them.
What is written has been asked the same as the model, in the runtime it is for, and agreed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import twinlens
from twinlens.config import CLIPConfig
from twinlens.config_io import to_dict
from twinlens.embed.embedder import Embedder
from twinlens.errors import CheckpointError, MissingExtraError, require
from twinlens.export import onnx, openvino, torch_export
from twinlens.export.gate import LIMITS, least_cosine
from twinlens.export.towers import OUTPUT, Precision, Tower, towers_of, traced
from twinlens.export.vocabulary import TokenizerFile, write_tokenizer
from twinlens.files import whole_directory, write_whole

Format = Literal["onnx", "openvino", "torch"]

FACTS_FILE = "twinlens.json"

PRECISIONS: dict[Format, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16"),
    "torch": ("fp32",),
}
"""What each format can be written in, the usual one first."""

_FORMATS = {"onnx": onnx, "openvino": openvino, "torch": torch_export}

_PACKAGES: dict[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnx_ir", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "onnx", "onnx_ir", "onnxscript"),
    "torch": (),
}
_EXTRAS: dict[Format, str] = {"onnx": "export", "openvino": "openvino"}


@dataclass(frozen=True, slots=True)
class Written:
    """A tower's files.

    Attributes:
        tower: "image" or "text".
        files: Their names; the first is the one to open.
        size: Of all of them, in bytes.
        cosine: The smallest of its answers with the model's own.
    """

    tower: str
    files: tuple[str, ...]
    size: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        towers: One for each that the model has.
        tokenizer: The vocabulary's file; None without a text tower.
    """

    towers: tuple[Written, ...]
    tokenizer: TokenizerFile | None


def export_model(
    lens: Embedder, directory: Path, form: Format = "onnx", precision: Precision = "fp32"
) -> Export:
    """Write a model for a runtime; all of it or nothing.

    Args:
        lens: The model, in float32 on the processor.
        directory: New or empty.
        form: "onnx", "openvino" or "torch".
        precision: One of `PRECISIONS` of the format.

    Raises:
        ConfigError: The format has no such precision, or the model is not in float32.
        MissingExtraError: A package that the format needs is not installed.
        CheckpointError: What was written does not answer as the model does, or the directory is
            not empty or cannot be written.
    """
    require(precision in PRECISIONS[form], "precision", precision, _choice(form))
    at = f"{lens.precision} on {lens.device}"
    require(at == "fp32 on cpu", "model", at, "fp32 on cpu")
    _require_packages(form)
    try:
        with whole_directory(directory) as place:
            return _write(lens, place, form, precision)
    except OSError as error:
        raise CheckpointError(f"{directory}: could not be written: {error}") from error


def _write(lens: Embedder, place: Path, form: Format, precision: Precision) -> Export:
    tokenizer = None
    if lens.config.text is not None:
        tokenizer = write_tokenizer(lens.tokenizer, place, lens.config)
    facts = _facts(lens, form, precision, tokenizer)
    written = tuple(_write_tower(one, place, form, precision, facts) for one in towers_of(lens))
    parity = {one.tower: one.cosine for one in written}
    whole = facts | {"parity": {"limit": LIMITS[precision], "least_cosine": parity}}
    write_whole(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", place / FACTS_FILE)
    return Export(written, tokenizer)


def _write_tower(
    tower: Tower, place: Path, form: Format, precision: Precision, facts: dict[str, Any]
) -> Written:
    path = place / f"{tower.name}{_FORMATS[form].SUFFIX}"
    _FORMATS[form].write(traced(tower), tower, path, json.dumps(facts), precision)
    cosine = least_cosine(_FORMATS[form].reader(path, tower), tower, precision)
    beside = sorted(set(place.glob(f"{tower.name}.*")) - {path})
    files = [path, *beside]
    size = sum(file.stat().st_size for file in files)
    return Written(tower.name, tuple(file.name for file in files), size, cosine)


def _facts(
    lens: Embedder, form: Format, precision: Precision, tokenizer: TokenizerFile | None
) -> dict[str, Any]:
    """All that a consumer of the files needs to know, as plain JSON types."""
    config, model = lens.config, lens.model
    bias = None if model.logit_bias is None else model.logit_bias.item()
    suffix = _FORMATS[form].SUFFIX
    facts: dict[str, Any] = {
        "twinlens": twinlens.__version__,
        "format": form,
        "precision": precision,
        "embed_dim": config.embed_dim,
        "logit_scale": model.logit_scale.exp().item(),
        "logit_bias": bias,
        "templates": list(config.templates),
        "provenance": to_dict(config.provenance),
    }
    if config.preprocess is not None:
        names = {"file": f"image{suffix}", "input": "images", "output": OUTPUT}
        facts["image"] = names | {"preprocess": to_dict(config.preprocess)}
    if tokenizer is not None:
        names = {"file": f"text{suffix}", "input": "tokens", "output": OUTPUT}
        facts["text"] = names | _text_facts(config, tokenizer)
    return facts


def _text_facts(config: CLIPConfig, tokenizer: TokenizerFile) -> dict[str, Any]:
    text = config.text_input
    sizes = {"context_length": text.context_length, "vocab_size": text.vocab_size}
    return sizes | {"cleaning": config.text_cleaning, "tokenizer": asdict(tokenizer)}


def _choice(form: Format) -> str:
    return f"{' or '.join(PRECISIONS[form])} for {form}"


def _require_packages(form: Format) -> None:
    for package in _PACKAGES[form]:
        if find_spec(package) is None:
            raise MissingExtraError(package, _EXTRAS[form])
