"""`tiercast targets`: what can be compiled for, and what is missing here to build it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from tiercast.cli.output import Json, emit, table


def command(json: Json = False) -> None:
    """List the targets with their CPU features and whether their toolchain is here.

    Example: tiercast targets --json
    """
    from tiercast.target import targets

    result = {"targets": [_facts(name) for name in targets()]}
    emit(result, json, lambda console: _show(console, result["targets"]))


def _facts(name: str) -> dict[str, Any]:
    from tiercast.codegen.build import check_toolchain
    from tiercast.errors import ToolchainError
    from tiercast.pipeline import resolve
    from tiercast.target import find_target

    missing = ""
    try:
        check_toolchain(find_target(name))
    except ToolchainError as error:
        missing = str(error)
    target = resolve(name)
    return {
        "name": name,
        "doc": target.doc,
        "arch": target.arch,
        "has": sorted(target.has),
        "isas": sorted(target.isas),
        "emulator": list(target.emulator),
        "emulator_cpus": list(target.emulator_cpus),
        "buildable": not missing,
        "missing": missing,
    }


def _show(console: Console, found: list[dict[str, Any]]) -> None:
    rows = table("target", "arch", "has", "runs here on", "toolchain", "what")
    for item in found:
        runs = ", ".join(item["emulator_cpus"]) if item["emulator"] else "this CPU"
        state = "[green]found[/green]" if item["buildable"] else "[red]missing[/red]"
        rows.add_row(item["name"], item["arch"], " ".join(item["has"]), runs, state, escape(item["doc"]))
    console.print(rows)
    for item in found:
        if item["missing"]:
            console.print(item["missing"], markup=False)
