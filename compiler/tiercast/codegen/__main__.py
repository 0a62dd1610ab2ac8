"""`python -m tiercast.codegen`: the build's render step (needs Jinja2 only)."""

from __future__ import annotations

import argparse
from pathlib import Path

from tiercast.codegen.render import render, sources
from tiercast.extras import read_extras
from tiercast.target import find_target

EXTRA = "+"  # the group of files that are compiled or linked as they are


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
    parser.add_argument("--extra", type=Path, help="folder of an extra kernel library to link in (extras.py)")
    options = parser.parse_args()
    target = find_target(options.target)
    only = frozenset(options.only.read_text().split()) if options.only else None
    extra = read_extras(options.extra) if options.extra else None
    if options.list:
        for source in sources(target, only):
            print(source.op, source.path, ";".join(source.flags), sep="\t")
        for path, flags in extra.sources.items() if extra else ():
            print(EXTRA, (options.extra / path).resolve(), ";".join(flags), sep="\t")
        for path in extra.objects if extra else ():
            print(EXTRA, (options.extra / path).resolve(), "", sep="\t")
    elif options.out:
        render(target, options.out, options.op, only, [row.name for row in extra.rows] if extra else ())
    else:
        parser.error("give --list or --out DIR")


main()
