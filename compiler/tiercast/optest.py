"""Tests of a user's own ops: every kernel row on every sample of its kernels.toml, against the op's numpy
`reference`, on this machine or under a target's emulator.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tiercast.codegen.library import compile_host_library, render_families
from tiercast.custom import custom_ops
from tiercast.errors import GraphError, TiercastError, UsageError
from tiercast.extras import Extras, folder_beside, write_extras
from tiercast.kernel import Case, KernelFamily, Row
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.lower.windows import windowed_model
from tiercast.ops.registry import Op, const, op_of, ops
from tiercast.package.file import write_package
from tiercast.parity import Difference, difference
from tiercast.pipeline import resolve
from tiercast.target import Target

# Largest |got - reference| / max |reference| of a sample, by the row's element type; integers are equal.
TOLERANCES = {"f32": 1e-5, "f16": 3e-2}


@dataclass(frozen=True)
class SampleResult:
    """A row on a sample. difference: the largest of its outputs; None where it did not run, as `note` says.

    ok: it ran and is within the tolerance, or it rightly did not run (a shape the op gives to other rows, a
    feature this CPU lacks).
    """

    row: str
    sample: str
    difference: Difference | None
    note: str
    ok: bool


def run_samples(
    folders: Sequence[Path],
    target: str = "host",
    cpu: str | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> list[SampleResult]:
    """Every row of the folders' kernels, on every sample; in windows too where the op takes strides.

    Raises UsageError where a family has no sample or the folders hold no kernels, and what rendering and
    compiling the kernels raises.
    """
    chosen = resolve(target)
    with custom_ops(folders) as custom, tempfile.TemporaryDirectory(prefix="tiercast-ops-") as name:
        families = [family for item in custom for family in item.families.values()]
        if not families:
            raise UsageError(f"{', '.join(map(str, folders))}: there is no kernels/<op>/kernels.toml")
        for family in families:
            if not family.samples:
                raise UsageError(
                    f"{family.folder / 'kernels.toml'}: no [[sample]], so nothing tests its rows"
                )
        say(f"building the kernels for {target}")
        extras = render_families(chosen, families)
        shared = _place(extras, chosen, Path(name))
        found: list[SampleResult] = []
        for family in families:
            for row in (row for row in family.rows if row.isa in chosen.isas):
                say(row.name)
                found += _run_row(family, row, chosen, cpu, extras, shared)
        return found


def _place(extras: Extras, target: Target, folder: Path) -> Path:
    """The library's folder, which the packages of all samples share."""
    shared = folder / "all.kernels"
    if target.toolchain is None:
        return write_extras(extras, shared, compile_host_library(extras, folder / "build"))
    return write_extras(extras, shared)


def _run_row(
    family: KernelFamily, row: Row, target: Target, cpu: str | None, extras: Extras, shared: Path
) -> Iterator[SampleResult]:
    if target.toolchain is None and row.needs - target.has:
        lacks = ", ".join(sorted(row.needs - target.has))
        yield SampleResult(row.name, "", None, f"not run: this CPU lacks {lacks}", True)
        return
    reached = False
    for number, case in enumerate(family.samples):
        op = _op(case)
        for windows in (False, True) if op.strided_inputs or op.strided_outputs else (False,):
            result = _run_sample(row, number, case, windows, target, cpu, extras, shared)
            reached |= result.difference is not None or not result.ok
            yield result
    if not reached:
        note = f"no sample of {family.folder / 'kernels.toml'} reaches it; add one"
        yield SampleResult(row.name, "", None, note, False)


def _run_sample(
    row: Row,
    number: int,
    case: Case,
    windows: bool,
    target: Target,
    cpu: str | None,
    extras: Extras,
    shared: Path,
) -> SampleResult:
    name = f"sample {number} ({', '.join(case.inputs)}{', in windows' if windows else ''})"
    model, arrays = case_model(case, half=row.in_dtype == "f16")
    wanted = _reference(model, arrays)
    if windows:
        model, arrays = windowed_model(case, model, arrays)
    try:
        plan = lower_graph(model, dataclasses.replace(target, has=row.needs), prefer=row.name)
    except UsageError as error:
        return SampleResult(row.name, name, None, f"refused: {error}", "was refused" in str(error))
    called = [step.kernel for step in (*plan.prepare, *plan.steps)]
    if row.name not in called:
        return SampleResult(row.name, name, None, "its op takes other rows here", True)
    plan.facts |= extras.facts(called)
    package = write_package(plan, shared.parent / f"{row.name}-{number}{'-w' if windows else ''}.tcpkg")
    folder_beside(package).symlink_to(shared)
    try:
        got = _run(package, arrays, target, cpu, row)
    except TiercastError as error:
        return SampleResult(row.name, name, None, str(error), False)
    worst = max(
        (
            _compare(item, want, arrays, slot)
            for slot, (item, want) in enumerate(zip(got, wanted, strict=True))
        ),
        key=lambda item: (item.nonfinite, item.max_rel_error),
    )
    tolerance = TOLERANCES.get(row.out_dtype, 0.0)
    ok = worst.within(tolerance)
    return SampleResult(row.name, name, worst, "" if ok else f"more than {tolerance:g}", ok)


def _op(case: Case) -> Op:
    found = ops().get(case.op)
    if found is None:
        raise UsageError(f"kernels.toml: a sample names the op {case.op!r}, which no file defines")
    return found


def _run(
    package: Path, arrays: dict[str, np.ndarray], target: Target, cpu: str | None, row: Row
) -> list[np.ndarray]:
    if target.toolchain is None:
        from tiercast.session import Session

        session = Session(package, features=sorted(row.needs))
        bound = [step["kernel"] for step in (*session.prepare_steps, *session.steps)]
        if row.name not in bound:
            raise GraphError(f"{row.name} was not bound: its check refused the call; bound instead: {bound}")
        return list(session.run(arrays).values())
    from tiercast.rig import bound_kernels, run_on_target

    bound = [step["kernel"] for step in bound_kernels(package, target.name, cpu)]
    if row.name not in bound and not row.needs - target.has:
        raise GraphError(f"{row.name} was not bound: its check refused the call; bound instead: {bound}")
    return list(run_on_target(package, arrays, target.name, cpu).values())


def _reference(model: ir.Model, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    (node,) = model.graph
    operands = [
        None if value is None else const(value) if value.const_value is not None else arrays[str(value.name)]
        for value in node.inputs
    ]
    op = op_of(node)
    results = [np.asarray(array) for array in op.reference(node, *operands)]
    for (kind, dims), array in zip(op.infer(node), results, strict=True):
        if (kind.numpy(), dims) != (array.dtype, array.shape):
            raise GraphError(
                f"{op.name}: its numpy reference gives {array.dtype} {array.shape}, infer says {kind} {dims}"
            )
    return results


def _compare(got: np.ndarray, want: np.ndarray, arrays: dict[str, np.ndarray], slot: int) -> Difference:
    beside = arrays.get(f"beside{slot}")
    if beside is None:
        return difference(got, want)
    if not np.array_equal(got[..., : beside.shape[-1]], beside):
        return Difference(float("inf"), float("inf"), got.size)
    return difference(got[..., beside.shape[-1] :], want)
