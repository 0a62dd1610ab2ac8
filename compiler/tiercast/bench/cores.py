"""Cycles of executed code by llvm-mca's models of ARM cores.

They know no caches, miss no branch, and blocks do not overlap: a bound for loops in the first cache, good
to compare kernels and to see a badly scheduled loop.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tiercast.counting import Block, Counts
from tiercast.errors import ToolchainError, UsageError
from tiercast.paths import room

_COVERED = 0.97  # of the executed instructions; what is left is scaled in
_MOST_BLOCKS = 60
_ITERATIONS = 100
_WIDE_FMA = re.compile(r"\s*fml[as]l?2?\s+v\d+\.(4s|8h|2d)")


@dataclass(frozen=True)
class Core:
    """An entry of targets/cores.toml."""

    name: str
    doc: str
    model: str
    fma_per_cycle: int
    clamp: bool = False


@dataclass(frozen=True)
class Cycles:
    """What a core's model says of one run.

    cycles: of all; percent_of_peak: multiply-accumulate instructions of 128 bits against what the core could
    start in that time. loop_*: the same for the hottest block that multiplies. None where nothing multiplies.
    """

    cycles: float
    percent_of_peak: float | None
    loop_cycles: float | None
    loop_percent_of_peak: float | None


@cache
def cores() -> dict[str, Core]:
    """Every core by name."""
    facts = tomllib.loads((room("targets") / "cores.toml").read_text())
    return {name: Core(name, **entry) for name, entry in facts.items()}


def find_cores(names: str) -> list[Core]:
    """Cores of a comma-separated list; all for "all". UsageError for an unknown one."""
    known = cores()
    wanted = list(known) if names == "all" else names.split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(f"core {unknown[0]!r} has no pipeline model; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def core_cycles(counts: Counts, core: Core) -> Cycles:
    """The cycles of what was counted. ToolchainError where LLVM's tools are missing."""
    chosen = _hottest(counts)
    if not chosen:
        return Cycles(0.0, None, None, None)
    code = [disassemble(block.words) for block in chosen]
    each = block_cycles(code, core)
    fmas = [sum(bool(_WIDE_FMA.match(line)) for line in lines) for lines in code]
    covered = sum(block.instructions for block in chosen)
    cycles = sum(block.runs * cost for block, cost in zip(chosen, each, strict=True))
    cycles *= counts.total.instructions / covered
    total = sum(block.runs * count for block, count in zip(chosen, fmas, strict=True))
    loop = next((index for index, count in enumerate(fmas) if count), None)
    return Cycles(
        cycles,
        100 * total / core.fma_per_cycle / cycles if total else None,
        None if loop is None else each[loop],
        None if loop is None else 100 * fmas[loop] / core.fma_per_cycle / each[loop],
    )


def _hottest(counts: Counts) -> list[Block]:
    total, covered, chosen = counts.total.instructions, 0, []
    for block in counts.blocks[:_MOST_BLOCKS]:
        chosen.append(block)
        covered += block.instructions
        if covered >= _COVERED * total:
            break
    return chosen


@cache
def disassemble(words: tuple[int, ...]) -> tuple[str, ...]:
    """A64 code as assembler lines."""
    code = " ".join(f"0x{byte:02x}" for word in words for byte in word.to_bytes(4, "little"))
    text = _llvm(["llvm-mc-19", "-triple=aarch64", "-mattr=+all", "--disassemble"], code + "\n")
    return tuple(line for line in text.splitlines() if line.startswith("\t") and not line.startswith("\t."))


def block_cycles(code: Sequence[Sequence[str]], core: Core) -> list[float]:
    """Cycles of one run of each block in a row of its like, on `core`."""
    regions = [
        f"# LLVM-MCA-BEGIN b{index}\n" + "\n".join(lines) + "\n# LLVM-MCA-END\n"
        for index, lines in enumerate(code)
    ]
    command = ["llvm-mca-19", "-mtriple=aarch64", f"-mcpu={core.model}", "-mattr=+all", "-json"]
    report = json.loads(_llvm([*command, f"-iterations={_ITERATIONS}"], "".join(regions)))
    found = [region["SummaryView"]["TotalCycles"] / _ITERATIONS for region in report["CodeRegions"]]
    if not core.clamp:
        return found
    return [
        max(cycles, sum(bool(_WIDE_FMA.match(line)) for line in lines) / core.fma_per_cycle)
        for cycles, lines in zip(found, code, strict=True)
    ]


def _llvm(command: list[str], text: str) -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ToolchainError(f"{command[0]} not found on PATH; on Debian: apt-get install llvm-19") from error
    if done.returncode:
        raise ToolchainError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-500:]}")
    return done.stdout
