"""Targets: what a device has and how code for it is built. One TOML under targets/ is one target."""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tiercast.errors import UsageError
from tiercast.isa import instruction_sets
from tiercast.paths import room

CORES = ("all", "big", "little")


@dataclass(frozen=True)
class Target:
    """One target: the facts of targets/<family>/<name>.toml.

    has: the CPU features that every device of the target has; kernel choice is `needs ⊆ has`.
    arch: "x86_64", "aarch64" or "armv7"; it decides which instruction sets its kernel library holds.
    toolchain: CMake toolchain file, None for the machine this runs on.
    emulator: command that runs the target's programs here, empty when they run natively.
    emulator_cpus: CPU models of the emulator that the tests exercise.
    cores: one of CORES, where threads run on CPUs with faster (big) and slower (little) cores.
    max_threads: how many threads pay at most, 0 for no such limit.
    folder: where the description lies; tuned_cpu: the CPU whose records (`records.py`) serve the target.
    """

    name: str
    doc: str
    has: frozenset[str]
    arch: str
    toolchain: Path | None = None
    compiler: str = ""
    packages: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    emulator_cpus: tuple[str, ...] = ()
    cores: str = "all"
    max_threads: int = 0
    folder: Path = Path()
    tuned_cpu: str = ""
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def isas(self) -> dict[str, tuple[str, ...]]:
        """Instruction sets of its kernel library, each with the compile flags it needs."""
        return {
            isa: (*entry["flags"], *self.flags.get(isa, ()))
            for isa, entry in instruction_sets().items()
            if self.arch in entry.get("arch", (self.arch,))
        }


@cache
def targets() -> dict[str, Target]:
    """Every target by name, discovered under targets/."""
    found: dict[str, Target] = {}
    for path in sorted(room("targets").glob("*/*.toml")):
        target = _read(path)
        found[target.name] = target
    return found


def find_target(name: str) -> Target:
    """The target called `name`; UsageError lists the known ones otherwise."""
    known = targets()
    if name not in known:
        raise UsageError(f"target {name!r} is unknown; known targets: {', '.join(sorted(known))}")
    return known[name]


def _host_arch() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64", "armv7l": "armv7"}.get(machine, machine)


def _read(path: Path) -> Target:
    facts: dict[str, Any] = tomllib.loads(path.read_text())
    toolchain = facts.get("toolchain")
    cores, max_threads = facts.get("cores", "all"), facts.get("max_threads", 0)
    if cores not in CORES or not isinstance(max_threads, int) or not 0 <= max_threads <= 64:
        raise UsageError(
            f"{path}: cores is {cores!r} and max_threads {max_threads!r}; "
            f"cores must be one of {', '.join(CORES)}, max_threads a number from 0 to 64"
        )
    return Target(
        name=facts["name"],
        doc=facts["doc"],
        has=frozenset(facts["has"]),
        arch=_host_arch() if facts["arch"] == "native" else facts["arch"],
        toolchain=path.parent / toolchain if toolchain else None,
        compiler=facts.get("compiler", ""),
        packages=tuple(facts.get("packages", ())),
        emulator=tuple(facts.get("emulator", ())),
        emulator_cpus=tuple(facts.get("emulator_cpus", ())),
        cores=cores,
        max_threads=max_threads,
        folder=path.parent,
        tuned_cpu=facts.get("tuned_cpu", ""),
        flags={isa: tuple(flags) for isa, flags in facts.get("flags", {}).items()},
    )
