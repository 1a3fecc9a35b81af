"""Write models in the layouts of other libraries."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twinlens.checkpoints.formats import hugging_face, open_clip
from twinlens.checkpoints.formats.storage.tensors import LazyTensors
from twinlens.checkpoints.torch_arrays import to_array
from twinlens.model.clip import CLIP
from twinlens.text.loading import AnyTokenizer


def write_hugging_face(model: CLIP, directory: Path, tokenizer: AnyTokenizer | None = None) -> None:
    """Write a model for transformers: see `hugging_face.write_model`."""
    hugging_face.write_model(model.config, _weights(model), directory, tokenizer)


def write_open_clip(model: CLIP, directory: Path, tokenizer: AnyTokenizer | None = None) -> None:
    """Write a model for open_clip: see `open_clip.write_model`."""
    open_clip.write_model(model.config, _weights(model), directory, tokenizer)


def _weights(model: CLIP) -> LazyTensors:
    """The weights as arrays, which leave the accelerator when they are written."""
    state = model.state_dict()
    return LazyTensors({name: partial(to_array, state[name]) for name in state})
