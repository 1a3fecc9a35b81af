"""Model layouts: the file names by which a directory or a repository is recognised as a model.

The contents of the files are checked by the readers of checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinlens.hub.unsupported import MODULES_FILE, describe_contents, find_model_root


@dataclass(frozen=True, slots=True)
class Layout:
    """A configuration and the weights that it describes.

    Attributes:
        kind: Library that defines the layout; twinlens's own uses the file names of "hf".
        config: The configuration file.
        weights: The names that the weights may have, in order of preference.
    """

    kind: Literal["open_clip", "hf"]
    config: str
    weights: tuple[str, ...]


CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
"""Files of a model in twinlens's own layout."""

_WEIGHTS = (
    WEIGHTS_FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
LAYOUTS = (
    # First, since a repository of both may have an image tower alone as `model.safetensors`.
    Layout("open_clip", "open_clip_config.json", _OPEN_CLIP_WEIGHTS),
    Layout("hf", CONFIG_FILE, _WEIGHTS),
    Layout("open_clip", "open_clip_config.json", _WEIGHTS),
)
SINGLE_FILE_SUFFIXES = (".npz", ".safetensors", ".pt")
"""Suffixes of weights that a repository may hold without a configuration."""
WEIGHT_SUFFIXES = (*SINGLE_FILE_SUFFIXES, ".pth", ".bin")

CONFIG_FILES = ("config.json", "open_clip_config.json")
TEXT_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
    "metrics.json",
    "checksums.json",
    MODULES_FILE,
)
VOCABULARY_FILES = ("vocab.json", "merges.txt", "spiece.model", "tokenizer.model")
"""Vocabulary files that are used if there is no `tokenizer.json`."""


def choose_files(files: Collection[str]) -> list[str]:
    """Choose the files of a model from a repository: one configuration and one copy of the weights.

    open_clip's layout comes before Hugging Face's, and in each safetensors before pickles.

    Args:
        files: Paths in the repository.

    Returns:
        The weights first (several if they are sharded), then the text files; an empty list if
        there is no model.

    Example:
        >>> choose_files(["config.json", "model.safetensors", "pytorch_model.bin", "README.md"])
        ['model.safetensors', 'config.json', 'README.md']
    """
    tokenizer = () if "tokenizer.json" in files else VOCABULARY_FILES
    texts = [name for name in (*TEXT_FILES, *tokenizer) if name in files]
    for layout in LAYOUTS:
        weights = next((name for name in layout.weights if name in files), None)
        if layout.config in files and weights is not None:
            return [*_with_shards(weights, files), layout.config, *texts]
    if any(name in files for name in CONFIG_FILES):
        return []
    if MODULES_FILE in files and (inside := _find_clip_folder(files)):
        own = choose_files([name.removeprefix(inside) for name in files if name.startswith(inside)])
        return [*(f"{inside}{name}" for name in own), MODULES_FILE]
    single = [name for name in files if name.endswith(SINGLE_FILE_SUFFIXES)]
    return [*single, *texts] if len(single) == 1 else []


def _find_clip_folder(files: Collection[str]) -> str:
    """Find the folder of the CLIP module in a sentence-transformers repository; empty if none."""
    folders = {name.split("/")[0] for name in files if name.count("/") == 1}
    return next((f"{name}/" for name in sorted(folders) if name.endswith("_CLIPModel")), "")


def _with_shards(weights: str, files: Collection[str]) -> list[str]:
    """Add to an index the shards that it lists, such as `model-00001-of-00002.safetensors`."""
    if not weights.endswith(".index.json"):
        return [weights]
    stem, _, suffix = weights.removesuffix(".index.json").rpartition(".")
    shards = [name for name in files if name.startswith(f"{stem}-") and name.endswith(f".{suffix}")]
    return [*sorted(shards), weights]


def find_layout(directory: Path) -> Layout | None:
    """Find the layout whose files are in a directory, if any."""
    for layout in LAYOUTS:
        has_weights = any((directory / name).is_file() for name in layout.weights)
        if has_weights and (directory / layout.config).is_file():
            return layout
    return None


def find_model(directory: Path) -> Path | None:
    """Find the directory or the single file of a downloaded model, if there is one.

    Raises:
        CheckpointError: See `find_model_root`.
    """
    root = find_model_root(directory)
    if find_layout(root) is not None:
        return root
    chosen = choose_files([path.name for path in root.iterdir()])
    return root / chosen[0] if chosen else None


def describe_missing(directory: Path) -> str:
    """Describe what a directory without a layout lacks or holds instead, as "got, expected"."""
    configs = [name for name in CONFIG_FILES if (directory / name).is_file()]
    if contents := describe_contents(directory, configs):
        return contents
    for layout in LAYOUTS:
        if layout.config in configs:
            files = " or ".join(layout.weights)
            return f"got {layout.config} but no weights, expected {files} beside it"
    return f"got no {' and no '.join(CONFIG_FILES)}, expected a model's directory"
