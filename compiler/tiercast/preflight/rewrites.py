"""The table of nearest rewrites: `rewrites.toml`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# What is told where the table has no entry.
OTHERWISE = "no rewrite is known: leave this part to the app, or add the operator (docs/adding.md)"


@dataclass(frozen=True)
class Rewrite:
    """One entry: for which operators ("*": any) and rules (a regular expression), what to do instead."""

    ops: tuple[str, ...]
    rule: re.Pattern[str]
    text: str
    uses: tuple[str, ...]


@cache
def rewrites() -> tuple[Rewrite, ...]:
    """The table, in order of precedence."""
    facts = tomllib.loads(Path(__file__).with_name("rewrites.toml").read_text())
    return tuple(
        Rewrite(
            tuple(entry["ops"]),
            re.compile(entry.get("rule", "")),
            entry["rewrite"],
            tuple(entry.get("uses", ())),
        )
        for entry in facts["rewrite"]
    )


def nearest_rewrite(op: str, rule: str) -> str:
    """What to write instead of operator `op`, refused for `rule`; the first entry that fits.

    op: as the model's format calls it, "" where the model as a whole was refused.
    """
    for entry in rewrites():
        if (op in entry.ops or "*" in entry.ops) and entry.rule.search(rule):
            return entry.text
    return OTHERWISE
