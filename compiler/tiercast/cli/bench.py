"""`tiercast bench`: times of packages, or of every kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from tiercast.cli.output import Json, emit, progress, table
from tiercast.errors import UsageError

if TYPE_CHECKING:
    from tiercast.bench import PackageTime, RowTime


def command(
    what: Annotated[
        list[str], typer.Argument(help='Packages (timed in turn, run by run), or the word "kernels".')
    ],
    threads: Annotated[int, typer.Option(min=1, max=64)] = 1,
    seconds: Annotated[
        float | None, typer.Option(help="Wall time for each package (2) or kernel row and case (0.3).")
    ] = None,
    op: Annotated[str | None, typer.Option(help="Kernels: only this family, say conv2d.")] = None,
    isa: Annotated[
        str | None, typer.Option(help="Kernels: only this instruction set, and portable to compare with.")
    ] = None,
    json: Json = False,
) -> None:
    """Time packages, or every kernel of this machine on its benchmark shapes.

    Examples: tiercast bench seg.tcpkg; tiercast bench old.tcpkg new.tcpkg; tiercast bench kernels --op conv2d
    """
    if what == ["kernels"]:
        from tiercast.bench import time_kernels

        with progress("timing kernels") as say:
            rows = list(time_kernels(op, isa, say, seconds or 0.3))
        peak = _peak_gflops()
        emit(
            {"peak_gflops": peak, "kernels": [_row_facts(row, peak) for row in rows]},
            json,
            lambda console: _show_kernels(console, rows, peak),
        )
        return
    if op is not None or isa is not None:
        raise UsageError("--op and --isa belong to `tiercast bench kernels`")
    from tiercast.bench import time_packages

    with progress(f"timing {', '.join(what)}"):
        times = time_packages([Path(name) for name in what], threads, seconds or 2.0)
    emit(
        {"packages": [item.as_dict() for item in times]}, json, lambda console: _show_packages(console, times)
    )


def _peak_gflops() -> float:
    from tiercast import _native

    peak: float = _native.peak_gflops()
    return peak


def _row_facts(row: RowTime, peak: float) -> dict[str, Any]:
    return {**vars(row), "percent_of_peak": None if row.gflops is None else 100 * row.gflops / peak}


def _show_kernels(console: Console, rows: list[RowTime], peak: float) -> None:
    console.print(f"measured FMA peak of one thread: {peak:.0f} GFLOP/s")
    case = ""
    made = table("kernel", ">us", ">GFLOP/s", ">% peak", ">GB/s", ">x portable")
    for row in rows:
        if row.case != case:
            case = row.case
            made.add_row(f"[bold]{escape(case)}[/bold]")
        if row.refused:
            made.add_row(f"  {escape(row.row)}: refused: {escape(row.refused)}")
            continue
        rate = ["", ""] if row.gflops is None else [f"{row.gflops:.1f}", f"{100 * row.gflops / peak:.0f}"]
        gain = "" if row.speedup is None else f"{row.speedup:.1f}"
        made.add_row(f"  {escape(row.row)}", f"{row.median_us:.1f}", *rate, f"{row.gbytes_per_s:.1f}", gain)
    console.print(made)


def _show_packages(console: Console, times: list[PackageTime]) -> None:
    rows = table("package", ">runs", ">CPU ms min", ">median", ">wall ms min", ">median", ">GFLOP/s")
    for item in times:
        numbers = [
            f"{getattr(item, key):.3f}"
            for key in ("cpu_min_ms", "cpu_median_ms", "wall_min_ms", "wall_median_ms")
        ]
        rate = 2 * item.macs / item.wall_median_ms / 1e6
        rows.add_row(escape(item.package), str(item.runs), *numbers, f"{rate:.1f}")
    console.print(rows)
    for item in times:
        total = sum(step.median_us for step in item.steps) or 1.0
        console.print(f"\n{item.package}", markup=False)
        steps = table(">#", "step", "kernel", ">MMAC", ">us", ">%", ">GFLOP/s")
        for step in item.steps:
            rate_text = "" if step.gflops is None else f"{step.gflops:.1f}"
            numbers = [
                f"{step.macs / 1e6:.2f}",
                f"{step.median_us:.1f}",
                f"{100 * step.median_us / total:.1f}",
                rate_text,
            ]
            steps.add_row(str(step.index), escape(step.name), escape(step.kernel), *numbers)
        console.print(steps)
