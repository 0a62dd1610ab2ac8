"""The command line: one file is one command."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from tiercast import __version__
from tiercast.cli import bench, build, check, compile, inspect, ops, quantize, run, targets, tune, verify
from tiercast.cli.output import emit_error
from tiercast.errors import TiercastError, UsageError

app = typer.Typer(
    name="tiercast",
    help="Compiles neural camera effects to every tier of phone, and runs them there.",
    epilog="Example: tiercast compile model.onnx -o model.tcpkg, then tiercast verify model.onnx model.tcpkg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("compile")(compile.command)
app.command("check")(check.command)
app.command("quantize")(quantize.command)
app.command("run")(run.command)
app.command("verify")(verify.command)
app.command("inspect")(inspect.command)
app.command("tune")(tune.command)
app.command("bench")(bench.command)
app.command("targets")(targets.command)
app.command("build")(build.command)
app.add_typer(ops.app, name="ops")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tiercast {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    """Compiles neural camera effects to every tier of phone, and runs them there."""


def call(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code: 0 done, 1 refused or wrong, 2 wrong usage."""
    debug = "--debug" in arguments
    try:
        app(args=[word for word in arguments if word != "--debug"], prog_name="tiercast")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(bool(done.code))
    except TiercastError as error:
        if debug:
            traceback.print_exc()
        emit_error(error, "--json" in arguments)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def main() -> None:
    """The `tiercast` program."""
    sys.exit(call(sys.argv[1:]))
