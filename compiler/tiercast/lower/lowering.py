"""Lowers a physical graph for a target: every node to kernel calls, every value to a tensor of the plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.dtypes import NAMES
from tiercast.kernel import Choice, Row, choose, families, rows_of
from tiercast.lower.arena import Lifetime, plan_arena
from tiercast.lower.narrow_weights import NarrowWeight, narrow_weight
from tiercast.lower.plan import ALIGNMENT_BYTES, NUMPY_DTYPES, Plan, Port, Step, Tensor, WeightsSegment
from tiercast.lower.storage import FREE_OPS, Storage, StoragePlan, is_dense, place_values
from tiercast.ops.copy import copy_view
from tiercast.ops.lowering import Const, KernelCall, Operand, Prepared, View
from tiercast.ops.panels import Panels
from tiercast.ops.registry import DOMAIN, dense_strides, dtype, op_of, shape, shape_key, where
from tiercast.passes.choose_precision import half_constant
from tiercast.target import Target
from tiercast.text import shape_text
from tiercast.tuning import Decisions

_MOST_AXES = 8  # of the runtime's tensors (runtime/src/verify.cc)
_SMALLEST_HALF = 256  # elements: smaller constants stay f32, they save nothing
STORED = ("f32", "f16", "s8", "s4")
KEPT = "kept f32 "  # how the facts of a plan that name constants kept in f32 begin
KEPT_WIDER = "kept wider "  # and those that name weights kept in more bits than asked for


def dtype_name(value: ir.Value) -> str:
    """Our name of a value's element type; GraphError for one the runtime does not hold."""
    kind = dtype(value)
    if kind not in NAMES:
        raise GraphError(
            f"value {value.name!r} has element type {kind}; the runtime holds {', '.join(NAMES.values())}"
        )
    return NAMES[kind]


class GraphLowering:
    """Implements `ops.lowering.Lowering` for one graph and one target.

    prefer: row name -> used instead of the merit order wherever that row serves the op (tests and benchmarks
    of one row). stored: how weights are kept, one of STORED; `kept_f32` and `kept_wider` say which are not
    and why.
    """

    def __init__(
        self,
        decisions: Decisions,
        storage: StoragePlan,
        prefer: str | None = None,
        stored: str = "f32",
        weights: WeightsSegment | None = None,
    ) -> None:
        self.kept_f32: list[str] = []
        self.kept_wider: list[str] = []
        self._stored = stored
        self.calls: list[KernelCall] = []
        self.constants: list[Tensor] = []
        self.prepare_calls: list[KernelCall] = []
        self.prepared: list[Tensor] = []
        self.prepared_bytes = 0
        self.weights = weights if weights is not None else WeightsSegment()
        self._decisions = decisions
        self._storage = storage
        self._prefer = prefer
        self._choices: dict[str, Choice] = {}
        self._node: ir.Node | None = None  # being lowered

    def choose(self, op: str, accept: Callable[[Row], str | None] | None = None) -> Row:
        """See `Lowering.choose`."""
        has = self._decisions.target.has
        preferred = self._only_preferred(op, accept)
        choice = choose(op, has, preferred)
        fastest = self._fastest_row(op, choice.row, preferred)
        if fastest != choice.row.name:
            choice = choose(op, has, lambda row: None if row.name == fastest else f"{fastest} is faster here")
        self._choices[choice.row.name] = choice
        return choice.row

    def decide(self, key: str, candidates: Mapping[str, float]) -> str:
        """See `Lowering.decide`; the op of the preferred row goes before all."""
        preferred = next((op for op in candidates if self._rows_preferred(op)), None)
        return preferred or self._decisions.decide(key, candidates, self._computed)

    def const(self, array: np.ndarray, label: str, exact: bool = False) -> Const | Prepared:
        """See `Lowering.const`."""
        if self._stored == "f16" and not exact:
            return self._as_half(array, label)
        return self._as_it_is(array, label)

    def _as_half(self, array: np.ndarray, label: str) -> Const | Prepared:
        """In f16 where that saves something and the array bears it."""
        if array.dtype == np.float32 and array.size >= _SMALLEST_HALF:
            reason = half_constant(array)
            if reason is None:
                return self._widened(array, label)
            self._keep(array, label, reason)
        return self._as_it_is(array, label)

    def _as_it_is(self, array: np.ndarray, label: str) -> Const:
        kind = NAMES[ir.DataType.from_numpy(array.dtype)]
        strides, offset = dense_strides(array.shape), self.weights.add(array)
        self.constants.append(Tensor(label, kind, array.shape, strides, "weights", offset))
        return Const(len(self.constants) - 1)

    def weight(
        self,
        matrix: np.ndarray,
        label: str,
        panels: Panels | None = None,
        dims: Sequence[int] | None = None,
    ) -> Const | Prepared:
        """See `Lowering.weight`."""
        if matrix.dtype == np.float32 and (panels is None or panels.dtype == np.float32):
            narrow = self._narrow(matrix, label)
            if narrow is not None:
                return self._prepare_widened(narrow, label, panels, dims or _packed_dims(matrix, panels))
        packed = np.ascontiguousarray(matrix) if panels is None else panels.pack(matrix)
        packed = packed if dims is None else packed.reshape(dims)
        return self._as_it_is(packed, label) if self._stored == "f32" else self._as_half(packed, label)

    def _narrow(self, matrix: np.ndarray, label: str) -> NarrowWeight | None:
        """The integers in which a weight is to be kept, if it is."""
        found, refused = narrow_weight(matrix, self._stored)
        instead = "f16 where that holds it" if found is None else found.kind
        for reason in refused:
            self.kept_wider.append(f"{self._called(matrix, label)}: {reason}; {instead}")
        return found

    def _keep(self, array: np.ndarray, label: str, reason: str) -> None:
        self.kept_f32.append(f"{self._called(array, label)}: {reason}")

    def _called(self, array: np.ndarray, label: str) -> str:
        assert self._node is not None
        return f"{where(self._node)} {label} {list(array.shape)}"

    def _prepare_widened(
        self, narrow: NarrowWeight, label: str, panels: Panels | None, dims: Sequence[int]
    ) -> Prepared:
        packing = {"panel": 0, "granule": 1}
        if panels is not None:
            packing = {"panel": panels.panel, "granule": panels.granule}
        stored = [self._as_it_is(narrow.packed, label), self._as_it_is(narrow.scales, f"{label} scale")]
        params = {**packing, **narrow.params}
        attributes = [
            ir.AttrInt64(name, value) if isinstance(value, int) else ir.AttrFloat32(name, value)
            for name, value in params.items()
        ]
        node = ir.Node(DOMAIN, narrow.op_type, [], attributes, name=f"widen/{label}")
        return self.prepare(node, self.choose(narrow.op), stored, tuple(dims), label, params)

    def _widened(self, array: np.ndarray, label: str) -> Prepared:
        """The array as f16 in the weights segment, made f32 when a session opens."""
        stored = self._as_it_is(array.astype(np.float16), label)
        node = ir.Node(
            DOMAIN, "Cast", [], [ir.AttrInt64("to", int(ir.DataType.FLOAT))], name=f"widen/{label}"
        )
        return self.prepare(node, self.choose("cast_anyany"), [stored], array.shape, label, {})

    def prepare(
        self,
        node: ir.Node,
        row: Row,
        inputs: Sequence[Const | Prepared | None],
        dims: tuple[int, ...],
        label: str,
        params: Mapping[str, Any],
        scratch_bytes: int = 0,
    ) -> Prepared:
        """See `Lowering.prepare`."""
        made = Tensor(label, "f32", dims, dense_strides(dims), "prepared", self.prepared_bytes)
        self.prepared.append(made)
        size = math.prod(dims) * NUMPY_DTYPES[made.dtype].itemsize
        self.prepared_bytes += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        out = Prepared(len(self.prepared) - 1)
        packed = families()[row.folder].pack_params(params)
        choice = self._choices[row.name]
        self.prepare_calls.append(KernelCall(node, choice, tuple(inputs), (out,), packed, scratch_bytes, 0))
        return out

    def call(
        self,
        node: ir.Node,
        row: Row,
        inputs: Sequence[Operand],
        outputs: Sequence[ir.Value | View],
        params: Mapping[str, Any],
        scratch_bytes: int = 0,
        refused: Sequence[str] = (),
    ) -> None:
        """See `Lowering.call`."""
        packed = families()[row.folder].pack_params(params)
        choice = self._choices[row.name]
        choice = replace(choice, refused=(*refused, *choice.refused))
        macs = op_of(node).macs(node) if node.domain == DOMAIN else 0
        self.calls.append(
            KernelCall(node, choice, tuple(inputs), tuple(outputs), packed, scratch_bytes, macs)
        )

    def lower(self, node: ir.Node) -> None:
        """Lowers one physical node; windows cost nothing."""
        self._node = node
        if node.op_type in FREE_OPS:
            self._copy_refused(node)
        else:
            op_of(node).lower(node, self)

    def window(self, value: ir.Value) -> View:
        """A value's window on its root's buffer."""
        at = self._storage.of[value]
        return View(at.root, shape(value), at.strides, at.offset)

    @property
    def _computed(self) -> list[str | None]:
        return [] if self._node is None else [value.name for value in self._node.outputs]

    def _fastest_row(self, op: str, first: Row, accept: Callable[[Row], str | None] | None) -> str:
        """The row to take of those that may run and are no last resort; `first` is the first of them."""
        node = self._node
        if node is None or node.domain != DOMAIN or node.op_type in FREE_OPS or self._rows_preferred(op):
            return first.name
        rows = [row for row in rows_of(op) if row.needs and row.needs <= self._decisions.target.has]
        names = [row.name for row in rows if accept is None or accept(row) is None]
        if first.name not in names or len(names) < 2:
            return first.name
        return self._decisions.pick_row(f"{op} of {shape_key(node)}", names, self._computed)

    def _only_preferred(
        self, op: str, accept: Callable[[Row], str | None] | None
    ) -> Callable[[Row], str | None] | None:
        if not self._rows_preferred(op):
            return accept

        def check(row: Row) -> str | None:
            if row.name != self._prefer:
                return f"{self._prefer} is asked for"
            return accept(row) if accept else None

        return check

    def _rows_preferred(self, op: str) -> bool:
        return any(
            row.name == self._prefer and row.op == op for family in families().values() for row in family.rows
        )

    def _copy_refused(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if (node, index) in self._storage.copies:
                assert value is not None
                source, piece = copy_windows(node, index, self.window(value), self.window(node.outputs[0]))
                copy_view(self, node, source, piece)


def _packed_dims(matrix: np.ndarray, panels: Panels | None) -> tuple[int, ...]:
    if panels is None:
        return matrix.shape
    return (math.prod(matrix.shape[:-1]) * panels.padded(matrix.shape[-1]),)


def copy_windows(node: ir.Node, index: int, source: View, out: View) -> tuple[View, View]:
    """The source and destination windows, of equal dims, that input `index` of a Reshape, Slice or Concat
    copies.
    """
    if node.op_type == "Reshape":
        return source, View(out.value, source.dims, dense_strides(source.dims), out.offset)
    if node.op_type == "Slice":
        starts = node.attributes["starts"].as_ints()
        offset = source.offset + sum(
            start * stride for start, stride in zip(starts, source.strides, strict=True)
        )
        return View(source.value, out.dims, source.strides, offset), out
    axis = node.attributes["axis"].as_int()
    before = sum(shape(piece)[axis] for piece in node.inputs[:index] if piece is not None)
    return source, View(out.value, source.dims, out.strides, out.offset + before * out.strides[axis])


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
