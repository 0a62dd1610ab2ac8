"""Runs a package on another target than this machine: its own `tiercast-run`, under the target's emulator."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import xxhash

from tiercast.codegen.build import build, default_folder
from tiercast.errors import PackageError, UsageError
from tiercast.extras import Extras, merge, needed, read_extras
from tiercast.lower.buckets import find_bucket
from tiercast.lower.plan import NUMPY_DTYPES, Port
from tiercast.package.file import read_facts, read_plans
from tiercast.target import Target, find_target


def run_on_target(
    pkg: str | Path,
    inputs: Mapping[str, np.ndarray],
    target: str,
    cpu: str | None = None,
    threads: int = 1,
    cores: str | None = None,
    timeout_s: float = 600.0,
) -> dict[str, np.ndarray]:
    """Outputs by name of a package run by the target's runtime (under its emulator where it has one).

    Of several shape buckets the one with the inputs' shapes runs.

    cpu: a CPU model of the emulator, say "cortex-a53"; default: the emulator's own.
    threads, cores: see `session.Session`.
    Raises ToolchainError when the target can't be built here, UsageError on wrong inputs, PackageError when
    the run fails.
    """
    plans = read_plans(Path(pkg))
    bucket = find_bucket(plans, {name: np.shape(array) for name, array in inputs.items()}, pkg)
    plan = plans[bucket]
    with tempfile.TemporaryDirectory(prefix="tiercast-run-") as folder:
        command = ["--bucket", str(bucket), "--threads", str(threads), "--output-dir", folder]
        command += ["--cores", cores] if cores is not None else []
        for port in plan.inputs:
            command += ["--input", f"{port.name}={_write_input(port, inputs, Path(folder))}"]
        run_tool(target, pkg, command, cpu, timeout_s)
        return {
            port.name: _read_output(port, Path(folder) / f"{index}.bin")
            for index, port in enumerate(plan.outputs)
        }


def bound_kernels(pkg: str | Path, target: str, cpu: str | None = None) -> list[dict[str, str]]:
    """name, op, kernel (bound) and chosen of each step, as the target's runtime binds them on `cpu`."""
    steps: list[dict[str, str]] = json.loads(run_tool(target, pkg, ["--list"], cpu))["steps"]
    return steps


def run_tool(
    target: str,
    package: str | Path,
    arguments: Sequence[str],
    cpu: str | None = None,
    timeout_s: float = 600.0,
) -> str:
    """Standard output of the target's `tiercast-run` for a package with these arguments.

    PackageError with its message when it fails.
    """
    found = find_target(target)
    program = tool(target, extras_of([Path(package)], target), Path(package))
    command = [*emulator(found, cpu), str(program), str(package), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"{' '.join(command)}: no answer within {timeout_s:g} s") from error
    if done.returncode:
        raise PackageError(
            f"{target}{f' ({cpu})' if cpu else ''}: exit code {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def tool(target: str, extra: Extras | None = None, package: Path | None = None) -> Path:
    """The target's `tiercast-run`, built once per process: the full one, or with an extra kernel library just
    what the package calls.
    """
    if extra is None or package is None:
        return _full_tool(target)
    return _extra_tool(target, extra, called_kernels([package], extra))


@cache
def _full_tool(target: str) -> Path:
    return build(target) / "tiercast-run"


@cache
def _extra_tool(target: str, extra: Extras, only: frozenset[str]) -> Path:
    folder = default_folder(find_target(target))
    selection = xxhash.xxh3_64_hexdigest(" ".join(sorted(only)).encode())
    folder = folder.with_name(f"{folder.name}-extra") / f"{extra.digest}-{selection[:8]}"
    return build(target, folder, only, extra=extra) / "tiercast-run"


def extras_of(packages: Sequence[Path], target: str) -> Extras | None:
    """The extra kernel libraries that packages call, as one; None when they call none.

    PackageError when one is missing, changed, or made for another architecture than the target's.
    """
    found: list[Extras] = []
    for package in packages:
        folder = needed(package, read_facts(package))
        if folder is None:
            continue
        found.append(read_extras(folder))
        if found[-1].arch != find_target(target).arch:
            raise PackageError(
                f"{folder}: its kernels are for {found[-1].target} ({found[-1].arch}), not for {target}; "
                f"compile the model with --target {target}"
            )
    return merge(found) if found else None


def called_kernels(packages: Sequence[Path], extra: Extras | None) -> frozenset[str]:
    """The rows of our own libraries that packages call."""
    plans = [plan for path in packages for plan in read_plans(path)]
    called = {step.kernel for plan in plans for step in (*plan.prepare, *plan.steps)}
    return frozenset(called - {row.name for row in extra.rows} if extra else called)


def emulator(target: Target, cpu: str | None) -> list[str]:
    """The command that runs the target's programs here, for a CPU model; empty for this machine."""
    if cpu is not None and not target.emulator:
        raise UsageError(f"target {target.name} runs natively; it takes no CPU model ({cpu!r})")
    return [*target.emulator, *(["-cpu", cpu] if cpu else [])]


def _write_input(port: Port, inputs: Mapping[str, np.ndarray], folder: Path) -> Path:
    if port.name not in inputs:
        raise UsageError(f"input {port.name!r} of shape {port.dims} is missing")
    array = np.asarray(inputs[port.name], order="C")
    if array.dtype != NUMPY_DTYPES[port.dtype] or array.shape != port.dims:
        raise UsageError(
            f"input {port.name!r} must be {port.dtype} of shape {port.dims}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    path = folder / f"in-{len(list(folder.iterdir()))}.bin"
    array.tofile(path)
    return path


def _read_output(port: Port, path: Path) -> np.ndarray:
    return np.fromfile(path, NUMPY_DTYPES[port.dtype]).reshape(port.dims)
