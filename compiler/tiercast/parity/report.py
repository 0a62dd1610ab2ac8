"""What a comparison says: outputs, steps, the guilty step and pass, the part that was cut out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tiercast.parity.difference import Difference, Element


@dataclass(frozen=True)
class OutputParity:
    """One model output against its reference."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    difference: Difference
    ok: bool


@dataclass(frozen=True)
class OperandParity:
    """One operand of a wrong step; `difference` is None where the model has no value to compare it with."""

    name: str
    shape: tuple[int, ...]
    difference: Difference | None


@dataclass(frozen=True)
class StepParity:
    """One result of one step; `difference` and `worst` are None where the other side has no such value."""

    index: int
    name: str
    op: str
    kernel: str
    source: str
    shape: tuple[int, ...]
    ok: bool
    difference: Difference | None = None
    worst: Element | None = None


@dataclass(frozen=True)
class WrongStep:
    """The first step whose result is wrong: which, on what, and its worst element, in the model's order."""

    index: int
    name: str
    op: str
    kernel: str
    source: str
    shape: tuple[int, ...]
    difference: Difference
    worst_at: tuple[int, ...]
    got: float
    expected: float | None  # None where the model has no value to compare with
    inputs: tuple[OperandParity, ...]

    def __str__(self) -> str:
        operands = ", ".join(
            f"{item.name or '?'} {list(item.shape)} {_error_text(item.difference)}" for item in self.inputs
        )
        place = (
            f'step {self.index} "{self.name}" ({self.op}, {self.kernel}): '
            f"output {self.source!r} of shape {list(self.shape)}"
        )
        if self.difference.nonfinite:
            return (
                f"{place} is the first with NaN or infinity that the model does not have, in "
                f"{self.difference.nonfinite} elements; at {list(self.worst_at)} got {self.got:.6g}, "
                f"expected {'a finite number' if self.expected is None else f'{self.expected:.6g}'}; "
                f"inputs: {operands or 'none'}"
            )
        return (
            f"{place} has relative error {self.difference.max_rel_error:.3g}; "
            f"at {list(self.worst_at)} got {self.got:.6g}, "
            f"expected {self.expected:.6g}; inputs: {operands or 'none'}"
        )


@dataclass(frozen=True)
class Probe:
    """One run of a bisection: at which point, and how far its results were from the left side's."""

    at: str
    max_rel_error: float
    nonfinite: int
    ok: bool


@dataclass(frozen=True)
class Culprit:
    """Which part of the way from model to result went wrong.

    kind: "import" (the front end), "pass", "kernels" (lowering, or the kernels of target and CPU) or "file"
    (this package; compiling the model anew gives a right one). name: the pass. probes: the runs that found
    it. first_wrong:
    the first wrong step of the graph as the pass left it.
    """

    kind: str
    name: str
    probes: tuple[Probe, ...]
    first_wrong: WrongStep | None = None

    def __str__(self) -> str:
        what = {
            "import": "the import of the model",
            "pass": f"the pass {self.name}",
            "kernels": f"lowering or the kernels: portable ones are right after each pass, not {self.name}",
            "file": "this package file: compiled anew, the model is right",
        }[self.kind]
        return f"{what} (found in {len(self.probes)} runs)"


@dataclass(frozen=True)
class Extraction:
    """The part that reproduces an error: its files, the command, and the error that the command finds."""

    files: tuple[str, ...]
    command: str
    reproduced: bool
    max_rel_error: float
    nodes: int


@dataclass(frozen=True)
class VerifyReport:
    """The verdict on the right side, called package, against the left one, the reference.

    `compared_steps` of `steps` had a value of the left side to compare with; both are 0 where no steps were
    compared. layers: what was compared of each step's results. probes: the runs of a bisection over steps.
    notes: what could not be found out, and why. bucket: which shape bucket of the package.
    """

    package: str
    target: str
    cpu: str | None
    reference: str
    tolerance: float
    outputs: tuple[OutputParity, ...]
    first_wrong: WrongStep | None = None
    compared_steps: int = 0
    steps: int = 0
    culprit: Culprit | None = None
    layers: tuple[StepParity, ...] = ()
    probes: tuple[Probe, ...] = ()
    extraction: Extraction | None = None
    notes: tuple[str, ...] = ()
    bucket: int = 0

    @property
    def ok(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.ok for output in self.outputs)

    @property
    def nonfinite(self) -> tuple[str, ...]:
        """Names of outputs with NaN or infinity where the model has none, or another."""
        return tuple(output.name for output in self.outputs if output.difference.nonfinite)

    @property
    def max_rel_error(self) -> float:
        """The largest relative error of any output."""
        return max((output.difference.max_rel_error for output in self.outputs), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok, "max_rel_error": self.max_rel_error}


def _error_text(found: Difference | None) -> str:
    return "not comparable" if found is None else f"error {found.max_rel_error:.2g}"
