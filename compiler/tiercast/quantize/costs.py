"""What each step of a package costs on its target: time here, executed instructions under the emulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tiercast.bench.packages import time_packages
from tiercast.counting import count_package
from tiercast.errors import UsageError
from tiercast.package.file import read_package
from tiercast.target import Target, find_target

HOST_UNIT, EMULATED_UNIT = "us", "instructions"


@dataclass(frozen=True)
class Costs:
    """Of one package: the cost of each step and of the whole. unit: "us" of CPU time or "instructions".

    by_value: the step's cost by the name of each value that it computes; a step's first value has all of it.
    steps: (names of the values that the step computes, cost).
    """

    unit: str
    total: float
    steps: tuple[tuple[tuple[str, ...], float], ...] = field(hash=False)

    @property
    def by_value(self) -> Mapping[str, float]:
        """The cost by value name; several steps of one value (a copy behind it) add up."""
        found: dict[str, float] = {}
        for names, cost in self.steps:
            found[names[0]] = found.get(names[0], 0.0) + cost
        return found


def unit_of(target: str) -> str:
    """In what costs on a target are told. UsageError for a target whose packages can neither run nor be
    counted."""
    found = find_target(target)
    if found.toolchain is None:
        return HOST_UNIT
    if not counted(found):
        raise UsageError(
            f"target {target}: its steps can't be measured here (instructions are counted on AArch64 Linux); "
            "measure on host or linux-arm64"
        )
    return EMULATED_UNIT


def counted(target: Target) -> bool:
    """Whether instructions of the target's packages are counted here."""
    return target.toolchain is not None and target.arch == "aarch64"


def measure_packages(
    packages: Sequence[Path], target: str, cpu: str | None = None, seconds: float = 1.0
) -> list[Costs]:
    """Costs of packages of one model each, measured in turn. cpu: of the emulator; default: the target's
    first."""
    if unit_of(target) == HOST_UNIT:
        times = time_packages(packages, threads=1, seconds=seconds)
        return [
            _costs(path, HOST_UNIT, [step.min_us for step in item.steps], item.cpu_min_ms * 1e3)
            for path, item in zip(packages, times, strict=True)
        ]
    chosen = cpu or find_target(target).emulator_cpus[0]
    found = []
    for path in packages:
        steps, counts = count_package(path, chosen)
        costs = [float(step.counted.instructions) for step in steps]
        found.append(_costs(path, EMULATED_UNIT, costs, float(counts.total.instructions)))
    return found


def _costs(path: Path, unit: str, costs: Sequence[float], total: float) -> Costs:
    plan = read_package(path)
    steps = []
    for step, cost in zip(plan.steps, costs, strict=True):
        tensors = [plan.tensors[item] for item in step.outputs]
        steps.append((tuple(tensor.source or tensor.name for tensor in tensors) or (step.name,), cost))
    return Costs(unit, total, tuple(steps))
