"""The command `twinlens`: its verbs, and how each ends.

Exit status: 0 done, 1 a bug, 2 a mistake that the caller can mend, 75 told to stop and saved, 130
interrupted, 141 the reader of the answer has gone, 143 terminated.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import twinlens
from twinlens import signals
from twinlens.cli import (
    bench,
    classify,
    convert,
    data,
    eval,  # noqa: A004  named as the verb
    export,
    interpolate,
    models,
    train,
)
from twinlens.cli.given import Verb
from twinlens.cli.output import INTERRUPTED, USER_MISTAKE, log, report_error
from twinlens.cli.streams import NOT_READ, Streams, is_gone
from twinlens.hardware import wait_without_spinning

TRACEBACK = "--traceback"

app = typer.Typer(
    help="CLIP: train it, classify with words, embed images and texts in one space.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("models", cls=Verb)(models.models)
app.command("classify", cls=Verb)(classify.classify)
app.command("train", cls=Verb)(train.train)
app.command("eval", cls=Verb)(eval.eval_)
app.command("bench", cls=Verb)(bench.bench)
app.command("convert", cls=Verb)(convert.convert)
app.command("export", cls=Verb)(export.export)
app.command("interpolate", cls=Verb)(interpolate.interpolate)
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(twinlens.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
    with_traceback: Annotated[
        bool, typer.Option(TRACEBACK, help="Show where an error came from (with any verb).")
    ] = False,
) -> None:
    """CLIP: train it, classify with words, embed images and texts in one space."""


def main() -> None:
    """Run the command line and exit with its status."""
    given, streams = sys.argv[1:], Streams()
    if given[:1] != ["bench"]:  # which measures what a program that imports the package has
        wait_without_spinning()
    with signals.listening() as heard:
        status = _ended(_run(given, streams), streams)
        if heard:  # threads may hang in storage that does not answer
            signals.leave(128 + heard[0] if status == INTERRUPTED else status)
    sys.exit(status)


def _run(given: list[str], streams: Streams) -> int:
    try:
        streams.require_open()
        # Taken out here so that it may stand behind a verb too, where one thinks of it.
        words = [word for word in given if word != TRACEBACK]
        return app(words, prog_name="twinlens", standalone_mode=False) or 0
    except typer.Abort:
        return INTERRUPTED
    except Exception as error:
        return report_error(error, with_traceback=TRACEBACK in given)


def _ended(status: int, streams: Streams) -> int:
    """The status; that of a lost answer where the verb itself did well."""
    loss = streams.loss()
    if loss is None or status:
        return status
    if is_gone(loss):
        return NOT_READ
    log(f"error: standard output: {loss.strerror}: the answer is lost")
    return USER_MISTAKE
