"""Measures, for one model on one target, every way that its decisions have (`tuning.Decisions`).

The model is compiled again and again, each time with ways asked for that nobody has measured yet, until all
are; then all packages run in turn, step by step, and a way's time is that of the steps which compute what was
decided on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tiercast.codegen.build import build
from tiercast.costmodel import ModelError, leave_one_out
from tiercast.counting import TARGET as COUNTED_TARGET
from tiercast.counting import count_package
from tiercast.errors import PackageError, ToolchainError, UsageError
from tiercast.inputs import random_inputs
from tiercast.lower.plan import Plan
from tiercast.package.file import read_package
from tiercast.pipeline import Compilation, Ops, compile_plan, resolve, write_compilation
from tiercast.records import Records, cpu_of, read_records, record_path, write_records
from tiercast.session import Session
from tiercast.tuning import Decision

_MOST_VARIANTS = 40  # compilations of one model
_DEVICE_FOLDER = "/data/local/tmp/tiercast-tune"


@dataclass(frozen=True)
class Tuned:
    """What `tune` did: how many decisions and ways were measured, what changed the plan, the file, the
    error of the cost model fitted to all of the file's records (None: too few records).
    """

    path: Path
    cpu: str
    unit: str
    decisions: int
    measurements: int
    variants: int
    changed: tuple[str, ...]
    error: ModelError | None


class Timer(Protocol):
    """Times the steps of packages on one CPU."""

    cpu: str
    unit: str

    def times(self, packages: Sequence[Path]) -> list[list[float]]:
        """The time of each step of each package."""


class HostTimer:
    """This machine: shortest wall time of each step over many runs, the packages in turn."""

    unit = "us"

    def __init__(self, seconds: float) -> None:
        self.cpu = cpu_of(resolve("host")) or "unknown"
        self._seconds = seconds

    def times(self, packages: Sequence[Path]) -> list[list[float]]:
        """`seconds` for each package, in turn run by run."""
        sessions = [Session(path) for path in packages]
        inputs = random_inputs(read_package(packages[0]).inputs, 0)
        fastest = [np.asarray(session.run_timed(inputs)[1]) for session in sessions]
        ends = time.perf_counter() + self._seconds * len(packages)
        while time.perf_counter() < ends:
            for index, session in enumerate(sessions):
                fastest[index] = np.minimum(fastest[index], session.run_timed(inputs)[1])
        return [[float(us) for us in steps] for steps in fastest]


class CountTimer:
    """An emulated AArch64 CPU: executed instructions, which are exact."""

    unit = "instructions"

    def __init__(self, cpu: str) -> None:
        self.cpu = cpu

    def times(self, packages: Sequence[Path]) -> list[list[float]]:
        """One counted run of each package."""
        return [
            [float(step.counted.instructions) for step in count_package(path, self.cpu)[0]]
            for path in packages
        ]


class DeviceTimer:
    """A device that `adb devices` shows: shortest wall time of each step, by the target's `tiercast-run`."""

    unit = "us"

    def __init__(self, target: str, repeat: int = 20) -> None:
        if shutil.which("adb") is None:
            raise ToolchainError("adb not found on PATH; on Debian: apt-get install adb")
        listed = [line.split("\t") for line in self._adb("devices").splitlines()[1:] if "\t" in line]
        ready = [name for name, state in listed if state.strip() == "device"]
        if len(ready) != 1:
            states = ", ".join(f"{name} ({state})" for name, state in listed) or "none"
            raise ToolchainError(
                f"adb shows {len(ready)} devices that are ready, tuning takes one; shown: {states}; "
                "choose one with ANDROID_SERIAL"
            )
        self.cpu = self._adb("shell", "getprop", "ro.soc.model").strip() or ready[0]
        self._repeat = repeat
        self._adb("shell", "mkdir", "-p", _DEVICE_FOLDER)
        self._adb("push", str(build(target) / "tiercast-run"), f"{_DEVICE_FOLDER}/tiercast-run")

    def times(self, packages: Sequence[Path]) -> list[list[float]]:
        """`repeat` timed runs of each package."""
        found = []
        for path in packages:
            self._adb("push", str(path), f"{_DEVICE_FOLDER}/model.tcpkg")
            tool, package = f"{_DEVICE_FOLDER}/tiercast-run", f"{_DEVICE_FOLDER}/model.tcpkg"
            words = [tool, package, "--fill", "--time", "--repeat", str(self._repeat)]
            answer = json.loads(self._adb("shell", *words))
            found.append([float(step["us"]) for step in answer["steps"]])
        return found

    def _adb(self, *words: str) -> str:
        done = subprocess.run(["adb", *words], capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise PackageError(f"adb {' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def timer_for(target: str, cpu: str | None = None, adb: bool = False, seconds: float = 2.0) -> Timer:
    """What measures a target: a device over adb, this machine, or instruction counts of an emulated CPU.

    cpu: the emulator's CPU model; default: the target's tuned_cpu. UsageError where nothing can measure the
    target, ToolchainError where adb or its device is missing.
    """
    found = resolve(target)
    if adb:
        return DeviceTimer(target)
    if found.toolchain is None and cpu is None:
        return HostTimer(seconds)
    if target == COUNTED_TARGET and (cpu or found.tuned_cpu):
        return CountTimer(cpu or found.tuned_cpu)
    raise UsageError(
        f"target {target} can't be measured here"
        + (" on an emulated CPU" if found.toolchain is None else "")
        + f"; host is timed, {COUNTED_TARGET} is counted under its emulator, others need a device and --adb"
    )


def tune(
    source: Any,
    target: str,
    timer: Timer,
    inputs: Mapping[str, Sequence[int]] | None = None,
    folder: Path | None = None,
    say: Callable[[str], None] | None = None,
    ops: Ops = None,
) -> Tuned:
    """Measures a model's decisions and adds them to the records of the timer's CPU.

    source, inputs, ops: as for `pipeline.compile`. folder: where records lie, default: the target's own.
    Raises what `compile` and the timer raise.
    """
    say = say or (lambda _: None)
    description = resolve(target)
    path = record_path(description, timer.cpu, folder)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiercast-tune-")))
        variants = _variants(source, target, inputs, say, ops)
        packages = [
            write_compilation(done, scratch / f"{number}.tcpkg") for number, done in enumerate(variants)
        ]
        say(f"measuring {len(packages)} variants on {timer.cpu}")
        times = _times_of_ways(variants, timer.times(packages))
    known = read_records(path, description) if path.exists() else Records(timer.cpu, unit=timer.unit)
    if known.unit != timer.unit:
        raise UsageError(
            f"{path}: its times are {known.unit}, these are {timer.unit}; choose another --records"
        )
    records = known.with_times(times)
    write_records(records, description, path)
    first = variants[0].decisions.made
    changed = [
        f"{key}: {fastest} instead of {first[key].chosen}"
        for key in times
        if key in first
        and (fastest := records.fastest(key, first[key].candidates)) not in (None, first[key].chosen)
    ]
    measurements = sum(len(ways) for ways in times.values())
    error = leave_one_out(records.times)
    return Tuned(path, timer.cpu, timer.unit, len(times), measurements, len(variants), tuple(changed), error)


def _variants(
    source: Any,
    target: str,
    inputs: Mapping[str, Sequence[int]] | None,
    say: Callable[[str], None],
    ops: Ops,
) -> list[Compilation]:
    """Compilations that together take every way of every decision, as far as they can be found."""
    unknown = Records("")  # what was measured before must not keep ways from being taken
    done = [compile_plan(source, target, inputs, records=unknown, ops=ops)]
    tried = _taken(done[0])
    while len(done) < _MOST_VARIANTS:
        wanted = _untried(done, tried)
        if not wanted:
            break
        tried |= set(wanted.items())
        say(f"variant {len(done)}: {len(wanted)} other ways")
        made = compile_plan(source, target, inputs, records=unknown, wanted=wanted, ops=ops)
        tried |= _taken(made)
        done.append(made)
    return done


def _taken(compilation: Compilation) -> set[tuple[str, str]]:
    """The (key, way) pairs that its plan really has."""
    return {(key, way) for key, way, _ in _regions_taken(compilation)}


def _regions_taken(compilation: Compilation) -> Iterator[tuple[str, str, list[frozenset[str]]]]:
    """(key, way, regions that are computed so). A row that was chosen for an algorithm which then was not has
    none and is left out.
    """
    kernels: dict[str, set[str]] = {}
    for step in compilation.plan.steps:
        kernels.setdefault(compilation.plan.tensors[step.outputs[0]].name, set()).add(step.kernel)
    for key, decision in compilation.decisions.made.items():
        regions = [
            region
            for region in decision.regions
            if not decision.of_rows or any(decision.chosen in kernels.get(name, ()) for name in region)
        ]
        if regions:
            yield key, decision.chosen, regions


def _untried(done: Sequence[Compilation], tried: set[tuple[str, str]]) -> dict[str, str]:
    """For each decision met so far the next way that nothing took. Rows only once all algorithms were taken:
    these are compared with the rows that stand first.
    """
    for of_rows in (False, True):
        wanted: dict[str, str] = {}
        for compilation in done:
            made = compilation.decisions.made
            for key, decision in made.items():
                left = [name for name in decision.candidates if (key, name) not in tried]
                if not left or not decision.regions or decision.of_rows != of_rows:
                    continue
                ways = {key: left[0]} | _algorithm_of(key, made)
                if all(wanted.get(name, way) == way for name, way in ways.items()):
                    wanted |= ways
        if wanted:
            return wanted
    return {}


def _algorithm_of(key: str, made: Mapping[str, Decision]) -> dict[str, str]:
    """What else must be asked for so that a decision between rows, "<op> of <key>", comes to bear."""
    op, _, decided = key.partition(" of ")
    return {decided: op} if decided in made and op in made[decided].candidates else {}


def _times_of_ways(
    variants: Sequence[Compilation], times: Sequence[Sequence[float]]
) -> dict[str, dict[str, float]]:
    """key -> way -> time: of the steps that compute the decision's values, mean over its places, the least
    of all variants. Only keys of which more than one way was measured.
    """
    found: dict[str, dict[str, float]] = {}
    for compilation, step_times in zip(variants, times, strict=True):
        of_value = _times_of_values(compilation.plan, step_times)
        for key, way, regions in _regions_taken(compilation):
            sums = [sum(of_value.get(name, 0.0) for name in region) for region in regions]
            took = sum(sums) / len(sums)
            ways = found.setdefault(key, {})
            if took > 0 and took < ways.get(way, np.inf):
                ways[way] = round(took, 3)
    return {key: ways for key, ways in found.items() if len(ways) > 1}


def _times_of_values(plan: Plan, step_times: Sequence[float]) -> dict[str, float]:
    """Names of computed values -> the time of the steps that write them."""
    found: dict[str, float] = {}
    for step, took in zip(plan.steps, step_times, strict=True):
        name = plan.tensors[step.outputs[0]].name
        found[name] = found.get(name, 0.0) + took
    return found
