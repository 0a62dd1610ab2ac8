"""Control flow that is known while compiling goes: loops are unrolled, branches chosen or selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as onnx_ir_passes
from onnx import numpy_helper

from tiercast.errors import GraphError
from tiercast.ir.report import PassReport
from tiercast.ir.shapes import infer_shapes
from tiercast.ir.weights import give_back, light_proto
from tiercast.passes.bodies import Constants, inline_body
from tiercast.passes.fold_constants import fold_constants
from tiercast.passes.item_types import infer_types

MAX_TRIPS = 512
MAX_NODES = 20_000
_HUB_OPSET = 23
_FLOW = ("If", "Loop", "Scan")


def unroll_loops(model: ir.Model) -> PassReport:
    """Replaces every Loop, Scan and If, in place.

    A Scan, and a Loop whose trip count and condition follow from constants, become their trips one after the
    other. An If with a known condition becomes its branch; with a computed one both branches run and Where
    selects, if their results agree in shape and dtype. GraphError, naming the node and why, for all others,
    and for more than MAX_TRIPS trips or MAX_NODES nodes.
    """
    report = PassReport("unroll_loops")
    while any(node.op_type in _FLOW and node.domain == "" for node in model.graph):
        proto, weights = light_proto(model)
        proto = infer_shapes(proto)
        _Unroller(proto.graph, report).run()
        expanded = ir.from_proto(infer_shapes(proto))
        give_back(expanded, weights)
        onnx_ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(expanded)
        expanded.graph.sort()
        model.graph = expanded.graph
        fold_constants(model)
    return report


class _Unroller:
    def __init__(self, graph: onnx.GraphProto, report: PassReport) -> None:
        self._graph = graph
        self._report = report
        self._known = Constants(graph, _HUB_OPSET)
        ports = (*graph.input, *graph.value_info, *graph.output)
        self._types = {port.name: port.type.tensor_type for port in ports}
        self._types |= {tensor.name: _type_of(tensor) for tensor in graph.initializer}
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        """Rewrites the graph's nodes; those that were nested come out and wait for the next round."""
        rules: dict[str, Callable[[onnx.NodeProto], None]]
        rules = {"If": self._if, "Loop": self._loop, "Scan": self._scan}
        for node in list(self._graph.node):
            rule = rules.get(node.op_type) if node.domain == "" else None
            if rule is None:
                self._nodes.append(node)
            else:
                rule(node)
                self._report.applied.append(f"{node.op_type} {node.name or node.output[0]}")
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        del self._graph.value_info[:]

    def _add(self, *nodes: onnx.NodeProto) -> None:
        self._nodes += nodes
        self._known.add(nodes)
        if len(self._nodes) > MAX_NODES:
            raise GraphError(
                f"unrolled, the model's loops have more than {MAX_NODES} nodes; keep them shorter"
            )

    def _op(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._add(onnx.helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, data: Any) -> str:
        return self._op("Constant", [], name, value=numpy_helper.from_array(np.asarray(data), name))

    def _inline(self, body: onnx.GraphProto, prefix: str, given: list[str]) -> list[str]:
        nodes, results = inline_body(body, prefix, given)
        self._add(*nodes)
        return results

    def _if(self, node: onnx.NodeProto) -> None:
        branches = {item.name: item.g for item in node.attribute}
        condition = self._known.value(node.input[0])
        if condition is not None:
            side = "then_branch" if bool(condition) else "else_branch"
            self._bind(node, self._inline(branches[side], f"{node.output[0]}.", []))
            return
        sides = [branches["then_branch"], branches["else_branch"]]
        for left, right in zip(sides[0].output, sides[1].output, strict=True):
            if not _is_static(left) or left.type != right.type:
                raise GraphError(
                    f"{_where(node)}: its condition is computed, and its branches give {_text(left)} and "
                    f"{_text(right)}; only results of one known shape and type can be selected when both run"
                )
        found = [
            self._inline(body, f"{node.output[0]}.{side}.", [])
            for side, body in zip(("then", "else"), sides, strict=True)
        ]
        shape = self._constant(f"{node.output[0]}.shape", np.zeros(0, np.int64))
        scalar = self._op("Reshape", [node.input[0], shape], f"{node.output[0]}.condition")
        for output, left, right in zip(node.output, *found, strict=True):
            if output:
                self._op("Where", [scalar, left, right], output)

    def _loop(self, node: onnx.NodeProto) -> None:
        body = next(item.g for item in node.attribute if item.name == "body")
        stem = node.output[0] or node.name
        trips, going, *state = [*node.input, ""][: max(len(node.input), 2)]
        limit = self._known.value(trips) if trips else None
        if trips and limit is None:
            raise GraphError(f"{_where(node)}: its trip count {trips!r} is computed from input data")
        most = limit.item() if limit is not None else MAX_TRIPS + 1  # [] or [1]
        carried = len(state)
        scans: list[list[str]] = [[] for _ in range(len(body.output) - 1 - carried)]
        trip = 0
        while trip < most and self._goes_on(node, going):
            if trip == MAX_TRIPS:
                raise GraphError(f"{_where(node)}: it runs more than {MAX_TRIPS} times, too often to unroll")
            prefix = f"{stem}.{trip}."
            count = self._constant(f"{prefix}trip", np.full(_dims(body.input[0]), trip, np.int64))
            condition = going or self._constant(f"{prefix}true", np.bool_(True))
            going, *results = self._inline(body, prefix, [count, condition, *state])
            state = results[:carried]
            for made, name in zip(scans, results[carried:], strict=True):
                made.append(name)
            trip += 1
        stacked = [
            self._stacked(f"{stem}.scan{at}", made, 0) if made else self._empty(node, body, carried + at)
            for at, made in enumerate(scans)
        ]
        self._bind(node, [*state, *stacked])

    def _empty(self, node: onnx.NodeProto, body: onnx.GraphProto, at: int) -> str:
        """What output `at` of a loop that never runs stacks: no items, [0, ...] of the body's result."""
        stem = f"{node.output[0] or node.name}.none{at}"
        given = [f"{stem}.{port.name}" for port in body.input]
        trip = [
            onnx.helper.make_node("Constant", [], given[:1], value_int=0),
            onnx.helper.make_node("Constant", [], given[1:2], value=numpy_helper.from_array(np.array(True))),
            *(
                onnx.helper.make_node("Identity", [source], [name])
                for source, name in zip(node.input[2:], given[2:], strict=True)
            ),
        ]
        nodes, results = inline_body(body, f"{stem}.", given)
        made = [*self._nodes, *trip, *nodes]
        kind = infer_types(self._graph, _HUB_OPSET, made, [results[1 + at]])[0]
        if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
            raise GraphError(
                f"{_where(node)}: it never runs, and the shape of the items that output {at} would stack is "
                f"not known ({_text(body.output[1 + at])}); it must follow from the shapes of the inputs"
            )
        shape = (0, *(dim.dim_value for dim in kind.shape.dim))
        return self._constant(stem, np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)))

    def _goes_on(self, node: onnx.NodeProto, condition: str) -> bool:
        known = self._known.value(condition) if condition else np.True_
        if known is None:
            raise GraphError(
                f"{_where(node)}: whether it goes on ({condition!r}) is computed from input data; a loop "
                "must run a number of times that is known when the model is compiled"
            )
        return bool(known)

    def _scan(self, node: onnx.NodeProto) -> None:
        options = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        body, count = options["body"], options["num_scan_inputs"]
        carried, stem = len(node.input) - count, node.output[0] or node.name
        state, sources = list(node.input[:carried]), list(node.input[carried:])
        outputs = len(body.output) - carried
        axes = options.get("scan_input_axes", [0] * count)
        turned = options.get("scan_input_directions", [0] * count)
        trips = {self._length(node, name, axis) for name, axis in zip(sources, axes, strict=True)}
        if len(trips) != 1 or not 1 <= max(trips) <= MAX_TRIPS:
            raise GraphError(f"{_where(node)}: it scans {sorted(trips)} items; 1 to {MAX_TRIPS} are unrolled")
        (length,) = trips
        scans: list[list[str]] = [[] for _ in range(outputs)]
        for trip in range(length):
            prefix = f"{stem}.{trip}."
            items = []
            for at, name in enumerate(sources):
                place = length - 1 - trip if turned[at] else trip
                index = self._constant(f"{prefix}at{at}", np.int64(place))
                items.append(self._op("Gather", [name, index], f"{prefix}item{at}", axis=axes[at]))
            results = self._inline(body, prefix, [*state, *items])
            state = results[:carried]
            for made, name in zip(scans, results[carried:], strict=True):
                made.append(name)
        out_axes = options.get("scan_output_axes", [0] * outputs)
        backwards = options.get("scan_output_directions", [0] * outputs)
        stacked = [
            self._stacked(f"{stem}.scan{at}", made[::-1] if backwards[at] else made, out_axes[at])
            for at, made in enumerate(scans)
        ]
        self._bind(node, [*state, *stacked])

    def _length(self, node: onnx.NodeProto, name: str, axis: int) -> int:
        kind = self._types.get(name)
        dims = list(kind.shape.dim) if kind is not None and kind.HasField("shape") else []
        if not dims or not dims[axis].HasField("dim_value"):
            raise GraphError(f"{_where(node)}: the length of what it scans ({name!r}) is not known")
        return int(dims[axis].dim_value)

    def _stacked(self, stem: str, items: list[str], axis: int) -> str:
        at = self._constant(f"{stem}.axis", np.array([axis], np.int64))
        parts = [self._op("Unsqueeze", [item, at], f"{stem}.{index}") for index, item in enumerate(items)]
        return self._op("Concat", parts, f"{stem}.all", axis=axis)

    def _bind(self, node: onnx.NodeProto, results: list[str]) -> None:
        for output, result in zip(node.output, results, strict=False):
            if output:
                self._op("Identity", [result], output)


def _type_of(tensor: onnx.TensorProto) -> Any:
    return onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims)).tensor_type


def _is_static(port: onnx.ValueInfoProto) -> bool:
    tensor = port.type.tensor_type
    known = port.type.HasField("tensor_type") and tensor.HasField("shape")
    return known and all(dim.HasField("dim_value") for dim in tensor.shape.dim)


def _dims(port: onnx.ValueInfoProto) -> list[int]:
    """The shape of a trip's number: [], or [1] in bodies that say so, as runtimes allow."""
    return [1] * len(port.type.tensor_type.shape.dim)


def _text(port: onnx.ValueInfoProto) -> str:
    tensor = port.type.tensor_type
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else "?" for dim in tensor.shape.dim]
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()}[{', '.join(dims)}]"


def _where(node: onnx.NodeProto) -> str:
    return f'node "{node.name or node.output[0]}" ({node.op_type})'
