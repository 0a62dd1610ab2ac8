"""`tiercast check`: what of a model runs where, falls back or is missing, before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tiercast.cli.output import Inputs, Json, Ops, emit, parse_dtypes, parse_shapes, progress, table
from tiercast.errors import UsageError

if TYPE_CHECKING:
    from tiercast.preflight import CheckReport

_SHOWN = 6  # nodes named in a line, fall-backs of a kind


def command(
    model: Annotated[
        str, typer.Argument(help="A model in any format that `compile` takes; its weights may be untrained.")
    ],
    target: Annotated[str, typer.Option("--target", "-t", help="See `tiercast targets`.")] = "host",
    inputs: Inputs = None,
    precision: Annotated[str, typer.Option(help="As `compile` takes it.")] = "f32",
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="KIND",
            help="Exit code 1 also for fall-backs: portable (no fast kernel), precision (f32 where less "
            "was asked for), fusion, copy (data is only moved).",
        ),
    ] = None,
    ops: Ops = None,
    strict: Annotated[bool, typer.Option("--strict", help="--fail-on for every kind of fall-back.")] = False,
    json: Json = False,
) -> None:
    """Tell which operators of MODEL run where on a target, which fall back, and which are missing.

    What is missing is told all at once, with the nearest rewrite; the exit code is then 1. Nothing is
    written or run.

    Example: tiercast check net.py:make --target linux-arm64 --input image:1x3x256x256
    """
    from tiercast.preflight import check
    from tiercast.preflight.report import FALLBACKS

    kinds = FALLBACKS if strict else tuple(fail_on or ())
    for kind in kinds:
        if kind not in FALLBACKS:
            raise UsageError(f"--fail-on {kind!r} is no kind of fall-back: {', '.join(FALLBACKS)}")
    with progress(f"checking {model}"):
        report = check(
            model,
            target,
            parse_shapes(inputs),
            precision=precision,
            dtypes=parse_dtypes(inputs),
            ops=ops,
        )
    failed = [item for item in report.fallbacks if item.kind in kinds]
    result = {**report.as_dict(), "failed_on": sorted({item.kind for item in failed})}
    emit(result, json, lambda console: _show(console, report))
    if failed and not json:
        console = Console(stderr=True, highlight=False)
        console.print(
            f"{len(failed)} fall-backs of the kinds {', '.join(result['failed_on'])}",
            markup=False,
            soft_wrap=True,
        )
    if failed or not report.ok:
        raise typer.Exit(1)


def _show(console: Console, report: CheckReport) -> None:
    rows = table("operator", ">nodes", "CPU", ">fused", ">free", ">folded", ">missing", "OpenCL, Metal, NPU")
    for item in report.operators:
        missing = f"[red]{item.missing}[/red]" if item.missing else ""
        missing += f" ({item.unchecked} not checked)" if item.unchecked else ""
        counts = [str(count or "") for count in (item.fused, item.free, item.folded)]
        absent = ", ".join(dict.fromkeys(text for name, text in item.where.items() if name != "cpu"))
        rows.add_row(escape(item.op), str(item.count), item.where["cpu"], *counts, missing, absent)
    console.print(rows)
    for kind in dict.fromkeys(item.kind for item in report.fallbacks):
        found = [item for item in report.fallbacks if item.kind == kind]
        console.print(f"[yellow]falls back[/yellow] ({kind}): {len(found)}")
        for fallback in found[:_SHOWN]:
            console.print(f"  {fallback.node}: {fallback.reason}", markup=False, soft_wrap=True)
        if len(found) > _SHOWN:
            console.print(f"  and {len(found) - _SHOWN} more; --json tells all", markup=False, soft_wrap=True)
    for lack in report.missing:
        names = ", ".join(f'"{name}"' for name in lack.nodes[:_SHOWN])
        more = f" and {lack.count - _SHOWN} more" if lack.count > _SHOWN else ""
        head = f"{lack.op} x{lack.count}: " if lack.op else ""
        console.print(f"[red]missing[/red] {escape(f'{head}{lack.rule}')}", soft_wrap=True)
        if names:
            console.print(f"  nodes: {names}{more}", markup=False, soft_wrap=True)
        console.print(f"  nearest rewrite: {lack.rewrite}", markup=False, soft_wrap=True)
    if report.unchecked:
        console.print(f"{len(report.unchecked)} nodes behind them were not checked: --json names them")
    verdict = "[green]compiles[/green]" if report.ok else "[red]does not compile[/red]"
    console.print(f"{escape(report.source)} for {report.target}, {report.precision}: {verdict}")
