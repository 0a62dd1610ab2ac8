"""Running a side: its outputs, and what each of its steps makes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from tiercast.errors import TiercastError, UsageError
from tiercast.frontend import intermediates, reference
from tiercast.ir.report import name_of
from tiercast.lower.calls import dtype_name
from tiercast.lower.plan import NUMPY_DTYPES, Plan, Port
from tiercast.ops.registry import shape
from tiercast.package.file import encode
from tiercast.parity.difference import TOLERANCES, allowed_difference

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Tap:
    """What one step made.

    index, step, op, kernel: the step. name: the model's value that it holds, "" for none. array: as it lies
    in memory, transpose(value, perm). reads: names and shapes of the computed values that the step reads.
    """

    index: int
    step: str
    op: str
    kernel: str
    name: str
    array: np.ndarray
    perm: tuple[int, ...] = ()
    reads: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Runner(Protocol):
    """One side, ready to run.

    label: as one writes it; judge: whose arithmetic it is; tolerance: what its outputs may
    differ by, relative to their largest value; quantized: whether its s8 and u8 are judged by steps.
    """

    label: str
    judge: str
    tolerance: float
    quantized: bool

    def run(self, arrays: Arrays) -> list[np.ndarray]:
        """The outputs in order."""

    def taps(self, arrays: Arrays, wanted: Collection[str] | None = None) -> list[Tap]:
        """What each step makes, in order; of values with a name only `wanted` ones where that saves work.

        Empty where the side can't be looked into.
        """


class SourceRunner:
    """A model in its own framework."""

    tolerance = TOLERANCES["f32"]
    quantized = False

    def __init__(self, source: Any, label: str) -> None:
        self.label = label
        self.judge, self._run = reference(source)
        self._source = source

    def run(self, arrays: Arrays) -> list[np.ndarray]:
        """The framework's outputs; UsageError when it can't run the model on these inputs."""
        try:
            return self._run(arrays)
        except TiercastError:
            raise
        except Exception as error:  # whatever the judge says of inputs that are not this model's
            raise UsageError(
                f"{self.judge} can't run the model on the inputs {', '.join(arrays)}: {error}; "
                "is it the model of this package?"
            ) from error

    @cached_property
    def _values(self) -> Callable[[Arrays], dict[str, np.ndarray]] | None:
        return intermediates(self._source)

    @property
    def is_open(self) -> bool:
        """Whether the framework hands out what lies between inputs and outputs."""
        return self._values is not None

    def taps(self, arrays: Arrays, wanted: Collection[str] | None = None) -> list[Tap]:
        """The framework's own intermediate values; none where it is not open."""
        values = self._values
        if values is None:
            return []
        found = values(arrays)
        return [
            Tap(index, name, "", self.judge, name, array)
            for index, (name, array) in enumerate(found.items())
            if wanted is None or name in wanted
        ]


class GraphRunner:
    """An ONNX stage of the compiler, run by onnxruntime without optimisations."""

    judge = "onnxruntime, optimisations off"
    tolerance = TOLERANCES["f32"]
    quantized = False

    def __init__(self, model: ir.Model, label: str) -> None:
        self.model, self.label = model, label

    @property
    def ports(self) -> list[Port]:
        """The graph's inputs."""
        return [Port(value.name or "", dtype_name(value), shape(value)) for value in self.model.graph.inputs]

    def run(self, arrays: Arrays) -> list[np.ndarray]:
        """The graph's outputs."""
        return reference(self.model)[1]({port.name: arrays[port.name] for port in self.ports})

    def taps(self, arrays: Arrays, wanted: Collection[str] | None = None) -> list[Tap]:
        """The results of all nodes, or the wanted ones."""
        probe = ir.Model(self.model.graph.clone(), ir_version=self.model.ir_version)
        known = set(probe.graph.outputs)
        makers = {}
        for index, node in enumerate(probe.graph):
            for value in node.outputs:
                if value.name and (wanted is None or value.name in wanted):
                    makers[value.name] = (index, node)
                    if value not in known:
                        probe.graph.outputs.append(value)
        names = [value.name or "" for value in probe.graph.outputs]
        results = reference(probe)[1]({port.name: arrays[port.name] for port in self.ports})
        found = dict(zip(names, results, strict=True))
        return [_node_tap(index, node, name, found[name]) for name, (index, node) in makers.items()]


class PlanRunner:
    """A package, or the plan of a physical stage; on this machine or on a target's runtime.

    plan: runs alone, see `cut.standalone`. file: the package that holds it and the number of its bucket; by
    default one is written for it, by `write` where it needs more than itself.
    """

    def __init__(
        self,
        plan: Plan,
        label: str,
        target: str,
        cpu: str | None = None,
        portable: bool = False,
        file: tuple[Path, int] | None = None,
        write: Callable[[Path], Path] | None = None,
    ) -> None:
        self.plan, self.label, self.target, self.cpu = plan, label, target, cpu
        self.tolerance = allowed_difference(plan.facts)
        self.quantized = "integers" in plan.facts
        self.judge = label
        self._portable = portable
        self._folder = tempfile.TemporaryDirectory(prefix="tiercast-side-")
        if file is None:
            path = Path(self._folder.name) / "side.tcpkg"
            if write is None:
                path.write_bytes(encode(plan))  # gone in a moment: no need to wait for the disk
            file = path if write is None else write(path), 0
        self._path, self._bucket = file

    @property
    def ports(self) -> list[Port]:
        """The plan's inputs."""
        return self.plan.inputs

    def run(self, arrays: Arrays) -> list[np.ndarray]:
        """The package's outputs."""
        given = self._inputs(arrays)
        if self._here:
            found = self._session().run(given)
        else:
            from tiercast.rig import run_on_target

            found = run_on_target(self._path, given, self.target, self.cpu)
        return [found[port.name] for port in self.plan.outputs]

    def taps(self, arrays: Arrays, wanted: Collection[str] | None = None) -> list[Tap]:
        """What every step makes."""
        del wanted
        given = self._inputs(arrays)
        made = self._session().run_tapped(given)[1] if self._here else self._run_tool(given)
        found = []
        for number, (step, arrays_made) in enumerate(zip(self.plan.steps, made, strict=True)):
            operands = [self.plan.tensors[index] for index in step.inputs if index >= 0]
            reads = tuple(
                (item.source or item.name, item.dims)
                for item in operands
                if item.place not in ("weights", "prepared")
            )
            for index, array in zip(step.outputs, arrays_made, strict=True):
                tensor = self.plan.tensors[index]
                shaped = array.reshape(tensor.dims)
                found.append(
                    Tap(number, step.name, step.op, step.kernel, tensor.source, shaped, tensor.perm, reads)
                )
        return found

    def part(self, plan: Plan) -> PlanRunner:
        """Another plan at the same place."""
        return PlanRunner(plan, self.label, self.target, self.cpu, self._portable)

    @property
    def _here(self) -> bool:
        return self._portable or (self.target == "host" and self.cpu is None)

    def _session(self) -> Any:
        from tiercast.session import Session

        return Session(self._path, features=[] if self._portable else None)

    def _inputs(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The arrays for the plan's inputs; reals in the precision of each."""
        given = {}
        for port in self.plan.inputs:
            array = np.asarray(arrays[port.name])
            kind = NUMPY_DTYPES[port.dtype]
            given[port.name] = array.astype(kind) if {array.dtype.kind, kind.kind} == {"f"} else array
        return given

    def _run_tool(self, arrays: Arrays) -> list[list[np.ndarray]]:
        from tiercast.rig import run_tool

        plan = self.plan
        with tempfile.TemporaryDirectory(prefix="tiercast-taps-") as name:
            folder = Path(name)
            command = ["--bucket", str(self._bucket), "--taps", str(folder)]
            for index, port in enumerate(plan.inputs):
                np.ascontiguousarray(arrays[port.name]).tofile(folder / f"in-{index}.raw")
                command += ["--input", f"{port.name}={folder / f'in-{index}.raw'}"]
            run_tool(self.target, self._path, command, self.cpu)
            return [
                [
                    np.fromfile(folder / f"{number}_{slot}.bin", NUMPY_DTYPES[plan.tensors[index].dtype])
                    for slot, index in enumerate(step.outputs)
                ]
                for number, step in enumerate(plan.steps)
            ]


def output_names(runner: Runner, count: int) -> Sequence[str]:
    """Names of a side's outputs, numbers where it has none."""
    if isinstance(runner, PlanRunner):
        return [port.name for port in runner.plan.outputs]
    if isinstance(runner, GraphRunner):
        return [value.name or "" for value in runner.model.graph.outputs]
    return [str(index) for index in range(count)]


def _node_tap(index: int, node: ir.Node, name: str, array: np.ndarray) -> Tap:
    reads = tuple(
        (value.name or "", shape(value))
        for value in node.inputs
        if value is not None and value.const_value is None
    )
    return Tap(index, name_of(node), node.op_type, "onnxruntime", name, array, (), reads)
