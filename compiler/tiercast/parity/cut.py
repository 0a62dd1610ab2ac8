"""Parts that run alone: some steps of a plan as a package, some nodes of a graph as a model."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.kernel import families
from tiercast.lower.plan import ALIGNMENT_BYTES, NUMPY_DTYPES, Plan, Port, Step, Tensor, WeightsSegment
from tiercast.ops.registry import dense_strides


@dataclass(frozen=True)
class Extent:
    """Bytes of one place that a tensor's elements span."""

    place: tuple[str, int]
    begin: int
    end: int

    def overlaps(self, other: Extent) -> bool:
        """Whether the two share a byte."""
        return self.place == other.place and self.begin < other.end and other.begin < self.end


def extent(tensor: Tensor) -> Extent:
    """Where a tensor lies."""
    size = NUMPY_DTYPES[tensor.dtype].itemsize
    last = sum((dim - 1) * step for dim, step in zip(tensor.dims, tensor.strides, strict=True))
    index = tensor.index if tensor.place in ("input", "output") else 0
    return Extent((tensor.place, index), tensor.offset, tensor.offset + (last + 1) * size)


def standalone(plans: Sequence[Plan], bucket: int) -> Plan:
    """One bucket's plan with all that it needs of the others': constants that their prepare steps make."""
    plan = replace(plans[bucket], tensors=list(plans[bucket].tensors))
    if len(plans) == 1:
        return plan

    def moved(other: Plan, index: int) -> int:
        if index < 0:
            return index
        plan.tensors.append(other.tensors[index])
        return len(plan.tensors) - 1

    plan.prepare = [
        replace(
            step,
            inputs=tuple(moved(other, index) for index in step.inputs),
            outputs=tuple(moved(other, index) for index in step.outputs),
        )
        for other in plans
        for step in other.prepare
    ]
    return plan


def live_after(plan: Plan, step: int) -> list[int]:
    """Tensors made up to and with `step` that later steps read, or that are outputs of the plan, in order."""
    extents = [extent(tensor) for tensor in plan.tensors]
    made: dict[int, int] = {}
    for number in range(step + 1):
        fresh = plan.steps[number].outputs
        for old in [old for old in made if any(extents[old].overlaps(extents[new]) for new in fresh)]:
            del made[old]
        made.update(dict.fromkeys(fresh, number))
    return [index for index in made if _read_later(plan, extents, index, step)]


def _read_later(plan: Plan, extents: Sequence[Extent], index: int, step: int) -> bool:
    for later in plan.steps[step + 1 :]:
        if any(item >= 0 and extents[item].overlaps(extents[index]) for item in later.inputs):
            return True
        if any(extents[item].overlaps(extents[index]) for item in later.outputs):
            return False
    return plan.tensors[index].place == "output"


def needed_before(plan: Plan, first: int, last: int) -> list[int]:
    """Tensors that steps `first`..`last` read and that none of them made before, in order."""
    extents = [extent(tensor) for tensor in plan.tensors]
    made: list[int] = []
    found: dict[int, None] = {}
    for step in plan.steps[first : last + 1]:
        for index in step.inputs:
            if index < 0 or plan.tensors[index].place in ("weights", "prepared"):
                continue
            if not any(extents[item].overlaps(extents[index]) for item in made):
                found[index] = None
        made += step.outputs
    return list(found)


def cut_plan(plan: Plan, first: int, last: int, wanted: Sequence[int]) -> Plan:
    """Steps `first`..`last` as a plan: same kernels, same memory, but ports of its own.

    Inputs are what the steps read from outside, outputs the `wanted` tensors; both bear the names of the
    model's values that they hold, in the model's own order, where they hold one.
    """
    made = _Cut(plan)
    for index in needed_before(plan, first, last):
        made.feed(index)
    for step in plan.steps[first : last + 1]:
        made.keep(step)
    for index in wanted:
        made.give(index)
    return made.finish()


class _Cut:
    """Builds the part: old ports become memory behind the old arena, new ports are copied from and to."""

    def __init__(self, plan: Plan) -> None:
        self._old = plan
        self._new = Plan(plan.target, prepared_bytes=plan.prepared_bytes, facts=dict(plan.facts))
        self._new.arena_bytes = plan.arena_bytes
        self._ports: dict[tuple[str, int], int] = {}
        self._tensors: dict[Tensor, int] = {}
        self._weights = WeightsSegment()
        self._read: set[int] = set()

    def feed(self, index: int) -> None:
        """A new input for an old tensor; an old input stays whole."""
        old = self._old.tensors[index]
        if old.place == "input":
            self._feed_port(old.index)
            return
        port, view = self._port(index, "input", self._new.inputs)
        self._new.steps.append(_copy(f"feed/{port}", view, self._tensor(index)))

    def _feed_port(self, index: int) -> None:
        port = self._old.inputs[index]
        if port in self._new.inputs:
            return
        view = Tensor(
            port.name, port.dtype, port.dims, dense_strides(port.dims), "input", 0, len(self._new.inputs)
        )
        self._new.inputs.append(port)
        inside = replace(view, place="arena", offset=self._region(replace(view, index=index)), index=0)
        self._new.steps.append(_copy(f"feed/{port.name}", self._intern(view), self._intern(inside)))

    def give(self, index: int) -> None:
        """A new output from an old tensor."""
        port, view = self._port(index, "output", self._new.outputs)
        self._new.steps.append(_copy(f"give/{port}", self._tensor(index), view))

    def keep(self, step: Step) -> None:
        """An old step."""
        self._new.steps.append(self._moved(step))

    def finish(self) -> Plan:
        """The part, with the constants and preparations that it needs."""
        extents = [extent(tensor) for tensor in self._old.tensors]
        wanted = [extents[index] for index in self._read if self._old.tensors[index].place == "prepared"]
        prepare = []
        for step in reversed(self._old.prepare):
            if any(extents[index].overlaps(item) for index in step.outputs for item in wanted):
                wanted += [extents[index] for index in step.inputs if index >= 0]
                prepare.append(self._moved(step))
        self._new.prepare = prepare[::-1]
        self._new.weights = self._weights.whole()
        return self._new

    def _moved(self, step: Step) -> Step:
        self._read.update(index for index in step.inputs if index >= 0)
        return replace(
            step,
            inputs=tuple(-1 if index < 0 else self._tensor(index) for index in step.inputs),
            outputs=tuple(self._tensor(index) for index in step.outputs),
        )

    def _tensor(self, index: int) -> int:
        tensor = self._old.tensors[index]
        if tensor.place == "weights":
            tensor = replace(tensor, offset=self._constant(tensor))
        elif tensor.place in ("input", "output"):
            tensor = replace(tensor, place="arena", offset=self._region(tensor) + tensor.offset, index=0)
        return self._intern(tensor)

    def _constant(self, tensor: Tensor) -> int:
        at = extent(tensor)
        return self._weights.add(np.frombuffer(self._old.weights, np.uint8)[at.begin : at.end])

    def _region(self, tensor: Tensor) -> int:
        """Arena offset of an old port."""
        key = (tensor.place, tensor.index)
        if key not in self._ports:
            port = (self._old.inputs if tensor.place == "input" else self._old.outputs)[tensor.index]
            size = math.prod(port.dims) * NUMPY_DTYPES[port.dtype].itemsize
            self._ports[key] = self._new.arena_bytes
            self._new.arena_bytes += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        return self._ports[key]

    def _port(self, index: int, place: str, ports: list[Port]) -> tuple[str, int]:
        tensor = self._old.tensors[index]
        order = tensor.perm if len(tensor.perm) == len(tensor.dims) else tuple(range(len(tensor.dims)))
        dims = tuple(tensor.dims[order.index(axis)] for axis in range(len(order)))
        steps = dense_strides(dims)
        name = _free_name(tensor.source or tensor.name or f"tensor{index}", ports)
        view = Tensor(
            name, tensor.dtype, tensor.dims, tuple(steps[axis] for axis in order), place, 0, len(ports)
        )
        ports.append(Port(name, tensor.dtype, dims))
        return name, self._intern(view)

    def _intern(self, tensor: Tensor) -> int:
        if tensor not in self._tensors:
            self._tensors[tensor] = len(self._new.tensors)
            self._new.tensors.append(tensor)
        return self._tensors[tensor]


def _free_name(name: str, ports: Sequence[Port]) -> str:
    taken = {port.name for port in ports}
    return (
        name
        if name not in taken
        else next(text for count in range(len(taken)) if (text := f"{name}.{count}") not in taken)
    )


def _copy(name: str, source: int, made: int) -> Step:
    params = families()["copy"].pack_params({"rank": 0, "dims": [], "in_strides": [], "offset": 0})
    return Step(name, "copy_anyany", "copy_anyany_portable", (), (source,), (made,), params, 0, 0)


def cut_graph(model: ir.Model, outputs: Sequence[str], known: Collection[str]) -> ir.Model:
    """The nodes of an ONNX graph that compute `outputs` from `known` values, weights included, as a model.

    Walking back from the outputs stops at known values and at inputs of the graph; both become inputs.
    Raises GraphError when the graph has no such output.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    missing = [name for name in outputs if name not in values]
    if missing:
        raise GraphError(f"the graph has no computed value {', '.join(map(repr, missing))}")
    inputs: dict[ir.Value, None] = {}
    nodes: set[ir.Node] = set()
    open_values = [values[name] for name in outputs]
    while open_values:
        node = open_values.pop().producer()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        for value in node.inputs:
            if value is None or value.const_value is not None:
                continue
            if value.producer() is None or (value.name in known and value.name not in outputs):
                inputs[value] = None
            else:
                open_values.append(value)
    return _part(model, inputs, nodes, [values[name] for name in outputs])


def _part(
    model: ir.Model, inputs: Collection[ir.Value], nodes: Collection[ir.Node], outputs: Sequence[ir.Value]
) -> ir.Model:
    made: dict[ir.Value, ir.Value] = {}

    def copy(value: ir.Value | None) -> ir.Value | None:
        if value is None:
            return None
        if value not in made:
            made[value] = ir.Value(
                name=value.name, shape=value.shape, type=value.type, const_value=value.const_value
            )
        return made[value]

    ports = [copy(value) for value in inputs]
    kept = []
    for node in model.graph:
        if node in nodes:
            operands = [copy(value) for value in node.inputs]
            results = [copy(value) for value in node.outputs]
            attributes = list(node.attributes.values())
            kept.append(
                ir.Node(
                    node.domain,
                    node.op_type,
                    operands,
                    attributes,
                    outputs=[value for value in results if value is not None],
                    name=node.name,
                )
            )
    constants = [value for value in made.values() if value.const_value is not None]
    graph = ir.Graph(
        [port for port in ports if port is not None],
        [made[value] for value in outputs],
        nodes=kept,
        initializers=constants,
        opset_imports=dict(model.graph.opset_imports),
        name="part",
    )
    return ir.Model(graph, ir_version=model.ir_version)
