"""The command `twinlens`: its verbs and its exit status.

Exit status: 0 success, 1 a bug, 2 an error of the user, 75 stopped by a signal after saving, 130
interrupted, 141 standard output is a broken pipe, 143 terminated.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

import twinlens
from twinlens import signals
from twinlens.cli import (
    bench,
    cache,
    classify,
    compare,
    convert,
    data,
    eval,  # noqa: A004  named as the verb
    export,
    index,
    interpolate,
    models,
    plan,
    search,
    train,
)
from twinlens.cli.given import StrictCommand
from twinlens.cli.output import EXIT_INTERRUPTED, EXIT_USER_ERROR, log, report_error
from twinlens.cli.streams import EXIT_BROKEN_PIPE, StandardStreams, is_broken_pipe
from twinlens.hardware import use_passive_openmp_wait

TRACEBACK_FLAG = "--traceback"

app = typer.Typer(
    help="CLIP: train it, classify with words, embed images and texts in one space.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("models", cls=StrictCommand)(models.list_models)
app.command("classify", cls=StrictCommand)(classify.classify)
app.command("index", cls=StrictCommand)(index.index)
app.command("search", cls=StrictCommand)(search.search)
app.command("train", cls=StrictCommand)(train.train)
app.command("plan", cls=StrictCommand)(plan.plan)
app.command("eval", cls=StrictCommand)(eval.evaluate_command)
app.command("compare", cls=StrictCommand)(compare.compare)
app.command("bench", cls=StrictCommand)(bench.bench)
app.command("cache", cls=StrictCommand)(cache.cache)
app.command("convert", cls=StrictCommand)(convert.convert)
app.command("export", cls=StrictCommand)(export.export)
app.command("interpolate", cls=StrictCommand)(interpolate.interpolate)
app.add_typer(data.app, name="data")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(twinlens.__version__)
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
    with_traceback: Annotated[
        bool, typer.Option(TRACEBACK_FLAG, help="Show where an error came from (with any verb).")
    ] = False,
) -> None:
    """CLIP: train it, classify with words, embed images and texts in one space."""


def main() -> None:
    """Run the command line and exit with its status."""
    arguments, streams = sys.argv[1:], StandardStreams()
    warnings.formatwarning = _format_warning
    if arguments[:1] != ["bench"]:  # it measures what a program that imports the package gets
        use_passive_openmp_wait()
    with signals.handle_signals() as signals_received:
        status = _final_status(_run(arguments, streams), streams)
        if signals_received:  # threads may hang in storage that does not respond
            signals.exit_now(128 + signals_received[0] if status == EXIT_INTERRUPTED else status)
    sys.exit(status)


def _format_warning(message: Warning | str, *_: object, **__: object) -> str:
    """One line, without the place in the code that Python adds."""
    return f"warning: {message}\n"


def _run(arguments: list[str], streams: StandardStreams) -> int:
    try:
        streams.require_stdout()
        # Removed here so that it may also follow a verb.
        words = [word for word in arguments if word != TRACEBACK_FLAG]
        return app(words, prog_name="twinlens", standalone_mode=False) or 0
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as error:
        if signals.is_caused_by_signal(error):
            return EXIT_INTERRUPTED
        return report_error(error, with_traceback=TRACEBACK_FLAG in arguments)


def _final_status(status: int, streams: StandardStreams) -> int:
    """The exit status: that of the verb, or of a failure to write to stdout if it succeeded."""
    error = streams.write_error()
    if error is None or status:
        return status
    if is_broken_pipe(error):
        return EXIT_BROKEN_PIPE
    log(f"error: standard output: {error.strerror}: the answer is lost")
    return EXIT_USER_ERROR
