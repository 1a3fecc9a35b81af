"""What our configuration has and other families' have no place for, kept in a table of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from twinlens.config import CLIPConfig, Provenance, TextCleaning
from twinlens.config_io import from_dict, to_dict
from twinlens.errors import CheckpointError, TwinlensError

EXTRAS = "twinlens"
"""The table's name in a foreign configuration: other libraries keep it and do not read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extras:
    text_cleaning: TextCleaning
    templates: tuple[str, ...]
    provenance: Provenance
    background: tuple[int, int, int]


def extras_of(config: CLIPConfig) -> dict[str, Any]:
    """The table of a configuration."""
    background = config.preprocess.background if config.preprocess else (255, 255, 255)
    extras = _Extras(
        text_cleaning=config.text_cleaning,
        templates=config.templates,
        provenance=config.provenance,
        background=background,
    )
    return to_dict(extras)


def with_extras(config: CLIPConfig, data: Any, where: str) -> CLIPConfig:
    """The configuration with what a table says.

    Args:
        config: What the foreign part says.
        data: The table.
        where: The file, for messages.

    Raises:
        CheckpointError: It is not one that `extras_of` made.
    """
    if not isinstance(data, dict):
        raise CheckpointError(f"{where}: {EXTRAS}: got {data!r}, expected a table")
    try:
        extras = from_dict(_Extras, data)
        preprocess = config.preprocess and replace(config.preprocess, background=extras.background)
        return replace(
            config,
            preprocess=preprocess,
            text_cleaning=extras.text_cleaning,
            templates=extras.templates,
            provenance=extras.provenance,
        )
    except TwinlensError as error:
        raise CheckpointError(f"{where}: {EXTRAS}: {error}") from error
