"""A model in the layout of another library, with its card, and the proof that it is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from twinlens.checkpoints.formats import hugging_face, open_clip
from twinlens.checkpoints.native import require_whole, save_model
from twinlens.embed.embedder import Embedder, load
from twinlens.errors import CheckpointError
from twinlens.export.card import CARD_FILE, model_card
from twinlens.export.parity import ParityReport, compare, our_answers, store_answers
from twinlens.export.references import reference_answers
from twinlens.files import write_whole

Layout = Literal["native", "hf", "open_clip"]

_WRITERS = {"native": save_model, "hf": hugging_face.write, "open_clip": open_clip.write}


def write_checkpoint(lens: Embedder, directory: Path, layout: Layout = "native") -> None:
    """Write a model as a directory that a library opens, with its model card.

    Args:
        lens: The model; its weights keep their type.
        directory: Made if it is missing.
        layout: twinlens's own; that of transformers, diffusers and sentence-transformers; or
            open_clip's, which opens it as `local-dir:DIRECTORY`.

    Raises:
        CheckpointError: The library has no such model, and the message lists why; the model is in
            8 bits; or the files cannot be written.
    """
    require_whole(lens.model, directory)
    tokenizer = lens.tokenizer if lens.config.text is not None else None
    _WRITERS[layout](lens.model, directory, tokenizer)
    parameters = sum(parameter.numel() for parameter in lens.model.parameters())
    card = model_card(lens.config, name=directory.name, layout=layout, parameters=parameters)
    write_whole(card, directory / CARD_FILE)


def check_checkpoint(
    lens: Embedder, directory: Path, source: Path | None = None
) -> list[ParityReport]:
    """Compare a model with what was written of it, and with references.

    Where a reference agrees and none does not, the answers are stored with what was written: it
    can be checked again on machines without the reference.

    Args:
        lens: The model, in float32.
        directory: Where it was written; read again, and given to the library it is for.
        source: Where it came from, if its answers should be the same.

    Returns:
        What was read again, then each reference on the destination and on the source; last a
        report of each place without one at hand, which says why.
    """
    ours = our_answers(lens)
    again = our_answers(load(directory, device="cpu", precision="fp32"))
    reports = [compare(again, ours, "what was written, read again")]
    unchecked: list[ParityReport] = []
    for what, place in (("destination", directory), ("source", source)):
        try:
            if place is None:
                raise CheckpointError("it is meant to answer otherwise")
            found = reference_answers(place)
            compared = [compare(ours, found[name], f"{name} on the {what}") for name in found]
        except CheckpointError as error:
            unchecked.append(ParityReport(reference=f"the {what}", unchecked=str(error)))
        else:
            reports += compared
    if any(one.passes for one in reports[1:]) and not any(one.fails for one in reports):
        store_answers(ours, directory)
    return reports + unchecked
