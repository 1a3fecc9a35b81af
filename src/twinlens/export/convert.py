"""A model in the layout of another library, with its card, and the proof that it is the same."""

from __future__ import annotations

from pathlib import Path

from twinlens.checkpoints.native import require_unquantised, save_model
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.embed.embedder import Embedder, load
from twinlens.errors import CheckpointError
from twinlens.export.card import CARD_FILE, model_card
from twinlens.export.parity import ParityReport, compare_answers, model_answers, write_answers
from twinlens.export.references import reference_answers
from twinlens.files import atomic_write_text
from twinlens.types import CheckpointLayout

_WRITERS = {"native": save_model, "hf": write_hugging_face, "open_clip": write_open_clip}


def write_checkpoint(
    embedder: Embedder, directory: Path, layout: CheckpointLayout = "native"
) -> None:
    """Write a model as a directory that a library opens, with its model card.

    Args:
        embedder: The model; its weights keep their type.
        directory: Made if it is missing.
        layout: twinlens's own; that of transformers, diffusers and sentence-transformers; or
            open_clip's, which opens it as `local-dir:DIRECTORY`.

    Raises:
        CheckpointError: The library has no such model, and the message lists why; the model is in
            8 bits; or the files cannot be written.
    """
    require_unquantised(embedder.model, directory)
    tokenizer = embedder.tokenizer if embedder.config.text is not None else None
    _WRITERS[layout](embedder.model, directory, tokenizer)
    parameters = sum(parameter.numel() for parameter in embedder.model.parameters())
    card = model_card(
        embedder.config, name=directory.name, layout=layout, num_parameters=parameters
    )
    atomic_write_text(card, directory / CARD_FILE)


def check_parity(
    embedder: Embedder, directory: Path, source: Path | None = None
) -> list[ParityReport]:
    """Compare a model with what was written of it, and with references.

    Where a reference agrees and none does not, the answers are stored with what was written: it
    can be checked again on machines without the reference.

    Args:
        embedder: The model, in float32.
        directory: Where it was written; read again, and given to the library it is for.
        source: Where it came from, if its answers should be the same.

    Returns:
        What was read again, then each reference on the destination and on the source; last a
        report of each place without one at hand, which says why.
    """
    ours = model_answers(embedder)
    again = model_answers(load(directory, device="cpu", precision="fp32"))
    reports = [compare_answers(again, ours, "what was written, read again")]
    unchecked: list[ParityReport] = []
    for what, place in (("destination", directory), ("source", source)):
        try:
            if place is None:
                raise CheckpointError("it is meant to answer otherwise")
            found = reference_answers(place)
            compared = [
                compare_answers(ours, found[name], f"{name} on the {what}") for name in found
            ]
        except CheckpointError as error:
            unchecked.append(ParityReport(reference=f"the {what}", skip_reason=str(error)))
        else:
            reports += compared
    if any(one.passes for one in reports[1:]) and not any(one.has_failures for one in reports):
        write_answers(ours, directory)
    return reports + unchecked
