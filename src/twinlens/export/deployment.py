"""Export a model as files for a runtime, which need neither twinlens nor torch's model code.

The directory holds one file per tower, `tokenizer.json`, and `twinlens.json`, which describes how
to use them. Each file was run in its runtime, and its outputs were compared with the model's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import twinlens
from twinlens.config import CLIPConfig
from twinlens.config_io import to_dict
from twinlens.embed.embedder import Embedder
from twinlens.errors import CheckpointError, MissingExtraError, os_errors_as, require
from twinlens.export import onnx, openvino, torch_export
from twinlens.export.gate import MIN_COSINES, check_min_cosine
from twinlens.export.towers import OUTPUT_NAME, ExportTower, export_towers
from twinlens.export.vocabulary import TokenizerFile, write_tokenizer
from twinlens.files import atomic_directory, atomic_write_text
from twinlens.types import ExportFormat, ExportPrecision

METADATA_FILE = "twinlens.json"

PRECISIONS: dict[ExportFormat, tuple[ExportPrecision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16"),
    "torch": ("fp32",),
}
"""Precisions of each format, the default first."""

_FORMAT_MODULES = {"onnx": onnx, "openvino": openvino, "torch": torch_export}

_REQUIRED_PACKAGES: dict[ExportFormat, tuple[str, ...]] = {
    "onnx": ("onnx", "onnx_ir", "onnxruntime"),
    "openvino": (),
    "torch": (),
}


@dataclass(frozen=True, slots=True)
class ExportedTower:
    """The files of an exported tower.

    Attributes:
        tower: "image" or "text".
        files: Their names; the first is the one to open.
        size: Total size in bytes.
        cosine: Smallest cosine of its outputs with the model's.
    """

    tower: str
    files: tuple[str, ...]
    size: int
    cosine: float


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The files of an exported model.

    Attributes:
        towers: One for each tower of the model.
        tokenizer: The vocabulary's file; None without a text tower.
    """

    towers: tuple[ExportedTower, ...]
    tokenizer: TokenizerFile | None


def export_model(
    embedder: Embedder,
    directory: Path,
    format_name: ExportFormat = "onnx",
    precision: ExportPrecision = "fp32",
) -> ExportResult:
    """Export a model for a runtime; either all files are written or none.

    Args:
        embedder: The model, in float32 on the CPU.
        directory: A new or empty directory.
        format_name: "onnx", "openvino" or "torch".
        precision: One of `PRECISIONS` of the format.

    Raises:
        ConfigError: The format has no such precision, or the model is not in float32.
        MissingExtraError: A package that the format needs is not installed.
        CheckpointError: The outputs of the written files differ from the model's, or the
            directory is not empty or cannot be written.
    """
    require(
        precision in PRECISIONS[format_name],
        "precision",
        precision,
        f"{' or '.join(PRECISIONS[format_name])} for {format_name}",
    )
    placement = f"{embedder.precision} on {embedder.device}"
    require(placement == "fp32 on cpu", "model", placement, "fp32 on cpu")
    _require_packages(format_name)
    with (
        os_errors_as(CheckpointError, directory, "could not be written"),
        atomic_directory(directory) as temporary,
    ):
        return _write_export(embedder, temporary, format_name, precision)


def _write_export(
    embedder: Embedder, directory: Path, format_name: ExportFormat, precision: ExportPrecision
) -> ExportResult:
    tokenizer = None
    if embedder.config.text is not None:
        tokenizer = write_tokenizer(embedder.tokenizer, directory, embedder.config)
    metadata = _export_metadata(embedder, format_name, precision, tokenizer)
    towers = tuple(
        _write_tower(tower, directory, format_name, precision, metadata)
        for tower in export_towers(embedder)
    )
    parity = {tower.tower: tower.cosine for tower in towers}
    whole = metadata | {"parity": {"limit": MIN_COSINES[precision], "least_cosine": parity}}
    atomic_write_text(
        json.dumps(whole, indent=2, ensure_ascii=False) + "\n", directory / METADATA_FILE
    )
    return ExportResult(towers, tokenizer)


def _write_tower(
    tower: ExportTower,
    directory: Path,
    format_name: ExportFormat,
    precision: ExportPrecision,
    metadata: dict[str, Any],
) -> ExportedTower:
    module = _FORMAT_MODULES[format_name]
    path = directory / f"{tower.name}{module.SUFFIX}"
    module.write_tower(tower, path, json.dumps(metadata), precision)
    cosine = check_min_cosine(module.open_runner(path, tower), tower, precision)
    files = [path, *sorted(set(directory.glob(f"{tower.name}.*")) - {path})]
    size = sum(file.stat().st_size for file in files)
    return ExportedTower(tower.name, tuple(file.name for file in files), size, cosine)


def _export_metadata(
    embedder: Embedder,
    format_name: ExportFormat,
    precision: ExportPrecision,
    tokenizer: TokenizerFile | None,
) -> dict[str, Any]:
    """Collect all that a user of the files needs to know, as plain JSON types."""
    config, model = embedder.config, embedder.model
    bias = None if model.logit_bias is None else model.logit_bias.item()
    suffix = _FORMAT_MODULES[format_name].SUFFIX
    metadata: dict[str, Any] = {
        "twinlens": twinlens.__version__,
        "format": format_name,
        "precision": precision,
        "embed_dim": config.embed_dim,
        "logit_scale": model.logit_scale.exp().item(),
        "logit_bias": bias,
        "templates": list(config.templates),
        "provenance": to_dict(config.provenance),
    }
    if config.preprocess is not None:
        names = {"file": f"image{suffix}", "input": "images", "output": OUTPUT_NAME}
        metadata["image"] = names | {"preprocess": to_dict(config.preprocess)}
    if tokenizer is not None:
        names = {"file": f"text{suffix}", "input": "tokens", "output": OUTPUT_NAME}
        metadata["text"] = names | _text_metadata(config, tokenizer)
    return metadata


def _text_metadata(config: CLIPConfig, tokenizer: TokenizerFile) -> dict[str, Any]:
    text = config.text_config
    sizes = {"context_length": text.context_length, "vocab_size": text.vocab_size}
    return sizes | {"cleaning": config.text_cleaning, "tokenizer": asdict(tokenizer)}


def _require_packages(format_name: ExportFormat) -> None:
    for package in _REQUIRED_PACKAGES[format_name]:
        if find_spec(package) is None:
            raise MissingExtraError(package, "export")
