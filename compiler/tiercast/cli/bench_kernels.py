"""`tiercast bench kernels`: timed beside this machine's FMA peak, or counted where they can't be timed;
`tiercast bench compare`: two such results side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tiercast.cli.output import emit, progress, table
from tiercast.errors import UsageError

if TYPE_CHECKING:
    from tiercast.bench.compare import Comparison
    from tiercast.bench.counted import RowCount
    from tiercast.bench.timed import RowTime

NOTABLE_PERCENT = 1.0
"""Smaller changes are not printed."""


def run(op: str | None, isa: str | None, target: str, cores: str, seconds: float, json: bool) -> None:
    """Times (this machine) or counts (linux-arm64) the kernels and prints them."""
    if target == "host":
        _time(op, isa, seconds, json)
    elif target == "linux-arm64":
        _count(op, isa, cores, json)
    else:
        raise UsageError(f"kernels are timed on host and counted on linux-arm64; {target} is neither")


def compare(files: Sequence[str], json: bool) -> None:
    """Prints what changed from the first result to the second."""
    from tiercast.bench.compare import compare_results, read_result

    if len(files) != 2:
        raise UsageError("compare takes two result files of `tiercast bench kernels --json`")
    found = compare_results(*[read_result(Path(file)) for file in files])
    emit(_comparison_facts(found), json, lambda console: show_comparison(console, found))


def show_comparison(console: Console, found: Comparison) -> None:
    """The rows that changed, most risen first, and those of one side only."""
    made = table("kernel", "case", f">{found.unit} before", ">after", ">%")
    notable = [change for change in found.changes if abs(change.percent) >= NOTABLE_PERCENT]
    for change in notable:
        made.add_row(
            escape(change.row), escape(change.case), f"{change.before:,.6g}", f"{change.after:,.6g}",
            f"{change.percent:+.1f}",
        )  # fmt: skip
    if notable:
        console.print(made)
    same = len(found.changes) - len(notable)
    console.print(
        f"{len(notable)} of {len(found.changes)} changed by {NOTABLE_PERCENT:g} % or more, {same} did not"
    )
    for title, names in (("gone", found.gone), ("new", found.new)):
        for name in names:
            console.print(f"{title}: {name}", markup=False)


def _time(op: str | None, isa: str | None, seconds: float, json: bool) -> None:
    from tiercast.bench.timed import time_kernels

    with progress("timing kernels") as say:
        rows = list(time_kernels(op, isa, say, seconds))
    peak = max((row.peak_gflops for row in rows), default=0.0)
    emit(
        {"target": "host", "peak_gflops": peak, "kernels": [vars(row) for row in rows]},
        json,
        lambda console: _show_times(console, rows, peak),
    )


def _count(op: str | None, isa: str | None, cores: str, json: bool) -> None:
    from tiercast.bench.cores import find_cores
    from tiercast.bench.counted import count_kernels, facts

    chosen = find_cores(cores) if cores else []
    with progress("counting kernels") as say:
        rows = count_kernels(op, isa, chosen, say)
    emit(
        {"target": "linux-arm64", "kernels": [facts(row) for row in rows]},
        json,
        lambda console: _show_counts(console, rows, [core.name for core in chosen]),
    )


def _show_times(console: Console, rows: Sequence[RowTime], peak: float) -> None:
    console.print(f"measured FMA peak of one thread: {peak:.0f} GFLOP/s; times are minima, operands warm")
    made = table("kernel", ">us", ">GFLOP/s", ">% peak", ">GB/s", ">x portable")
    case = ""
    for row in rows:
        case = _heading(made, case, row)
        if row.refused:
            continue
        rate = ["", ""] if row.gflops is None else [f"{row.gflops:.1f}", f"{row.percent_of_peak:.0f}"]
        gain = "" if row.speedup is None else f"{row.speedup:.1f}"
        made.add_row(f"  {escape(row.row)}", f"{row.min_us:.1f}", *rate, f"{row.gbytes_per_s:.1f}", gain)
    console.print(made)


def _show_counts(console: Console, rows: Sequence[RowCount], cores: Sequence[str]) -> None:
    console.print(
        "executed instructions of one run, one thread; cores: % of their multiply-add peak by llvm-mca,"
    )
    console.print("the whole run and (in brackets) the hottest loop, without caches")
    made = table("kernel", ">instructions", ">per MAC", ">% FMA", *[f">{core}" for core in cores])
    case = ""
    for row in rows:
        case = _heading(made, case, row)
        if row.refused:
            continue
        rate = "" if row.per_mac is None else f"{row.per_mac:.3f}"
        shares = [_share(row.cycles[core]) for core in cores]
        name = f"  {escape(row.row)}"
        made.add_row(name, f"{row.instructions:,}", rate, f"{100 * row.fma_share:.0f}", *shares)
    console.print(made)


def _heading(made: Table, before: str, row: RowTime | RowCount) -> str:
    """A line for a case that begins, and for a row that was refused; returns the case."""
    if row.case != before:
        made.add_row(f"[bold]{escape(row.case)}[/bold]")
    if row.refused:
        made.add_row(f"  {escape(row.row)}: refused: {escape(row.refused)}")
    return row.case


def _share(cycles: Any) -> str:
    if cycles.percent_of_peak is None:
        return ""
    return f"{cycles.percent_of_peak:.0f} ({cycles.loop_percent_of_peak:.0f})"


def _comparison_facts(found: Comparison) -> dict[str, Any]:
    changes = [{**vars(change), "percent": change.percent} for change in found.changes]
    return {"unit": found.unit, "changes": changes, "gone": list(found.gone), "new": list(found.new)}
