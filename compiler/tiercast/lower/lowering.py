"""Lowers a physical graph for a target: kernel calls, and a tensor of the plan for every value."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.lower.arena import Lifetime, plan_arena
from tiercast.lower.calls import KEPT, KEPT_WIDER, GraphLowering, dtype_name
from tiercast.lower.plan import NUMPY_DTYPES, Plan, Port, Step, Tensor, WeightsSegment
from tiercast.lower.storage import Storage, StoragePlan, is_dense, place_values
from tiercast.ops.copy import copy_view
from tiercast.ops.lowering import Const, KernelCall, Operand, Prepared, View
from tiercast.ops.registry import DOMAIN, dense_strides, dtype, op_of, shape, where
from tiercast.target import Target
from tiercast.text import shape_text
from tiercast.tuning import Decisions

_MOST_AXES = 8  # of the runtime's tensors (runtime/src/verify.cc)


def lower_graph(
    model: ir.Model,
    target: Target,
    prefer: str | None = None,
    decisions: Decisions | None = None,
    stored: str = "f32",
    weights: WeightsSegment | None = None,
) -> Plan:
    """Lowers a physical model to a plan for `target` (its `has` decides the rows).

    decisions: what decides between algorithms; by default predictions alone. stored, one of STORED: constants
    that bear it are kept narrower and widened when a session opens, with "f16" all large ones, with "s8" or
    "s4" weights in 8 or 4 bits, or in f16 where their packing has no columns; the plan's facts name what does
    not. weights: a segment for the constants, shared with other plans; the plan's own `weights` then stay
    empty.

    Raises GraphError where a node can't be lowered, naming the node and the rule.
    """
    storage = place_values(model.graph)
    low = GraphLowering(decisions or Decisions(target), storage, prefer, stored, weights)
    for node in model.graph:
        low.lower(node)
    plan = _Planner(model.graph, storage, low, target).plan()
    if weights is None:
        plan.weights = low.weights.whole()
    plan.facts |= {f"{KEPT}{index}": text for index, text in enumerate(low.kept_f32)}
    plan.facts |= {f"{KEPT_WIDER}{index}": text for index, text in enumerate(low.kept_wider)}
    return plan


class _Planner:
    """Turns calls and storage into the plan's tensors: places, lifetimes, offsets."""

    def __init__(self, graph: ir.Graph, storage: StoragePlan, low: GraphLowering, target: Target) -> None:
        self._graph = graph
        self._storage = storage
        self._low = low
        self._plan = Plan(target.name, cores=target.cores, max_threads=target.max_threads)
        self._tensors: dict[Tensor, int] = {}
        self._places: dict[ir.Value, tuple[str, int, int]] = {}  # root -> place, index, byte offset

    def plan(self) -> Plan:
        self._place_ports()
        self._place_constants()
        self._place_arena()
        self._plan.prepare = [self._step(call) for call in self._low.prepare_calls]
        self._plan.prepared_bytes = self._low.prepared_bytes
        self._plan.steps = [self._step(call) for call in self._low.calls]
        return self._plan

    def _place_ports(self) -> None:
        for index, value in enumerate(self._graph.inputs):
            self._plan.inputs.append(
                Port(value.name or "", dtype_name(value), _few_axes(value, shape(value)))
            )
            self._places[value] = ("input", index, 0)
        for index, value in enumerate(self._graph.outputs):
            name = value.metadata_props.get("port", value.name or "")
            self._plan.outputs.append(Port(name, dtype_name(value), _few_axes(value, shape(value))))
            if 0 in shape(value):
                continue  # there is nothing to write
            at = self._storage.of[value]
            if _owns_whole_root(value, at) and at.root not in self._places and at.root.const_value is None:
                self._places[at.root] = ("output", index, 0)
            else:
                self._copy_output(value, index)

    def _copy_output(self, value: ir.Value, index: int) -> None:
        # An input, a constant, a window or a value that is two outputs: the caller's buffer gets a copy.
        port = ir.Value(name=f"{value.name}/output", shape=value.shape, type=value.type)
        self._storage.of[port] = Storage(port, 0, dense_strides(shape(value)))
        self._places[port] = ("output", index, 0)
        node = value.producer() or ir.Node(DOMAIN, "Copy", [value], name=f"{value.name}/output")
        copy_view(self._low, node, self._low.window(value), self._low.window(port))

    def _place_constants(self) -> None:
        for value in self._graph.initializers.values():
            used = any(self._root(operand) is value for call in self._low.calls for operand in call.inputs)
            if used and value.const_value is not None:
                self._places[value] = ("weights", 0, self._low.weights.add(value.const_value.numpy()))

    def _place_arena(self) -> None:
        spans: dict[ir.Value, tuple[int, int]] = {}
        for number, call in enumerate(self._low.calls):
            for operand in (*call.inputs, *call.outputs):
                root = self._root(operand)
                if root is not None and root not in self._places:
                    first, _ = spans.get(root, (number, number))
                    spans[root] = (first, number)
        owners = self._share_in_place(spans)
        lifetimes = [Lifetime(_bytes(root), first, last) for root, (first, last) in spans.items()]
        offsets, self._plan.arena_bytes = plan_arena(lifetimes)
        for root, offset in zip(spans, offsets, strict=True):
            self._places[root] = ("arena", 0, offset)
        for root, owner in owners.items():
            self._places[root] = self._places[owner]

    def _share_in_place(self, spans: dict[ir.Value, tuple[int, int]]) -> dict[ir.Value, ir.Value]:
        """Output buffers of in-place ops that take over an input's dying buffer.

        Root -> the buffer's first owner.
        """
        owners: dict[ir.Value, ir.Value] = {}
        for number, call in enumerate(self._low.calls):
            out = call.outputs[0]
            dying = self._dying_input(number, call, spans, owners) if isinstance(out, ir.Value) else None
            if dying is not None:
                root = self._root(out)
                assert root is not None
                owner = owners.get(dying, dying)
                spans[owner] = (spans[owner][0], spans.pop(root)[1])
                owners[root] = owner
        return owners

    def _dying_input(
        self,
        number: int,
        call: KernelCall,
        spans: Mapping[ir.Value, tuple[int, int]],
        owners: Mapping[ir.Value, ir.Value],
    ) -> ir.Value | None:
        out = call.outputs[0]
        if (
            not isinstance(out, ir.Value)
            or not op_of(call.node).in_place
            or out not in spans
            or len(call.outputs) != 1
        ):
            return None
        roots = [self._root(operand) for operand in call.inputs]
        buffers = [owners.get(root, root) for root in roots if root is not None]
        for operand, root in zip(call.inputs, roots, strict=True):
            if (
                not isinstance(operand, ir.Value)
                or operand is not root
                or buffers.count(owners.get(root, root)) != 1
            ):
                continue
            owner = owners.get(root, root)
            same = shape(root) == shape(out) and dtype(root) == dtype(out) and shape(owner) == shape(out)
            if same and owner in spans and spans[owner][1] == number:
                return root
        return None

    def _root(self, operand: Operand) -> ir.Value | None:
        if operand is None or isinstance(operand, (Const, Prepared)):
            return None
        return self._storage.of[operand.value if isinstance(operand, View) else operand].root

    def _step(self, call: KernelCall) -> Step:
        return Step(
            name=call.node.name or "",
            op=call.choice.row.op,
            kernel=call.choice.row.name,
            refused=call.choice.refused,
            better=call.choice.better,
            inputs=tuple(self._tensor(operand) for operand in call.inputs),
            outputs=tuple(self._tensor(operand) for operand in call.outputs),
            params=call.params,
            scratch_bytes=call.scratch_bytes,
            macs=call.macs,
        )

    def _tensor(self, operand: Operand) -> int:
        if operand is None:
            return -1
        if isinstance(operand, Const):
            return self._intern(self._low.constants[operand.index])
        if isinstance(operand, Prepared):
            return self._intern(self._low.prepared[operand.index])
        if isinstance(operand, View):
            return self._value_tensor(operand.value, operand)
        window = self._low.window(operand)
        return self._value_tensor(window.value, window, operand)

    def _value_tensor(self, owner: ir.Value, window: View, whole: ir.Value | None = None) -> int:
        at = self._storage.of[owner]
        place, index, base = self._places[at.root]
        kind = dtype_name(at.root)
        offset = base + (at.offset + window.offset) * NUMPY_DTYPES[kind].itemsize
        source = whole.metadata_props.get("source", "") if whole is not None else ""
        perm = whole.metadata_props.get("perm", "") if whole is not None else ""
        order = tuple(int(axis) for axis in perm.split(",")) if perm else ()
        name = (whole or at.root).name or ""
        return self._intern(
            Tensor(
                name, kind, _few_axes(owner, window.dims), window.strides, place, offset, index, source, order
            )
        )

    def _intern(self, tensor: Tensor) -> int:
        if tensor not in self._tensors:
            self._tensors[tensor] = len(self._plan.tensors)
            self._plan.tensors.append(tensor)
        return self._tensors[tensor]


def _owns_whole_root(value: ir.Value, at: Storage) -> bool:
    same_size = math.prod(shape(value)) == math.prod(shape(at.root))
    return at.offset == 0 and same_size and is_dense(shape(value), at.strides)


def _bytes(value: ir.Value) -> int:
    return math.prod(shape(value)) * NUMPY_DTYPES[dtype_name(value)].itemsize


def refusals(model: ir.Model) -> list[str]:
    """Why each split, concat or reshape of a physical model could not be done in place."""
    plan = place_values(model.graph)
    return [
        f"{where(node)} input {index}: copied since {reason}" for (node, index), reason in plan.copies.items()
    ]


def _few_axes(value: ir.Value, dims: tuple[int, ...]) -> tuple[int, ...]:
    """The dims; GraphError where they are more than a package's tensors may have."""
    if len(dims) > _MOST_AXES:
        raise GraphError(
            f"value {value.name!r}: {shape_text(dims)} has {len(dims)} axes, and the runtime's tensors have "
            f"at most {_MOST_AXES}; join neighbouring axes with a Reshape"
        )
    return dims
