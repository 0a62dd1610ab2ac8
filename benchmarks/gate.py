"""No AArch64 kernel may execute more instructions than the committed baseline says: `make bench-gate`.

python -m benchmarks.gate             # counts and compares; exit 1 where a kernel rose by more than 3 %
python -m benchmarks.gate --update    # counts and writes the baseline, to be committed with what changed it
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.models.export_onnx import REPOSITORY
from tiercast.bench.compare import Comparison, compare_results, read_result
from tiercast.bench.counted import RowCount, count_kernels
from tiercast.cli.bench_kernels import show_comparison

BASELINE = REPOSITORY / "benchmarks" / "baseline" / "linux-arm64.json"
LIMIT_PERCENT = 3.0


def document(rows: list[RowCount]) -> dict[str, Any]:
    """What the baseline keeps of a count."""
    kept = [
        {"row": row.row, "case": row.case, "instructions": row.instructions}
        for row in rows
        if not row.refused
    ]
    return {"target": "linux-arm64", "kernels": sorted(kept, key=lambda row: (row["row"], row["case"]))}


def write_baseline(counted: dict[str, Any], path: Path) -> None:
    """A line for each row and case, so that a change reads well."""
    lines = ",\n".join(f"  {json.dumps(row)}" for row in counted["kernels"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"target": "{counted["target"]}", "kernels": [\n{lines}\n]}}\n')


def verdict(found: Comparison, console: Console) -> bool:
    """Prints what changed; True where nothing rose beyond the limit."""
    show_comparison(console, found)
    risen = found.risen(LIMIT_PERCENT)
    for change in risen:
        console.print(
            f"{change.row} on {change.case} executes {change.percent:.1f} % more than the baseline "
            f"({change.before:,} -> {change.after:,}); at most {LIMIT_PERCENT:g} % is allowed",
            markup=False,
        )
    if risen:
        console.print("where that is meant, run `python -m benchmarks.gate --update` and commit the baseline")
    return not risen


def main(
    update: Annotated[bool, typer.Option("--update", help="write the baseline instead of comparing")] = False,
    baseline: Annotated[Path, typer.Option(help="the file to compare with or to write")] = BASELINE,
) -> None:
    """Counts every AArch64 kernel on its benchmark shapes and compares with the baseline."""
    console = Console(width=160, highlight=False)
    counted = document(count_kernels())
    if update:
        write_baseline(counted, baseline)
        console.print(f"{baseline}: {len(counted['kernels'])} counts")
    elif not verdict(compare_results(read_result(baseline), counted), console):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
