"""The files of a saved model, written from arrays without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twinlens.checkpoints.checksums import write_checksums
from twinlens.checkpoints.formats.storage.arrays import Array, write_arrays
from twinlens.config import CLIPConfig
from twinlens.config_io import write_dataclass
from twinlens.errors import CheckpointError, os_errors_as
from twinlens.files import ensure_directory, remove_partial_files
from twinlens.hub.layouts import CONFIG_FILE, WEIGHTS_FILE
from twinlens.text.loading import TOKENIZER_FILE, AnyTokenizer


def write_model(
    config: CLIPConfig,
    arrays: Mapping[str, Array],
    directory: Path,
    tokenizer: AnyTokenizer | None = None,
) -> None:
    """Write a model's directory; an existing one is replaced file by file, checksums last.

    Args:
        config: The model's configuration.
        arrays: The weights by our names: see `expected_weights`.
        directory: Created if it is missing.
        tokenizer: The vocabulary, where it is not CLIP's own.

    Raises:
        CheckpointError: The files cannot be written, or the vocabulary is missing.
    """
    if tokenizer is None and config.tokenizer != "clip":
        raise CheckpointError(f"{directory}: got no tokenizer, expected one for {TOKENIZER_FILE}")
    with (
        os_errors_as(CheckpointError, directory, "the model could not be saved"),
        ensure_directory(directory),
    ):
        remove_partial_files(directory)
        write_arrays(arrays, directory / WEIGHTS_FILE)
        if tokenizer is not None and config.tokenizer != "clip":
            tokenizer.save(directory / TOKENIZER_FILE)
        write_dataclass(config, directory / CONFIG_FILE)
        write_checksums(directory, arrays)
