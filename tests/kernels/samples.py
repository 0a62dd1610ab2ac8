"""Kernel samples as packages: each `[[sample]]` of a kernels.toml, pinned to a row, dense or in windows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tiercast.errors import UsageError
from tiercast.kernel import Case, KernelFamily, Row, families
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.lower.plan import Plan
from tiercast.lower.windows import windowed_model
from tiercast.ops.registry import ops
from tiercast.package.file import write_package
from tiercast.session import Session
from tiercast.target import Target, find_target

# Of the largest value of the portable result; f16 rows also round every sum of a product.
TOLERANCES = {np.dtype(np.float32): 1e-5, np.dtype(np.float16): 3e-2}


@dataclass(frozen=True)
class Sample:
    """Sample number `index` of a family.

    windows: operands are channel windows of wider tensors. half: reals are f16.
    """

    family: str
    index: int
    windows: bool = False
    half: bool = False

    @property
    def case(self) -> Case:
        """The entry of kernels.toml."""
        return families()[self.family].samples[self.index]

    def __str__(self) -> str:
        return f"{self.family}-{self.index}{'-windows' if self.windows else ''}{'-f16' if self.half else ''}"


def samples(family: KernelFamily) -> list[Sample]:
    """Every sample of a family; in f16 where it has rows for it, in windows where the op takes them."""
    found = [Sample(family.name, index) for index in range(len(family.samples))]
    if any(row.in_dtype == "f16" for row in family.rows):
        found += [dataclasses.replace(sample, half=True) for sample in found if _has_reals(sample.case)]
    strided = [s for s in found if ops()[s.case.op].strided_inputs or ops()[s.case.op].strided_outputs]
    return found + [dataclasses.replace(sample, windows=True) for sample in strided]


def _has_reals(case: Case) -> bool:
    return any(":" not in text and text != "-" and "const" not in text for text in case.inputs)


def rows_for(target: Target) -> list[Row]:
    """All rows of the target's architecture."""
    return [row for family in families().values() for row in family.rows if row.isa in target.isas]


def model(sample: Sample) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """The sample's physical model and its inputs."""
    made, inputs = case_model(sample.case, half=sample.half)
    return windowed_model(sample.case, made, inputs) if sample.windows else (made, inputs)


def plan_for(sample: Sample, row: Row, target: Target) -> Plan | None:
    """The sample lowered to `row` for a device with just what the row needs; None if the row refuses it."""
    device = dataclasses.replace(target, has=row.needs)
    try:
        plan = lower_graph(model(sample)[0], device, prefer=row.name)
    except UsageError as error:
        assert "was refused" in str(error)
        return None
    return plan if any(step.kernel == row.name for step in (*plan.prepare, *plan.steps)) else None


@cache
def expected(sample: Sample, folder: Path) -> list[np.ndarray]:
    """What portable rows make of the sample's dense operands, by output."""
    dense = dataclasses.replace(sample, windows=False)
    made, inputs = model(dense)
    # The family's own algorithm, not another one that is predicted to be faster.
    plain = next(row.name for row in families()[sample.family].rows if row.isa == "portable")
    plan = lower_graph(made, dataclasses.replace(find_target("host"), has=frozenset()), prefer=plain)
    package = write_package(plan, folder / f"{sample}.portable.tcpkg")
    return list(Session(package, features=[]).run(inputs).values())


def check(sample: Sample, results: list[np.ndarray], wanted: list[np.ndarray]) -> str | None:
    """None when every output is as wanted and what lies beside a window is untouched, else what differs."""
    _, inputs = model(sample)
    for number, (actual, want) in enumerate(zip(results, wanted, strict=True)):
        if sample.windows and ops()[sample.case.op].strided_outputs and want.ndim:
            beside = inputs[f"beside{number}"]
            if not np.array_equal(actual[..., : beside.shape[-1]], beside):
                return f"{sample}: output {number}: what stands beside the window was overwritten"
            actual = actual[..., beside.shape[-1] :]
        pairs = [(actual, want)]
        if number == 1 and sample.case.attributes.get("statistics"):
            pairs = list(zip(joined(actual), joined(want), strict=True))
        for pair in pairs:
            difference = compare(*pair)
            if difference:
                return f"{sample}: output {number}: {difference}"
    return None


def joined(bands: np.ndarray) -> list[np.ndarray]:
    """Pixels, means and variances of statistics [N,bands,3,C]: rows differ in which pixels a band has."""
    count, mean, distance = np.moveaxis(bands.astype(np.float64), 2, 0)
    pixels = count.sum(1)
    middle = (count * mean).sum(1) / pixels
    variance = (distance + count * (mean - middle[:, None]) ** 2).sum(1) / pixels
    return [array.astype(np.float32) for array in (pixels, middle, variance)]


def compare(actual: np.ndarray, want: np.ndarray) -> str | None:
    """None when equal (floats: within TOLERANCES of the largest wanted value), else the difference."""
    if actual.shape != want.shape or actual.dtype != want.dtype:
        return f"{actual.dtype} {actual.shape} instead of {want.dtype} {want.shape}"
    if want.dtype.kind != "f":
        wrong = int(np.count_nonzero(actual != want))
        return f"{wrong} of {want.size} elements differ" if wrong else None
    finite = np.isfinite(want)
    if not np.array_equal(actual[~finite], want[~finite], equal_nan=True):
        return "infinities or NaNs differ"
    if not finite.any():
        return None
    scale = max(float(np.abs(want[finite]).max()), 1e-30)
    error = float(np.abs(actual[finite].astype(np.float64) - want[finite]).max()) / scale
    return None if error <= TOLERANCES[want.dtype] else f"relative error {error:.3g} at scale {scale:.3g}"
