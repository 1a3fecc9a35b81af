"""Interpolate the weights of two models (WiSE-FT, Wortsman et al. 2022) and save the result."""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path

import torch

from twinlens.checkpoints.head import ClassifierHead, load_head, save_head
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.reader import load_model
from twinlens.config import CLIPConfig
from twinlens.errors import CheckpointError
from twinlens.hub.resolve import resolve
from twinlens.text.loading import AnyTokenizer, load_tokenizer
from twinlens.train.finetune.layers import interpolate_weights


def save_interpolated(start: str | Path, end: str | Path, out: Path, weight: float = 0.5) -> str:
    """Write the model that interpolates the weights of two.

    If both have a classifier head of the same classes, it is interpolated too.

    Args:
        start: Name or directory of the model at weight 0.
        end: The fine-tuned model at weight 1; templates and tokenizer are taken from it.
        out: A new directory.
        weight: Interpolation weight from 0 to 1.

    Returns:
        A note if a classifier head is left out, else an empty text.

    Raises:
        CheckpointError: `out` exists, or the models read images or texts differently.
        ConfigError: The weight is not between 0 and 1.
    """
    if out.exists():
        raise CheckpointError(f"{out}: is there already, expected a new directory")
    paths = resolve(start), resolve(end)
    first, second = (load_model(path) for path in paths)
    _check_compatible(first.config, second.config)
    if second.config.text is None:
        tokenizer = None
    else:
        tokenizer = load_tokenizer(paths[1], second.config)
        if _tokenizer_bytes(load_tokenizer(paths[0], first.config)) != _tokenizer_bytes(tokenizer):
            raise CheckpointError("interpolation: got two vocabularies, expected the same")
    second.load_state_dict(interpolate_weights(first.state_dict(), second.state_dict(), weight))
    provenance = replace(second.config.provenance, source=f"{weight:g} of {end}, rest of {start}")
    second.config = replace(second.config, provenance=provenance)
    heads = [load_head(path, second.config.embed_dim) for path in paths]
    head, note = _interpolate_heads(heads[0], heads[1], weight)
    if head is not None:
        save_head(head, out)
    save_model(second, out, tokenizer)
    return note


def _check_compatible(start: CLIPConfig, end: CLIPConfig) -> None:
    """Refuse models that differ in architecture, preprocessing or tokenizer."""
    for name in (field.name for field in fields(CLIPConfig)):
        got, expected = getattr(end, name), getattr(start, name)
        if name not in ("templates", "provenance") and got != expected:
            raise CheckpointError(
                f"interpolation: {name}: got {got}, expected {expected} as in the first model"
            )


def _tokenizer_bytes(tokenizer: AnyTokenizer) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "tokenizer.json"
        tokenizer.save(file)
        return file.read_bytes()


def _interpolate_heads(
    start: ClassifierHead | None, end: ClassifierHead | None, weight: float
) -> tuple[ClassifierHead | None, str]:
    if start is None and end is None:
        return None, ""
    if start is None or end is None:
        return None, "one of the models has no classifier: that of the other is left out"
    if start.classnames != end.classnames:
        return None, "the classifiers are of different classes: they are left out"
    weights = interpolate_weights(
        {"": torch.from_numpy(start.weight)}, {"": torch.from_numpy(end.weight)}, weight
    )
    return ClassifierHead(end.classnames, weights[""].numpy()), ""
