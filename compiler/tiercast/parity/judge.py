"""`verify`: two sides compared; on a mismatch the first wrong step, the guilty pass, a part that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiercast.calibration import Batch
from tiercast.custom import CustomOps, custom_ops, find_folders
from tiercast.errors import TiercastError, UsageError
from tiercast.inputs import random_inputs
from tiercast.lower.plan import Plan, Port
from tiercast.parity.bisect import bisect_steps
from tiercast.parity.case import Case
from tiercast.parity.culprit import find_culprit, stations
from tiercast.parity.difference import agree, difference
from tiercast.parity.extract import Request, extract_model, extract_package, part_suffix
from tiercast.parity.report import Culprit, Extraction, OutputParity, Probe, VerifyReport
from tiercast.parity.runner import PlanRunner, Runner, SourceRunner, output_names
from tiercast.parity.side import PORTABLE, parse_side, with_place
from tiercast.parity.steps import StepComparison, compare_steps
from tiercast.pipeline import Ops


def verify(
    source: Any,
    pkg: Any,
    inputs: Mapping[str, np.ndarray] | None = None,
    target: str | None = None,
    cpu: str | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    bucket: int = 0,
    ops: Ops = None,
    *,
    precision: str | None = None,
    calibrate: Sequence[Batch] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dtypes: Mapping[str, str] | None = None,
    layers: bool = False,
    bisect: bool = False,
    find: bool = True,
    extract: Path | None = None,
) -> VerifyReport:
    """Compares two sides, `pkg` against `source`, and finds what is wrong when they differ.

    source, pkg: models, packages, or text as in `parity.side`: "net.onnx", "net.onnx@fuse_gate",
    "net.onnx@package", "net.tcpkg", "net.tcpkg@linux-arm64:cortex-a53", "net.tcpkg@portable". A model alone
    is its framework's own result (eager PyTorch; onnxruntime with its optimisations off, on the model as it
    came).
    inputs: arrays by name; those not given are seeded random ones (see `tiercast.inputs.random_inputs`).
    target, cpu: where `pkg` runs, and what model@stage sides are compiled for; default: the package's own
    target, else the host.
    bucket: which shape bucket of the package; `inputs` have its shapes.
    ops: folders of your own ops, whose numpy `reference` computes their operators in an ONNX model.
    precision, calibrate, shapes, dtypes: how model@stage sides are compiled; default: as the package was.
    tolerance: largest allowed max|got - reference| / max|reference| of each output; default: TOLERANCES of
    the coarser precision of the two. NaN or infinity that the model does not have is wrong at any tolerance.
    layers: compare every step even if the outputs agree.
    bisect: find the first wrong step of a package in O(log n) runs of parts of it, instead of in one run that
    hands out every step. find: look for the guilty step and pass at all.
    extract: a folder for the smallest part that shows the error, see `Extraction`.
    Raises UsageError and ModelError for sides that can't be run or compared, PackageError when a package
    can't run.
    """
    options = (precision, calibrate, shapes, dtypes)
    with custom_ops(find_folders(ops)) as custom:
        case = Case(parse_side(source), with_place(parse_side(pkg), target, cpu), target, *options, custom)
        case.pick_bucket(bucket)
        return _compared(case, inputs, tolerance, seed, bucket, layers, bisect, find, extract)


def _compared(
    case: Case,
    inputs: Mapping[str, np.ndarray] | None,
    tolerance: float | None,
    seed: int,
    bucket: int,
    layers: bool,
    bisect: bool,
    find: bool,
    extract: Path | None,
) -> VerifyReport:
    left, right = case.runners()
    arrays = complete_inputs(case.ports(), inputs, seed)
    allowed = tolerance if tolerance is not None else max(left.tolerance, right.tolerance)
    expected, got = left.run(arrays), right.run(arrays)
    if len(expected) != len(got):
        raise UsageError(
            f"{right.label} has {len(got)} outputs, {left.label} {len(expected)}; "
            "is it the model of this package?"
        )
    outputs = tuple(
        _output_parity(name, array, wanted, allowed, left.quantized or right.quantized)
        for name, array, wanted in zip(output_names(right, len(got)), got, expected, strict=True)
    )
    place = (right.target, right.cpu) if isinstance(right, PlanRunner) else ("host", None)
    report = VerifyReport(right.label, *place, left.judge, allowed, outputs, bucket=bucket)
    if (report.ok and not layers) or not find:
        return report
    return _Search(case, left, right, arrays, allowed, expected).complete(report, bisect, extract)


def _verify_part(
    custom: Sequence[CustomOps],
    left: str,
    right: str,
    inputs: Mapping[str, np.ndarray],
    tolerance: float,
    target: str,
    cpu: str | None,
    precision: str,
) -> VerifyReport:
    """The verdict on an extracted part, without looking further."""
    side = with_place(parse_side(right), target, cpu)
    case = Case(parse_side(left), side, target, precision, None, None, None, custom)
    case.pick_bucket(0)
    return _compared(case, inputs, tolerance, 0, 0, False, False, False, None)


def complete_inputs(
    ports: Plan | Sequence[Port], given: Mapping[str, np.ndarray] | None, seed: int
) -> dict[str, np.ndarray]:
    """The given arrays and seeded random ones for the rest, in the order of the ports (a plan's inputs).

    UsageError for a name that is none of theirs.
    """
    arrays = random_inputs(ports.inputs if isinstance(ports, Plan) else ports, seed)
    for name in given or {}:
        if name not in arrays:
            raise UsageError(f"there is no input {name!r}; the inputs are {', '.join(arrays) or 'none'}")
    return {**arrays, **(given or {})}


@dataclass
class _Search:
    """Looks for the guilty step, the guilty pass, and a part that shows the error."""

    case: Case
    left: Runner
    right: Runner
    arrays: dict[str, np.ndarray]
    tolerance: float
    expected: Sequence[np.ndarray]

    def complete(self, report: VerifyReport, bisect: bool, extract: Path | None) -> VerifyReport:
        """The report with all that can be found."""
        notes: list[str] = []
        reference = self._reference(notes)
        if reference is None:
            return replace(report, notes=tuple(notes))
        probes: tuple[Probe, ...] = ()
        if bisect and isinstance(self.right, PlanRunner):
            steps, runs = bisect_steps(reference, self.right, self.arrays, self.tolerance)
            probes = tuple(runs)
        else:
            steps = compare_steps(reference, self.right, self.arrays, self.tolerance, bool(report.nonfinite))
        culprit = None if report.ok else self._culprit(reference, notes)
        report = replace(
            report,
            first_wrong=None if report.ok else steps.first_wrong,
            compared_steps=steps.compared,
            steps=len(self.right.plan.steps) if isinstance(self.right, PlanRunner) else steps.steps,
            culprit=culprit,
            layers=tuple(steps.layers),
            probes=probes,
        )
        if extract is not None and not report.ok:
            extraction = self._extract(report, steps, reference, extract, notes)
            report = replace(report, extraction=extraction)
        return replace(report, notes=tuple(notes))

    def _reference(self, notes: list[str]) -> Runner | None:
        """Who has the right values of single steps: the left side, else the imported model."""
        if isinstance(self.left, SourceRunner) and not self.left.is_open:
            try:
                return self.case.stages.runner("load", "the imported model")
            except TiercastError as error:
                notes.append(f"no steps are compared: the model can't be imported again: {error}")
                return None
        return self.left

    def _culprit(self, reference: Runner, notes: list[str]) -> Culprit | None:
        if not self.case.has_model or self.case.right.portable:
            return None
        try:
            way = stations(self.case.left, self.case.right)
            place = (self.case.right.target or self.case.target, self.case.right.cpu)
            return find_culprit(
                way, self.expected, self.case.stages, reference, self.arrays, self.tolerance, place
            )
        except TiercastError as error:
            notes.append(f"no pass is named: {error}")
            return None

    def _extract(
        self,
        report: VerifyReport,
        steps: StepComparison,
        reference: Runner,
        folder: Path,
        notes: list[str],
    ) -> Extraction | None:
        culprit = report.culprit
        wrong = (culprit.first_wrong if culprit is not None else None) or report.first_wrong
        if wrong is None:
            notes.append("nothing is extracted: no single step is wrong")
            return None
        options = {
            "tolerance": self.tolerance,
            "target": self.case.right.target or self.case.target,
            "cpu": self.case.right.cpu,
            "precision": self.case.precision,
        }
        request = Request(
            folder, wrong.source, wrong.index, steps.right, self.arrays, self.tolerance, options
        )
        try:
            return self._extracted(request, culprit, reference)
        except TiercastError as error:
            notes.append(f"nothing is extracted: {error}")
            return None

    def _extracted(self, request: Request, culprit: Culprit | None, reference: Runner) -> Extraction:
        if culprit is not None and culprit.kind == "import":
            raise UsageError("the error is in the import, and the framework's own model can't be cut here")

        def again(
            left: str, right: str, inputs: Mapping[str, np.ndarray], tolerance: float, **options: Any
        ) -> VerifyReport:
            return _verify_part(self.case.custom, left, right, inputs, tolerance, **options)

        graph = self.case.stages.imported() if self.case.has_model else None
        in_file = culprit is None or culprit.kind == "file"
        if isinstance(self.right, PlanRunner) and self.case.right.is_package and in_file:
            return extract_package(request, graph, reference, self.right, again)
        if graph is None:
            raise UsageError("there is no model to cut, and the right side is no package")
        named = culprit.name if culprit is not None and culprit.kind == "pass" else None
        return extract_model(request, graph, part_suffix(self.case.right, named), again)


def _output_parity(
    name: str, got: np.ndarray, expected: np.ndarray, tolerance: float, quantized: bool
) -> OutputParity:
    found = difference(got, expected)
    return OutputParity(
        name, str(got.dtype), got.shape, found, agree(found, got, expected, tolerance, quantized)
    )


__all__ = ["PORTABLE", "complete_inputs", "verify"]
