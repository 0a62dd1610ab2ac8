"""`python tools/tflite_table.py` writes the table of builtin operators in docs/tflite.md from the importer.

--check: exit code 1 when the page is not what the importer does.
"""

from __future__ import annotations

import argparse
import sys

import tflite

from tiercast.frontend.tflite_ops.table import handlers
from tiercast.paths import room

PAGE = room("runtime").parent / "docs" / "tflite.md"
_BEGIN, _END = "<!-- table: make tflite-table -->", "<!-- end of table -->"
_NOT_OPERATORS = ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")


def main() -> int:
    """Writes the table into the page, or compares it."""
    parser = argparse.ArgumentParser(prog="python tools/tflite_table.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when the page is stale")
    text = PAGE.read_text()
    head, _, rest = text.partition(_BEGIN)
    made = f"{head}{_BEGIN}\n{table()}{_END}{rest.partition(_END)[2]}"
    if parser.parse_args().check:
        if made == text:
            return 0
        print(f"{PAGE.name} is stale: make tflite-table", file=sys.stderr)
        return 1
    PAGE.write_text(made)
    return 0


def table() -> str:
    """The builtins of TFLite's schema, in three classes."""
    names = sorted(name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int))
    builtins = [name for name in names if name not in _NOT_OPERATORS]
    known = [name for name in builtins if name in handlers()]
    stablehlo = [name for name in builtins if name.startswith("STABLEHLO_") and name not in known]
    missing = [name for name in builtins if name not in known and name not in stablehlo]
    custom = sorted(name for name in handlers() if name.startswith("CUSTOM "))
    groups = [
        (f"translated ({len(known)})", [*known, *custom]),
        (f"refused ({len(missing)})", missing),
        (f"refused, StableHLO's ({len(stablehlo)})", stablehlo),
    ]
    lines = ["| | operators |", "|---|---|"]
    return "\n".join([*lines, *(f"| {title} | {', '.join(items)} |" for title, items in groups)]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
