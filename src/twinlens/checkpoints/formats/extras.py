"""Fields that only our configuration has, stored in a table of their own in foreign files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from twinlens.config import CLIPConfig, Provenance, TextCleaning
from twinlens.config_io import from_dict, to_dict
from twinlens.errors import CheckpointError, TwinlensError

EXTRAS_KEY = "twinlens"
"""The table's key in a foreign configuration, which other libraries ignore."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExtraFields:
    text_cleaning: TextCleaning
    templates: tuple[str, ...]
    provenance: Provenance
    background: tuple[int, int, int]


def extract_extras(config: CLIPConfig) -> dict[str, Any]:
    """Make the table of a configuration."""
    background = config.preprocess.background if config.preprocess else (255, 255, 255)
    extras = _ExtraFields(
        text_cleaning=config.text_cleaning,
        templates=config.templates,
        provenance=config.provenance,
        background=background,
    )
    return to_dict(extras)


def apply_extras(config: CLIPConfig, data: Any, where: str) -> CLIPConfig:
    """Apply a table to a configuration.

    Args:
        config: As read from the foreign fields.
        data: The table.
        where: The file, for messages.

    Raises:
        CheckpointError: It is not a table that `extract_extras` makes.
    """
    if not isinstance(data, dict):
        raise CheckpointError(f"{where}: {EXTRAS_KEY}: got {data!r}, expected a table")
    try:
        extras = from_dict(_ExtraFields, data)
        preprocess = config.preprocess and replace(config.preprocess, background=extras.background)
        return replace(
            config,
            preprocess=preprocess,
            text_cleaning=extras.text_cleaning,
            templates=extras.templates,
            provenance=extras.provenance,
        )
    except TwinlensError as error:
        raise CheckpointError(f"{where}: {EXTRAS_KEY}: {error}") from error
