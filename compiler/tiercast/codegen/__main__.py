"""`python -m tiercast.codegen`: the build's render step (needs Jinja2 only)."""

from __future__ import annotations

import argparse
from pathlib import Path

from tiercast.codegen.render import render, sources
from tiercast.target import find_target


def main() -> None:
    """Lists or writes a target's generated sources."""
    parser = argparse.ArgumentParser(prog="python -m tiercast.codegen", description=main.__doc__)
    parser.add_argument("--target", required=True, help="target name, see `tiercast targets`")
    parser.add_argument(
        "--list", action="store_true", help="print `op<TAB>path<TAB>flags` for each file and write nothing"
    )
    parser.add_argument("--out", type=Path, help="folder to write into")
    parser.add_argument("--op", help="only this op folder (`_`: the files that belong to no op)")
    parser.add_argument("--only", type=Path, help="file with the row names of a selected library, one a line")
    options = parser.parse_args()
    target = find_target(options.target)
    only = frozenset(options.only.read_text().split()) if options.only else None
    if options.list:
        for source in sources(target, only):
            print(source.op, source.path, ";".join(source.flags), sep="\t")
    elif options.out:
        render(target, options.out, options.op, only)
    else:
        parser.error("give --list or --out DIR")


main()
