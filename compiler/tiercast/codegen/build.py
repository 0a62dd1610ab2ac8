"""Builds a target's kernel library and runtime with CMake and, for another machine, its cross compiler."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tiercast.errors import ToolchainError
from tiercast.extras import TABLE, Extras, write_files
from tiercast.paths import room
from tiercast.target import Target, find_target

Progress = Callable[[str], None]


def default_folder(target: Target) -> Path:
    """Where a target is built when nobody says.

    $TIERCAST_CACHE/<target>, else build/<target> of a checkout, else ~/.cache.
    """
    if "TIERCAST_CACHE" in os.environ:
        return Path(os.environ["TIERCAST_CACHE"]) / target.name
    root = room("runtime").parent
    if (root / "pyproject.toml").exists():
        return root / "build" / target.name
    return Path.home() / ".cache" / "tiercast" / target.name


def check_toolchain(target: Target) -> None:
    """ToolchainError that names every missing program and the packages that hold them."""
    wanted = ["cmake", *([target.compiler] if target.compiler else []), *target.emulator[:1]]
    missing = [program for program in wanted if _which(program) is None]
    if missing:
        packages = " ".join(target.packages) or "cmake"
        raise ToolchainError(
            f"target {target.name}: {', '.join(missing)} not found on PATH; "
            f"on Debian: apt-get install {packages} cmake"
        )


def build(
    target: str,
    folder: Path | None = None,
    only: frozenset[str] | None = None,
    goals: tuple[str, ...] = ("tiercast-run",),
    progress: Progress | None = None,
    sanitize: str = "",
    extra: Extras | None = None,
) -> Path:
    """Builds `goals` (CMake targets) for a target and returns the build folder.

    only: names of the kernel rows of a *selected* library (their ops' portable rows stay as fallback); None:
    full.
    progress: called with each line the build prints.
    sanitize: sanitizers for everything, say "address,undefined".
    extra: an extra kernel library whose rows are linked in, behind ours in the table.
    Raises ToolchainError when a program is missing or the build fails (with its last lines).
    """
    found = find_target(target)
    check_toolchain(found)
    where = folder or default_folder(found)
    where.mkdir(parents=True, exist_ok=True)
    jobs = str(os.cpu_count() or 1)
    with _alone_in(where):
        options = [*_options(found, where, only), f"-DTIERCAST_SANITIZE={sanitize}"]
        options.append(f"-DTIERCAST_EXTRA={'' if extra is None else _place(extra, where / 'extra')}")
        _run(["cmake", "-S", str(room("runtime").parent), "-B", str(where), *options], progress)
        _run(["cmake", "--build", str(where), "--target", *goals, "--parallel", jobs], progress)
    return where


def _place(extra: Extras, folder: Path) -> Path:
    """The library's files in the build folder, without the table that is for loading; unchanged ones stay."""
    linked = dataclasses.replace(
        extra,
        files={path: data for path, data in extra.files.items() if path != TABLE},
        sources={path: flags for path, flags in extra.sources.items() if path != TABLE},
    )
    folder.mkdir(exist_ok=True)
    write_files(linked, folder)
    return folder


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Holds the build folder: a second process waits for it and does not build into the same files."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _options(target: Target, folder: Path, only: frozenset[str] | None) -> list[str]:
    options = [
        f"-DTIERCAST_TARGET={target.name}",
        f"-DTIERCAST_PYTHON={sys.executable}",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    if _which("ninja"):
        options.append("-GNinja")
    if target.toolchain:
        options.append(f"-DCMAKE_TOOLCHAIN_FILE={target.toolchain}")
    selection = folder / "only.txt"
    if only is not None:
        selection.write_text("\n".join(sorted(only)) + "\n")
        return [*options, f"-DTIERCAST_ONLY={selection}"]
    return [*options, "-DTIERCAST_ONLY="]


def _which(program: str) -> str | None:
    # cmake and ninja may be wheels in this Python's own scripts folder, which need not be on PATH.
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))


def _run(command: list[str], progress: Progress | None) -> None:
    command[0] = _which(command[0]) or command[0]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if progress:
                progress(line.rstrip())
    if process.returncode:
        tail = "\n".join(lines[-30:])
        raise ToolchainError(f"`{' '.join(command)}` failed with exit code {process.returncode}:\n{tail}")
