"""Half precision where kernels have it and values fit it; single precision elsewhere, with casts between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, insert_before, new_constant, remove_dead
from tiercast.ir.report import PassReport
from tiercast.ops.registry import DOMAIN, REALS, op_of

LARGEST = 65504.0  # of f16
SMALLEST_NORMAL = 2.0**-14  # below it f16 loses a bit for each halving
# Room between the largest value seen while calibrating and f16's end: other inputs give other values, and the
# partial sums of a convolution pass its result.
HEADROOM = 4.0
# Relative error (in the 2-norm) of constants rounded to f16; 2.8e-4 is what rounding costs ordinary ones.
_CONSTANT_ERROR = 2e-3
_SINGLE, _HALF = REALS
# They only move elements, and stay in the precision of what they move.
_MOVERS = frozenset({"Copy", "Concat", "Reshape", "Slice", "Pad"})
_KEY = "tiercast.ranges"


@dataclass(frozen=True)
class Range:
    """What a value of the model was while calibrating.

    largest: max |x|, infinite if any element was not finite. subnormal: share of the nonzero elements that
    are below f16's normal range.
    """

    largest: float
    subnormal: float

    @property
    def overflows(self) -> bool:
        """Whether f16 lacks the headroom for it."""
        return not self.largest * HEADROOM <= LARGEST

    @property
    def vanishes(self) -> bool:
        """Whether f16 would keep few bits of all of it."""
        return 0.0 < self.largest < 16 * SMALLEST_NORMAL


def request_half(model: ir.Model, ranges: Mapping[str, Range]) -> None:
    """Asks `choose_precision` for f16 on this model; ranges: of the model's values, by name."""
    model.meta[_KEY] = ranges


def half_constant(data: np.ndarray) -> str | None:
    """None when a constant may be kept in f16, else why not."""
    largest = float(np.max(np.abs(data), initial=0.0))
    if not largest <= LARGEST:
        return f"a constant reaches {largest:.3g}, f16 ends at {LARGEST:.0f}"
    wide = data.astype(np.float64)
    lost, size = np.linalg.norm(wide - data.astype(np.float16)), np.linalg.norm(wide)
    if lost > _CONSTANT_ERROR * size:
        return f"f16 would change a constant by {lost / size:.1e} of its size"
    return None


def choose_precision(model: ir.Model) -> PassReport:
    """Makes real values f16 after `request_half`, else changes nothing; in place. Ports stay f32.

    A node stays f32 when its op has no rows over f16, or when a value it reads, makes or fuses leaves f16's
    range; the report names it and the value.
    """
    report = PassReport("choose_precision")
    ranges: Mapping[str, Range] | None = model.meta.get(_KEY)
    if ranges is None:
        return report
    casts = _Casts(model.graph)
    for node in list(model.graph):
        if not any(value.dtype == _SINGLE for value in _reals(node)):
            continue
        reason = _refusal(node, ranges)
        if reason is not None and node.op_type not in _MOVERS:
            report.refuse(node, reason)
        half = reason is None
        _convert_inputs(node, half, casts)
        for value, (kind, _) in zip(node.outputs, op_of(node).infer(node), strict=True):
            value.type = ir.TensorType(kind)
        if half:
            report.apply(node, "f16")
    for index, value in enumerate(model.graph.outputs):
        if value.dtype == _HALF:
            model.graph.outputs[index] = casts.output(value)
    remove_dead(model.graph)
    return report


def _reals(node: ir.Node) -> Iterator[ir.Value]:
    return (value for value in (*node.inputs, *node.outputs) if value is not None and value.dtype in REALS)


def _refusal(node: ir.Node, ranges: Mapping[str, Range]) -> str | None:
    if not op_of(node).half:
        return "its op has no rows over f16"
    sources = [value for value in node.inputs if value is not None and array(value) is None]
    computed = [value for value in sources if value.producer() is not None and value.dtype in REALS]
    if node.op_type in _MOVERS and any(value.dtype == _SINGLE for value in computed):
        return "what it moves is f32"
    for value in (*sources, *node.outputs):
        names = [value.metadata_props.get("source", value.name or "")]
        if value in node.outputs:  # the value before what was fused behind it
            names.append((node.name or "").rsplit("/", 1)[0])
        for name in names:
            found = ranges.get(name)
            if found is not None and found.overflows:
                return f"{name!r} reaches {found.largest:.3g}, f16 ends at {LARGEST:.0f}"
            if found is not None and found.vanishes:
                return f"{name!r} stays below {found.largest:.1e}, where f16 has few bits"
    reasons = [half_constant(data) for value in node.inputs if (data := _real_array(value)) is not None]
    return next((reason for reason in reasons if reason is not None), None)


def _real_array(value: ir.Value | None) -> np.ndarray | None:
    data = array(value)
    return data if data is not None and data.dtype == np.float32 else None


def _convert_inputs(node: ir.Node, half: bool, casts: _Casts) -> None:
    """Computed operands in the node's precision. Constants are packed for the row later, but where the op
    takes them as they are.
    """
    plain = node.op_type in _MOVERS or node.op_type == "Pointwise"
    for index, value in enumerate(node.inputs):
        if value is None or value.dtype not in REALS:
            continue
        if array(value) is None or (half and plain):
            node.replace_input_with(index, casts.to(value, _HALF if half else _SINGLE, node))


class _Casts:
    """The casts of a graph, one for each value and type."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def to(self, value: ir.Value, kind: ir.DataType, before: ir.Node) -> ir.Value:
        """The value in type `kind`, made just before a node that reads it."""
        if value.dtype == kind:
            return value
        if (value, kind) not in self._made:
            data = array(value)
            if data is not None:
                made = new_constant(self._graph, f"{value.name}.f16", data.astype(kind.numpy()))
            else:
                node = _cast(value, kind)
                insert_before(before, [node])
                made = node.outputs[0]
            self._made[value, kind] = made
        return self._made[value, kind]

    def output(self, value: ir.Value) -> ir.Value:
        """A graph output's f32 form, under its name."""
        node = _cast(value, _SINGLE)
        self._graph.append(node)
        made, name = node.outputs[0], value.name
        value.name = f"{name}.f16"
        made.name = name
        if "port" in value.metadata_props:
            made.metadata_props["port"] = value.metadata_props.pop("port")
        return made


def _cast(value: ir.Value, kind: ir.DataType) -> ir.Node:
    suffix = "f16" if kind == _HALF else "f32"
    made = ir.Value(name=f"{value.name}.{suffix}", shape=value.shape, type=ir.TensorType(kind))
    for key in ("source", "perm"):
        if key in value.metadata_props:
            made.metadata_props[key] = value.metadata_props[key]
    attributes = [ir.AttrInt64("to", int(kind))]
    return ir.Node(DOMAIN, "Cast", [value], attributes, outputs=[made], name=f"{value.name}/to_{suffix}")
