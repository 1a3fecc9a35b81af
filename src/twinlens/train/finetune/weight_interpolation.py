"""A model between two (WiSE-FT, Wortsman et al. 2022), with what belongs to it."""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path

from twinlens import hub
from twinlens.checkpoints.head import Head, load_head, save_head
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.reader import load_model
from twinlens.config import CLIPConfig
from twinlens.errors import CheckpointError
from twinlens.text.loading import AnyTokenizer, load_tokenizer
from twinlens.train.finetune.layers import interpolate


def save_between(start: str | Path, end: str | Path, out: Path, weight: float = 0.5) -> str:
    """Write the model whose weights lie between those of two.

    Where both have a classifier of the same classes, it is interpolated as well.

    Args:
        start: The model of weight 0, by name or directory.
        end: The same fine-tuned, of weight 1; templates and vocabulary are its.
        out: A new directory.
        weight: Where between them, from 0 to 1.

    Returns:
        A note where a classifier is left out, or nothing.

    Raises:
        CheckpointError: `out` is there, or the models read images or texts differently.
        ConfigError: The weight is not between 0 and 1.
    """
    if out.exists():
        raise CheckpointError(f"{out}: is there already, expected a new directory")
    paths = hub.resolve(start), hub.resolve(end)
    first, second = (load_model(path) for path in paths)
    _require_alike(first.config, second.config)
    if second.config.text is None:
        tokenizer = None
    else:
        tokenizer = load_tokenizer(paths[1], second.config)
        if _as_saved(load_tokenizer(paths[0], first.config)) != _as_saved(tokenizer):
            raise CheckpointError("interpolation: got two vocabularies, expected the same")
    second.load_state_dict(interpolate(first.state_dict(), second.state_dict(), weight))
    provenance = replace(second.config.provenance, source=f"{weight:g} of {end}, rest of {start}")
    second.config = replace(second.config, provenance=provenance)
    heads = [load_head(path, second.config.embed_dim) for path in paths]
    head, note = _between_heads(heads[0], heads[1], weight)
    if head is not None:
        save_head(head, out)
    save_model(second, out, tokenizer)
    return note


def _require_alike(start: CLIPConfig, end: CLIPConfig) -> None:
    """Two models that read images or texts differently have nothing useful between them."""
    for name in (field.name for field in fields(CLIPConfig)):
        got, expected = getattr(end, name), getattr(start, name)
        if name not in ("templates", "provenance") and got != expected:
            raise CheckpointError(
                f"interpolation: {name}: got {got}, expected {expected} as in the first model"
            )


def _as_saved(tokenizer: AnyTokenizer) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "tokenizer.json"
        tokenizer.save(file)
        return file.read_bytes()


def _between_heads(start: Head | None, end: Head | None, weight: float) -> tuple[Head | None, str]:
    if start is None and end is None:
        return None, ""
    if start is None or end is None:
        return None, "one of the models has no classifier: that of the other is left out"
    if start.classnames != end.classnames:
        return None, "the classifiers are of different classes: they are left out"
    between = interpolate({"": start.weight}, {"": end.weight}, weight)
    return Head(end.classnames, between[""]), ""
