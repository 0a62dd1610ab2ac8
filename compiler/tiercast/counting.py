"""Counts the A64 instructions that a program executes, under qemu-aarch64 with a plugin: exact, everywhere.

An emulator says nothing of time; how many instructions of which class a call takes, and how many of them
multiply and accumulate, compares kernels and engines all the same.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tiercast.codegen.build import default_folder
from tiercast.errors import PackageError, ToolchainError
from tiercast.package.file import read_package
from tiercast.paths import room
from tiercast.rig import bound_kernels, emulator, extras_of, tool
from tiercast.target import find_target

MARK = 0x1EAF  # the system call that begins (n > 0) or ends (0) region n
TARGET = "linux-arm64"
_FMA = ("fma_f32", "fma_f16", "fma_f16f32", "fma_f64", "fma_scalar")


@dataclass(frozen=True)
class Region:
    """Executed instructions by class (the names of targets/qemu/counter.c) and their multiply-accumulates."""

    macs: int
    classes: Mapping[str, int] = field(hash=False)

    @property
    def instructions(self) -> int:
        """Of all classes."""
        return sum(self.classes.values())

    @property
    def fma_share(self) -> float:
        """Floating-point multiply-accumulate instructions as a share of all, 0 to 1."""
        return sum(self.classes.get(name, 0) for name in _FMA) / max(1, self.instructions)


@dataclass(frozen=True)
class Block:
    """Code without a jump: how often it ran, one run's multiply-accumulates, where it lies, its words."""

    runs: int
    macs: int
    file: str
    offset: int
    words: tuple[int, ...]

    @property
    def instructions(self) -> int:
        """Executed, over all runs."""
        return self.runs * len(self.words)


@dataclass(frozen=True)
class Counts:
    """What was counted: regions by their number, and the hottest blocks over all of them, hottest first."""

    regions: Mapping[int, Region] = field(hash=False)
    blocks: tuple[Block, ...]

    @property
    def total(self) -> Region:
        """All regions as one."""
        classes: dict[str, int] = {}
        for region in self.regions.values():
            for name, count in region.classes.items():
                classes[name] = classes.get(name, 0) + count
        return Region(sum(region.macs for region in self.regions.values()), classes)


@dataclass(frozen=True)
class StepCounts:
    """One step of a package: its name, the kernel that ran, its planned multiply-accumulates, the count."""

    name: str
    kernel: str
    macs: int
    counted: Region


def count_instructions(
    command: Sequence[str],
    cpu: str,
    roi: bool = True,
    prefix: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 600.0,
) -> Counts:
    """Runs an AArch64 program on the emulator's CPU model `cpu`, say "cortex-a53", and counts.

    roi: count only the regions that the program marks (system call `MARK`); else all of it, as region 1.
    Exact for one thread. prefix: the folder that holds the program's loader and libraries, default: the
    target's own; environment: variables set on top of this process's. Raises ToolchainError where qemu
    or a C compiler is missing, PackageError with the program's last words when it fails.
    """
    emulated = emulator(find_target(TARGET), cpu)
    if prefix is not None:
        emulated[emulated.index("-L") + 1] = str(prefix)
    with tempfile.TemporaryDirectory(prefix="tiercast-count-") as folder:
        out = Path(folder) / "counts.txt"
        plugin = f"{_plugin()},out={out}{',marks=on' if roi else ''}"
        words = [*emulated, "-plugin", plugin, "-d", "plugin", *command]
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env={**os.environ, **(environment or {})},
            )
        except subprocess.TimeoutExpired as error:
            raise PackageError(f"{' '.join(words)}: no answer within {timeout_s:g} s") from error
        except FileNotFoundError as error:
            raise ToolchainError(
                f"{emulated[0]} not found on PATH; on Debian: apt-get install qemu-user"
            ) from error
        if done.returncode or not out.exists():
            raise PackageError(
                f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()[-2000:]}"
            )
        return _parse(out.read_text())


def count_package(pkg: Path, cpu: str, timeout_s: float = 600.0) -> tuple[list[StepCounts], Counts]:
    """Counts one inference of a package for linux-arm64 by its own runtime, on a fixed input, one thread.

    The second inference of the process, so that nothing of loading is in it. Returns (each step, everything).
    """
    program = tool(TARGET, extras_of([pkg], TARGET), pkg)
    counts = count_instructions(
        [str(program), str(pkg), "--fill", "--repeat", "2", "--mark"], cpu, timeout_s=timeout_s
    )
    bound = bound_kernels(pkg, TARGET, cpu)
    steps = [
        StepCounts(planned.name, step["kernel"], planned.macs, counts.regions.get(index + 1, Region(0, {})))
        for index, (planned, step) in enumerate(zip(read_package(pkg).steps, bound, strict=True))
    ]
    return steps, counts


@cache
def _plugin() -> Path:
    """The counting plugin, compiled for this machine when its source is newer."""
    source = room("targets") / "qemu" / "counter.c"
    library = default_folder(find_target(TARGET)).parent / "qemu" / "libcounter.so"
    if library.exists() and library.stat().st_mtime >= source.stat().st_mtime:
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    part = library.with_suffix(f".{os.getpid()}-{threading.get_ident()}.so")
    command = ["cc", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", str(source), "-o", str(part)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ToolchainError("cc not found on PATH; on Debian: apt-get install gcc libc6-dev") from error
    if done.returncode:
        raise ToolchainError(f"`{' '.join(command)}` failed:\n{done.stderr}")
    part.replace(library)
    return library


def _parse(text: str) -> Counts:
    regions: dict[int, Region] = {}
    blocks: list[Block] = []
    for line in text.splitlines():
        kind, *words = line.split()
        if kind == "region":
            names, values = words[3::2], words[4::2]
            regions[int(words[0])] = Region(int(words[2]), dict(zip(names, map(int, values), strict=True)))
        else:
            code = tuple(int(word, 16) for word in words[4:])
            blocks.append(Block(int(words[0]), int(words[1]), words[2], int(words[3], 16), code))
    return Counts(regions, tuple(blocks))
