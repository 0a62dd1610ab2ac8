"""The smallest part that still shows an error, written out with its inputs and the command to run."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.lower.plan import Plan
from tiercast.package.file import encode, write_atomically
from tiercast.parity.cut import cut_graph, cut_plan, needed_before
from tiercast.parity.report import Extraction, VerifyReport
from tiercast.parity.runner import Arrays, GraphRunner, PlanRunner, Runner
from tiercast.parity.side import PACKAGE, Side

_MOST_GROWTHS = 12
Verify = Callable[..., VerifyReport]


@dataclass(frozen=True)
class Request:
    """What to cut out: the wrong value of the wrong step, with all that is needed to run the part again.

    right_names: values that are right, where a part may begin. options: of `verify`, for the part too.
    """

    folder: Path
    wrong: str
    step: int
    right_names: Collection[str]
    arrays: Arrays
    tolerance: float
    options: Mapping[str, Any]


def extract_model(request: Request, graph: ir.Model, suffix: str, verify: Verify) -> Extraction:
    """Writes part.onnx (the nodes around the wrong value, weights included) and inputs.npz, and verifies
    them.

    graph: the imported model. suffix: of the part as a right side ("@fuse_gate"). A part that does not show
    the error grows towards the inputs of the model until it does, or is the whole model.
    """
    values = {tap.name: tap.array for tap in GraphRunner(graph, "model").taps(request.arrays)}
    known = set(request.right_names) & (set(values) | set(request.arrays))
    for _ in range(_MOST_GROWTHS):
        part = cut_graph(graph, [request.wrong], known)
        names = [value.name or "" for value in part.graph.inputs]
        made = _write(request, {"part.onnx": ir.to_proto(part).SerializeToString()}, names, values)
        report = verify(str(made[0]), f"{made[0]}{suffix}", _given(request, names, values), **request.options)
        if not report.ok or set(names) <= set(request.arrays):
            break
        known -= set(names)
    command = _command(f"{made[0]}", f"{made[0]}{suffix}", made[-1], request)
    return _told(request, made, command, report, len(list(part.graph)))


def extract_package(
    request: Request, graph: ir.Model | None, left: Runner, right: PlanRunner, verify: Verify
) -> Extraction:
    """Writes part.tcpkg, the wrong step with what makes its unnamed operands.

    Beside it lies what it is compared with: part.onnx, or reference.tcpkg of a left side that is a package.
    """
    plan = right.plan
    values = {tap.name: _logical(tap.array, tap.perm) for tap in left.taps(request.arrays) if tap.name}
    first = _first_step(plan, request.step, {*values, *request.arrays})
    wanted = [
        index for index in plan.steps[request.step].outputs if plan.tensors[index].source == request.wrong
    ]
    part = cut_plan(plan, first, request.step, wanted or plan.steps[request.step].outputs)
    names = [port.name for port in part.inputs]
    files = {"part.tcpkg": encode(part)}
    if graph is not None and wanted:
        model = cut_graph(graph, [request.wrong], names)
        names = list(dict.fromkeys([*names, *(value.name or "" for value in model.graph.inputs)]))
        files = {"part.onnx": ir.to_proto(model).SerializeToString(), **files}
    elif isinstance(left, PlanRunner):
        files = {"reference.tcpkg": _reference_part(left.plan, request, names), **files}
    made = _write(request, files, names, values)
    sides = (str(made[0]), str(made[1]))
    report = verify(*sides, _given(request, names, values), **request.options)
    return _told(request, made, _command(*sides, made[-1], request), report, request.step - first + 1)


def _reference_part(plan: Plan, request: Request, names: Sequence[str]) -> bytes:
    """The steps of a right package that make the wrong value from the part's inputs."""
    last, made = next(
        (number, index)
        for number, step in enumerate(plan.steps)
        for index in step.outputs
        if plan.tensors[index].source == request.wrong
    )
    first = last
    while first > 0 and not {plan.tensors[index].source for index in needed_before(plan, first, last)} <= set(
        names
    ):
        first -= 1
    return encode(cut_plan(plan, first, last, [made]))


def _first_step(plan: Plan, step: int, names: Collection[str]) -> int:
    """The last step from which on `step` reads nothing from before but named values and inputs."""
    first = step
    while first > 0:
        needed = [plan.tensors[index] for index in needed_before(plan, first, step)]
        if all(tensor.place == "input" or tensor.source in names for tensor in needed):
            break
        first -= 1
    return first


def _logical(array: np.ndarray, perm: Sequence[int]) -> np.ndarray:
    return np.transpose(array, np.argsort(perm)) if len(perm) == array.ndim else array


def _given(request: Request, names: Sequence[str], values: Arrays) -> dict[str, np.ndarray]:
    return {name: np.asarray(request.arrays.get(name, values.get(name))) for name in names}


def _write(request: Request, files: Mapping[str, bytes], names: Sequence[str], values: Arrays) -> list[Path]:
    packed = io.BytesIO()
    np.savez(packed, **_given(request, names, values))  # type: ignore[arg-type]
    every = {**files, "inputs.npz": packed.getvalue()}
    return [write_atomically(request.folder / name, data) for name, data in every.items()]


def _command(left: str, right: str, inputs: Path, request: Request) -> str:
    words = [
        "tiercast",
        "verify",
        left,
        right,
        "--input",
        str(inputs),
        "--tolerance",
        f"{request.tolerance:g}",
    ]
    for name in ("target", "cpu", "precision"):
        if request.options.get(name) is not None:
            words += [f"--{name}", str(request.options[name])]
    return shlex.join(words)


def _told(
    request: Request, made: Sequence[Path], command: str, report: VerifyReport, nodes: int
) -> Extraction:
    script = write_atomically(request.folder / "reproduce.sh", f"#!/bin/sh\n{command}\n".encode())
    return Extraction(
        tuple(str(path) for path in (*made, script)), command, not report.ok, report.max_rel_error, nodes
    )


def part_suffix(side: Side, culprit: str | None) -> str:
    """How the right side of an extracted model is written: the guilty pass, else the stage or the package."""
    return f"@{culprit or side.stage or PACKAGE}"
