"""Measures the stripped libraries of a target against targets/sizes.toml: `python tools/size_gate.py`.

Exit code 1 when one is over its budget, 2 when it can't be built here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tiercast.codegen.build import build
from tiercast.errors import ToolchainError
from tiercast.kernel import families
from tiercast.paths import room

LIBRARIES = {"runtime_bytes": "libtiercast_core.so", "full_bytes": "libtiercast_full.so"}


def budgets(target: str) -> dict[str, int]:
    """targets/sizes.toml's entry of a target: "runtime_bytes" and "full_bytes"."""
    limits: dict[str, dict[str, int]] = tomllib.loads((room("targets") / "sizes.toml").read_text())
    if target not in limits:
        raise SystemExit(f"targets/sizes.toml has no budget for {target!r}; it has {', '.join(limits)}")
    return limits[target]


def measure(target: str, folder: Path | None = None) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of each library of LIBRARIES, and bytes of code and constants of each kernel family.

    Raises ToolchainError when the target can't be built here.
    """
    where = build(target, folder, goals=("tiercast_core", "tiercast_full"))
    sizes = {name: (where / file).stat().st_size for name, file in LIBRARIES.items()}
    return sizes, family_bytes(where)


def family_bytes(where: Path) -> dict[str, int]:
    """Bytes of code and constants in each kernel family's object files, by `llvm-size-19`; or empty."""
    objects = sorted(where.glob("CMakeFiles/tiercast_kernels.dir/**/*.o"))
    try:
        done = subprocess.run(
            ["llvm-size-19", *map(str, objects)], capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return {}
    home = {row.name: row.folder for family in families().values() for row in family.rows}
    home |= {f"{name}_check": name for name in families()}
    totals: Counter[str] = Counter()
    for text, data, file in re.findall(
        r"^\s*(\d+)\s+(\d+)\s+\d+\s+\d+\s+\S+\s+(\S+)$", done.stdout, re.MULTILINE
    ):
        totals[home.get(Path(file).name.partition(".")[0], "library")] += int(text) + int(data)
    return dict(totals.most_common())


def table(target: str, sizes: dict[str, int], limits: dict[str, int], per_family: dict[str, int]) -> Table:
    """Sizes beside budgets, then each family's part."""
    made = Table(title=f"{target}, stripped")
    for column in ("part", "bytes", "budget", "used"):
        made.add_column(column, justify="left" if column == "part" else "right")
    for name, size in sizes.items():
        style = "red" if size > limits[name] else None
        made.add_row(
            name.removesuffix("_bytes"),
            f"{size:,}",
            f"{limits[name]:,}",
            f"{size / limits[name]:.0%}",
            style=style,
        )
    made.add_section()
    for name, size in per_family.items():
        made.add_row(f"kernels/{name}", f"{size:,}")
    return made


def main() -> int:
    """Builds, measures, prints; the exit code says whether the budgets hold."""
    parser = argparse.ArgumentParser(prog="python tools/size_gate.py", description=__doc__)
    parser.add_argument("--target", default="linux-arm64")
    parser.add_argument("--build", type=Path, help="build folder; default: the target's own")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    limits = budgets(options.target)
    try:
        sizes, per_family = measure(options.target, options.build)
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 2
    over = [name for name, size in sizes.items() if size > limits[name]]
    if options.json:
        print(
            json.dumps(
                {"target": options.target, **sizes, "budgets": limits, "kernels": per_family, "over": over}
            )
        )
    else:
        Console().print(table(options.target, sizes, limits, per_family))
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
