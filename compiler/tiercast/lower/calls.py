"""Lowers the nodes of a physical graph for a target to kernel calls."""

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
from tiercast.lower.narrow_weights import NarrowWeight, narrow_weight
from tiercast.lower.plan import ALIGNMENT_BYTES, NUMPY_DTYPES, Tensor, WeightsSegment
from tiercast.lower.storage import FREE_OPS, StoragePlan
from tiercast.ops.copy import copy_view
from tiercast.ops.lowering import Const, KernelCall, Operand, Prepared, View
from tiercast.ops.panels import Panels
from tiercast.ops.registry import DOMAIN, dense_strides, dtype, op_of, shape, shape_key, where
from tiercast.passes.choose_precision import half_constant
from tiercast.tuning import Decisions

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
