"""`tiercast tune`: which kernels and fusions are fastest for a model's shapes on a CPU, measured."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tiercast.cli.output import Inputs, Json, Ops, emit, parse_shapes, progress

if TYPE_CHECKING:
    from tiercast.tune import Tuned


def command(
    model: Annotated[str, typer.Argument(help="As for `tiercast compile`.")],
    target: Annotated[str, typer.Option("--target", "-t", help="See `tiercast targets`.")] = "host",
    inputs: Inputs = None,
    cpu: Annotated[
        str | None, typer.Option(help="CPU model of the target's emulator; default: the target's tuned_cpu.")
    ] = None,
    adb: Annotated[bool, typer.Option("--adb", help="Measure on the device that adb shows.")] = False,
    records: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the records; default: the target's, for every compile."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of timing for each variant, on the host.")] = 2.0,
    ops: Ops = None,
    json: Json = False,
) -> None:
    """Measure every algorithm, fusion and kernel row that MODEL's shapes may take, and record the times.

    Later compilations for the same CPU take what was fastest. Example: tiercast tune seg.onnx --records here,
    then tiercast compile seg.onnx --records here
    """
    from tiercast.tune import timer_for, tune

    with progress(f"reading {model}") as say:
        timer = timer_for(target, cpu, adb, seconds)
        done = tune(model, target, timer, parse_shapes(inputs), records, say, ops)
    result = {**asdict(done), "path": str(done.path)}
    emit(result, json, lambda console: _show(console, done, result))


def _show(console: Console, done: Tuned, result: dict[str, Any]) -> None:
    for line in done.changed:
        console.print(f"  {line}", markup=False)
    console.print(
        f"{result['path']}: {done.measurements} ways of {done.decisions} decisions, {done.unit} measured on "
        f"{done.cpu}; {len(done.changed)} differ from what was taken before",
        markup=False,
    )
    if done.error is not None:
        console.print(
            f"cost model on shapes it has not seen: median error {done.error.median:.1%}, "
            f"95th percentile {done.error.p95:.1%} ({done.error.count} measurements)"
        )
