"""`tiercast ops`: the ops of your own folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from tiercast.cli.output import Json, emit, progress, table
from tiercast.errors import VerifyError

if TYPE_CHECKING:
    from tiercast.optest import SampleResult

app = typer.Typer(help="List and test the ops of your own folder (docs/adding.md).", no_args_is_help=True)
Folders = Annotated[
    list[Path] | None,
    typer.Argument(help="Folders of ops; default: $TIERCAST_OPS, else [tool.tiercast] of pyproject.toml."),
]


@app.command("list")
def show_ops(folders: Folders = None, json: Json = False) -> None:
    """List ops, the operators they take and their kernel rows.

    Example: tiercast ops list my_ops
    """
    from tiercast.custom import custom_ops

    with custom_ops(_found(folders)) as custom:
        result = {
            "folders": [
                {
                    "folder": str(item.folder),
                    "ops": {name: list(op.onnx) for name, op in item.ops.items()},
                    "kernels": [row.name for family in item.families.values() for row in family.rows],
                }
                for item in custom
            ]
        }
    emit(result, json, lambda console: _show_list(console, result["folders"]))


@app.command("test")
def test_ops(
    folders: Folders = None,
    target: Annotated[str, typer.Option("--target", "-t", help="See `tiercast targets`.")] = "host",
    cpu: Annotated[
        str | None, typer.Option(help="CPU model of the target's emulator, say cortex-a53.")
    ] = None,
    json: Json = False,
) -> None:
    """Run every kernel row on every sample of its kernels.toml against the op's numpy reference.

    Exit code 1 when a row is wrong or no sample reaches it.

    Example: tiercast ops test my_ops --target linux-arm64 --cpu cortex-a53
    """
    from tiercast.optest import run_samples

    with progress(f"testing on {target}") as say:
        results = run_samples(_found(folders), target, cpu, say)
    wrong = [item for item in results if not item.ok]
    rows = [_facts(item) for item in results]
    emit(
        {"target": target, "cpu": cpu, "ok": not wrong, "samples": rows},
        json,
        lambda console: _show_results(console, results),
    )
    if wrong and json:
        raise typer.Exit(1)
    if wrong:
        raise VerifyError(
            f"{len(wrong)} of {len(results)} are wrong: {wrong[0].row}, {wrong[0].sample}: {wrong[0].note}"
        )


def _found(folders: list[Path] | None) -> list[Path]:
    from tiercast.custom import find_folders
    from tiercast.errors import UsageError

    found = find_folders(folders or None)
    if not found:
        raise UsageError("no folder of ops: name one, or set $TIERCAST_OPS")
    return found


def _facts(item: SampleResult) -> dict[str, Any]:
    error = None if item.difference is None else item.difference.max_rel_error
    wide = error is not None and error == float("inf")
    return {
        "row": item.row,
        "sample": item.sample,
        "max_rel_error": "inf" if wide else error,
        "nonfinite": 0 if item.difference is None else item.difference.nonfinite,
        "note": item.note,
        "ok": item.ok,
    }


def _show_list(console: Console, folders: list[dict[str, Any]]) -> None:
    for item in folders:
        console.print(item["folder"], markup=False)
        for name, takes in item["ops"].items():
            console.print(f"  {name} takes {', '.join(takes) or 'nothing of ONNX'}", markup=False)
        for row in item["kernels"]:
            console.print(f"  kernel {row}", markup=False)


def _show_results(console: Console, results: list[SampleResult]) -> None:
    rows = table("kernel", "sample", ">max rel", "")
    for item in results:
        error = "" if item.difference is None else f"{item.difference.max_rel_error:.2g}"
        verdict = "[green]ok[/green]" if item.ok else "[red]wrong[/red]"
        rows.add_row(escape(item.row), escape(item.sample), error, f"{verdict} {escape(item.note)}")
    console.print(rows)
