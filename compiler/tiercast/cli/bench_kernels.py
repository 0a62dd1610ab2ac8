"""`tiercast bench kernels`: every kernel of this machine beside its FMA peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from tiercast.cli.output import emit, progress, table

if TYPE_CHECKING:
    from tiercast.bench import RowTime


def run(op: str | None, isa: str | None, seconds: float, json: bool) -> None:
    """Times the kernels and prints them."""
    from tiercast.bench import time_kernels

    with progress("timing kernels") as say:
        rows = list(time_kernels(op, isa, say, seconds))
    peak = _peak_gflops()
    emit(
        {"peak_gflops": peak, "kernels": [_row_facts(row, peak) for row in rows]},
        json,
        lambda console: _show_kernels(console, rows, peak),
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
