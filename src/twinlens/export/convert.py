"""Write a model in the layout of another library, with its card, and check its outputs."""

from __future__ import annotations

from pathlib import Path

from twinlens.checkpoints.native import require_unquantised, save_model
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.embed.embedder import Embedder
from twinlens.embed.loading import load
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
    """Write a model and its model card as a directory that a library opens.

    Args:
        embedder: The model; the dtype of its weights is not changed.
        directory: Created if it is missing.
        layout: twinlens's own; that of transformers, diffusers and sentence-transformers; or
            open_clip's, which opens it as `local-dir:DIRECTORY`.

    Raises:
        CheckpointError: The library cannot represent the model (the message lists why), the model
            is in 8 bits, or the files cannot be written.
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
    """Compare a model with the files written from it, and with reference libraries.

    If a reference agrees and none disagrees, the answers are stored with the files, so that they
    can be checked again on machines without the reference.

    Args:
        embedder: The model, in float32.
        directory: The written files; loaded again, and opened by the library they are for.
        source: The checkpoint that the model was loaded from, if its outputs should be the same.

    Returns:
        The report of the files loaded again, then of each reference on the destination and on the
        source; last a report with a `skip_reason` for each of the two without a reference.
    """
    ours = model_answers(embedder)
    reloaded = model_answers(load(directory, engine="torch", device="cpu", precision="fp32"))
    reports = [compare_answers(reloaded, ours, "what was written, read again")]
    unchecked: list[ParityReport] = []
    for what, path in (("destination", directory), ("source", source)):
        try:
            if path is None:
                raise CheckpointError("it is meant to answer otherwise")
            compared = [
                compare_answers(ours, answers, f"{name} on the {what}")
                for name, answers in reference_answers(path).items()
            ]
        except CheckpointError as error:
            unchecked.append(ParityReport(reference=f"the {what}", skip_reason=str(error)))
        else:
            reports += compared
    agreed = any(report.passes for report in reports[1:])
    if agreed and not any(report.has_failures for report in reports):
        write_answers(ours, directory)
    return reports + unchecked
