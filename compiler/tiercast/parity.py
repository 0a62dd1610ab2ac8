"""Parity of a package with its model; on a mismatch, the first step that is wrong."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tiercast.custom import custom_ops, find_folders
from tiercast.errors import TiercastError, UsageError
from tiercast.inputs import random_inputs
from tiercast.lower.buckets import buckets_text
from tiercast.lower.plan import Plan, Step, Tensor
from tiercast.package.file import read_plans

# What an output may differ by, relative to its largest value, by the precision that the package was compiled
# in. f16 has 11 bits, and sums of a thousand products in it lose some three of them.
TOLERANCES = {"f32": 1e-4, "f16-weights": 5e-3, "f16": 2e-2}
# Of a quantized model's real outputs: a step of its integers is a 255th of their range, two may be off.
QUANTIZED_TOLERANCE = 2e-2
# Of its s8 and u8 outputs: by how many steps any may differ, and which share by more than one.
_MOST_STEPS, _BEYOND_ONE = 2, 1e-3
# A reference that is zero everywhere would make any rounding an infinite relative error.
_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True)
class Difference:
    """How far an array is from its reference.

    max_abs_error: max |got - reference|; max_rel_error: the same divided by max |reference| (at least 1e-6).
    nonfinite: elements where only one of the two is NaN or infinite, or the infinities differ; they count in
    no maximum. shared_nan: elements that are NaN in both.
    """

    max_abs_error: float
    max_rel_error: float
    nonfinite: int
    shared_nan: int = 0

    def within(self, tolerance: float) -> bool:
        """Whether the relative error is at most `tolerance` and all non-finite elements agree."""
        return self.nonfinite == 0 and self.max_rel_error <= tolerance


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
class WrongStep:
    """The first step of the plan whose output is wrong: which, on what, and its worst element."""

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
class VerifyReport:
    """The verdict.

    `compared_steps` of `steps` had a model value to compare with; both are 0 unless outputs were wrong.
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


def verify(
    source: Any,
    pkg: str | PathLike[str],
    inputs: Mapping[str, np.ndarray] | None = None,
    target: str | None = None,
    cpu: str | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    bucket: int = 0,
    ops: Sequence[str | PathLike[str]] | str | PathLike[str] | None = None,
) -> VerifyReport:
    """Compares a package's outputs with its model's, and finds the first wrong step when they differ.

    source: the model the package was compiled from, as `compile` takes it; PyTorch sources are judged by
    eager PyTorch, ONNX by onnxruntime with its optimisations off, on the model as it came.
    inputs: arrays by name; those not given are seeded random ones (see `tiercast.inputs.random_inputs`).
    target: where to run; default: the package's own target. cpu: a CPU model of its emulator.
    bucket: which shape bucket of the package; `inputs` have its shapes.
    tolerance: largest allowed max|got - reference| / max|reference| of each output; default: TOLERANCES of
    the package's precision. NaN or infinity that the model does not have is wrong at any tolerance.
    ops: folders of your own ops, whose numpy `reference` computes their operators in an ONNX model.
    Raises UsageError and ModelError for a source that can't be the reference, PackageError when the package
    can't run.
    """
    with custom_ops(find_folders(ops)):
        return _verify(source, Path(pkg), inputs, target, cpu, tolerance, seed, bucket)


def _verify(
    source: Any,
    path: Path,
    inputs: Mapping[str, np.ndarray] | None,
    target: str | None,
    cpu: str | None,
    tolerance: float | None,
    seed: int,
    bucket: int,
) -> VerifyReport:
    from tiercast.frontend import reference

    plans = read_plans(path)
    if not 0 <= bucket < len(plans):
        raise UsageError(f"{path}: there is no bucket {bucket}; its buckets: {buckets_text(plans)}")
    plan = plans[bucket]
    place = target or plan.target
    if tolerance is None:
        tolerance = TOLERANCES[plan.facts.get("precision", "f32")]
        tolerance = QUANTIZED_TOLERANCE if "integers" in plan.facts else tolerance
    arrays = complete_inputs(plan, inputs, seed)
    judge, run_reference = reference(source)
    got = _run(path, arrays, place, cpu)
    try:
        expected = run_reference(arrays)
    except TiercastError:
        raise
    except Exception as error:  # whatever the judge says of inputs that are not this model's
        names = ", ".join(arrays)
        raise UsageError(
            f"{judge} can't run the model on the inputs {names} of {path}: {error}; "
            "is it the model of this package?"
        ) from error
    if len(expected) != len(got):
        raise UsageError(
            f"{path} has {len(got)} outputs, the model {len(expected)}; is it the model of this package?"
        )
    outputs = tuple(
        _output_parity(port.name, port.dtype, got[port.name], array, tolerance, "integers" in plan.facts)
        for port, array in zip(plan.outputs, expected, strict=True)
    )
    report = VerifyReport(str(path), place, cpu, judge, tolerance, outputs, bucket=bucket)
    return report if report.ok else _with_first_wrong(report, source, plan, arrays)


def complete_inputs(plan: Plan, given: Mapping[str, np.ndarray] | None, seed: int) -> dict[str, np.ndarray]:
    """The given arrays and seeded random ones for the rest, in the order of the plan's inputs.

    UsageError for a name the plan does not have.
    """
    arrays = random_inputs(plan.inputs, seed)
    for name in given or {}:
        if name not in arrays:
            raise UsageError(f"the package has no input {name!r}; its inputs: {', '.join(arrays) or 'none'}")
    return {**arrays, **(given or {})}


def difference(got: np.ndarray, expected: np.ndarray) -> Difference:
    """Element-wise comparison of two arrays of one shape, in double precision."""
    if got.shape != expected.shape:
        return Difference(float("inf"), float("inf"), max(got.size, expected.size))
    left, right = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(left) & np.isfinite(right)
    same = (np.isnan(left) & np.isnan(right)) | (left == right)
    gap = np.subtract(left, right, out=np.zeros_like(left), where=finite)
    largest = float(np.max(np.abs(gap), initial=0.0))
    scale = float(np.max(np.abs(right), initial=_SMALLEST_SCALE, where=np.isfinite(right)))
    shared_nan = int(np.count_nonzero(np.isnan(left) & np.isnan(right)))
    return Difference(largest, largest / scale, int(np.count_nonzero(~finite & ~same)), shared_nan)


def _output_parity(
    name: str, dtype: str, got: np.ndarray, expected: np.ndarray, tolerance: float, quantized: bool
) -> OutputParity:
    found = difference(got, expected)
    fine = found.within(tolerance)
    if quantized and dtype in ("s8", "u8") and got.shape == expected.shape:
        fine = fine or within_steps(got, expected)
    return OutputParity(name, dtype, got.shape, found, fine)


def within_steps(got: np.ndarray, expected: np.ndarray) -> bool:
    """Whether quantized integers differ by at most two steps, and by more than one in 0.1 % of them."""
    steps = np.abs(got.astype(np.int64) - expected.astype(np.int64))
    return bool(steps.max(initial=0) <= _MOST_STEPS and np.mean(steps > 1) <= _BEYOND_ONE)


def _run(path: Path, arrays: Mapping[str, np.ndarray], target: str, cpu: str | None) -> dict[str, np.ndarray]:
    if target == "host" and cpu is None:
        from tiercast.session import Session

        return Session(path).run(arrays)
    from tiercast.rig import run_on_target

    return run_on_target(path, arrays, target, cpu)


def _run_tapped(
    path: Path, plan: Plan, arrays: Mapping[str, np.ndarray], target: str, cpu: str | None, bucket: int
) -> list[list[np.ndarray]]:
    """Each step's outputs, with the dims of their tensors."""
    if target == "host" and cpu is None:
        from tiercast.session import Session

        return Session(path).run_tapped(arrays)[1]
    from tiercast.lower.plan import NUMPY_DTYPES
    from tiercast.rig import run_tool

    with tempfile.TemporaryDirectory(prefix="tiercast-taps-") as name:
        folder = Path(name)
        command = ["--bucket", str(bucket), "--taps", str(folder)]
        for index, port in enumerate(plan.inputs):
            np.ascontiguousarray(arrays[port.name]).tofile(folder / f"in-{index}.raw")
            command += ["--input", f"{port.name}={folder / f'in-{index}.raw'}"]
        run_tool(target, path, command, cpu)
        return [
            [
                np.fromfile(folder / f"{number}_{slot}.bin", NUMPY_DTYPES[plan.tensors[index].dtype]).reshape(
                    plan.tensors[index].dims
                )
                for slot, index in enumerate(step.outputs)
            ]
            for number, step in enumerate(plan.steps)
        ]


def _with_first_wrong(
    report: VerifyReport, source: Any, plan: Plan, arrays: Mapping[str, np.ndarray]
) -> VerifyReport:
    wanted = {plan.tensors[index].source for step in plan.steps for index in step.outputs} - {""}
    values = _model_values(source, plan, arrays, wanted)
    taps = _run_tapped(Path(report.package), plan, arrays, report.target, report.cpu, report.bucket)
    differences: dict[str, Difference] = {
        port.name: difference(array, array) for port, array in _ports(plan, arrays)
    }
    compared, first = 0, None
    for number, (step, outputs) in enumerate(zip(plan.steps, taps, strict=True)):
        for index, got in zip(step.outputs, outputs, strict=True):
            tensor = plan.tensors[index]
            if tensor.source not in values:
                if first is None and report.nonfinite and _first_nonfinite(got, step, plan, differences):
                    first = _nonfinite_step(number, step, tensor, got, plan, differences)
                continue
            compared += 1
            expected = _in_memory_order(values[tensor.source], tensor)
            differences[tensor.source] = difference(got.reshape(expected.shape), expected)
            if first is None and not differences[tensor.source].within(report.tolerance):
                first = _wrong_step(number, step, tensor, got, expected, plan, differences)
        if first is not None:
            break
    return VerifyReport(
        report.package,
        report.target,
        report.cpu,
        report.reference,
        report.tolerance,
        report.outputs,
        first,
        compared,
        len(plan.steps),
        report.bucket,
    )


def _first_nonfinite(got: np.ndarray, step: Step, plan: Plan, differences: Mapping[str, Difference]) -> bool:
    """Whether a step without a value in the model makes NaN or infinity of operands that have none."""
    if got.dtype.kind != "f" or np.isfinite(got).all():
        return False
    known = [differences.get(plan.tensors[index].source) for index in step.inputs if index >= 0]
    return all(item is None or not (item.nonfinite or item.shared_nan) for item in known)


def _nonfinite_step(
    number: int,
    step: Step,
    tensor: Tensor,
    got: np.ndarray,
    plan: Plan,
    differences: dict[str, Difference],
) -> WrongStep:
    bad = int(np.count_nonzero(~np.isfinite(got)))
    named = dataclasses.replace(tensor, source=tensor.source or tensor.name or step.name)
    found = {**differences, named.source: Difference(0.0, 0.0, bad)}
    made = _wrong_step(number, step, named, got, np.zeros_like(got), plan, found)
    return dataclasses.replace(made, expected=None)


def _ports(plan: Plan, arrays: Mapping[str, np.ndarray]) -> list[tuple[Any, np.ndarray]]:
    return [(port, arrays[port.name]) for port in plan.inputs]


def _in_memory_order(value: np.ndarray, tensor: Tensor) -> np.ndarray:
    return np.transpose(value, tensor.perm) if tensor.perm else value


def _wrong_step(
    number: int,
    step: Step,
    tensor: Tensor,
    got: np.ndarray,
    expected: np.ndarray,
    plan: Plan,
    differences: Mapping[str, Difference],
) -> WrongStep:
    got = got.reshape(expected.shape)
    with np.errstate(invalid="ignore"):
        gap = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    gap[np.isnan(gap)] = np.inf
    worst = np.unravel_index(int(np.argmax(gap)), gap.shape)
    operands = [plan.tensors[index] for index in step.inputs if index >= 0]
    return WrongStep(
        index=number,
        name=step.name,
        op=step.op,
        kernel=step.kernel,
        source=tensor.source,
        shape=tensor.dims,
        difference=differences[tensor.source],
        worst_at=tuple(int(axis) for axis in worst),
        got=float(got[worst]),
        expected=float(expected[worst]),
        inputs=tuple(
            OperandParity(item.source or item.name or item.place, item.dims, differences.get(item.source))
            for item in operands
        ),
    )


def _model_values(
    source: Any, plan: Plan, arrays: Mapping[str, np.ndarray], wanted: set[str]
) -> dict[str, np.ndarray]:
    """Intermediate values of the imported model by name, computed by onnxruntime."""
    from tiercast.frontend import load, reference

    shapes = {port.name: port.dims for port in plan.inputs}
    dtypes = {port.name: port.dtype for port in plan.inputs}
    model = load(source, shapes, dtypes=dtypes, check_import=False)
    known = set(model.graph.outputs)
    for node in model.graph:
        model.graph.outputs.extend(
            value for value in node.outputs if value.name in wanted and value not in known
        )
    _, run = reference(model)
    given = {value.name or "": arrays[value.name or ""] for value in model.graph.inputs}
    names = [value.name or "" for value in model.graph.outputs]
    return dict(zip(names, run(given), strict=True))


def _error_text(found: Difference | None) -> str:
    return "not comparable" if found is None else f"error {found.max_rel_error:.2g}"
