"""Kernels that TVM writes for a model: for operators that no op of ours takes, and, where it is preferred,
for regions of ours. Each is proven against onnxruntime before a plan may call it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
import xxhash

from tiercast import kernel
from tiercast.codegen.emit import C_TYPES, EmittedKernel, Operand, isas, make_kernel
from tiercast.codegen.tvm import Worker
from tiercast.errors import GraphError, TiercastError, UsageError
from tiercast.extras import Extras
from tiercast.frontend.opset import HUB_OPSET
from tiercast.ir import domain
from tiercast.ir.composites import can_be_split
from tiercast.ir.edit import static_shape, take_over
from tiercast.ir.report import PassReport, label
from tiercast.lower.calls import dtype_name
from tiercast.ops import registry
from tiercast.ops.layouter import Layouter
from tiercast.ops.registry import Op, attr, const, dtype, legalizers, own_legalizers, shape
from tiercast.proof import attributes, difference, expected, run_rows
from tiercast.target import Target

MODES = ("missing", "prefer")
REGION_DOMAIN = "tiercast.tvm"
# Operators that TVM's ONNX importer and C back end do, on static shapes; ours come first where there is one.
# None whose operands say where to read or write (RoiAlign, ScatterND, MaxUnpool): TVM's code does not check.
EMITTABLE = frozenset({
    "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Einsum", "GlobalLpPool", "LpPool",
    "MatMulInteger",
})  # fmt: skip
_ELEMENTWISE = frozenset({
    "Abs", "Add", "Ceil", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Log", "Max", "Min", "Mul", "Neg", "Pow", "PRelu", "Reciprocal", "Relu", "Sigmoid",
    "Softplus", "Sqrt", "Sub", "Tanh",
})  # fmt: skip
_OTHERS = frozenset({
    "AveragePool", "BatchNormalization", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool", "LogSoftmax",
    "MaxPool", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Resize", "Softmax", "SpaceToDepth",
})  # fmt: skip
_KINDS = tuple(C_TYPES)
_LARGEST_EMBEDDED = 64  # elements of a constant that the code holds; larger ones stay in the package
_MOST_NODES = 32


def can_emit(node: ir.Node) -> str | None:
    """None when TVM could write a kernel for an ONNX node without a legalisation, else why not.

    From its operator, types and shapes as far as they are known; TVM itself is not asked.
    """
    if node.domain or node.op_type not in EMITTABLE:
        return f"TVM is not used for {node.op_type}"
    return _unfit(node)


class Emitter:
    """Takes nodes of one model at a time; knows the kernels it has made for it.

    mode: "missing": nodes that no op takes; "prefer": also regions that ops of ours could compute.
    """

    def __init__(self, worker: Worker, target: Target, mode: str, stack: ExitStack) -> None:
        self._worker = worker
        self._target = target
        self._prefer = mode == "prefer"
        self._stack = stack
        self._made: dict[str, EmittedKernel | str] = {}

    def take_regions(self, model: ir.Model) -> PassReport:
        """Puts a Region node where TVM's kernel computes one or more nodes; in place, on the ONNX stage.

        Raises GraphError for a node that nothing else computes and that TVM can't, or computes wrongly.
        """
        report = PassReport("take_regions")
        for nodes in self._regions(model.graph):
            needed = any(_is_missing(node) for node in nodes)
            names = ", ".join(label(node) for node in nodes)
            try:
                made = self._kernel(nodes)
            except TiercastError as error:
                if needed:
                    raise GraphError(f"{names}: {error}") from error
                report.refuse(nodes[-1], str(error))
                continue
            _replace(model.graph, nodes, made)
            report.apply(nodes[-1], f"{made.op}: {names}")
        return report

    def extras(self, called: set[str]) -> list[Extras]:
        """The libraries of the kernels that a plan calls."""
        found = [made for made in self._made.values() if isinstance(made, EmittedKernel)]
        used = [made for made in found if any(row.name in called for row in made.family.rows)]
        return [made.extras(self._target) for made in used]

    def _regions(self, graph: ir.Graph) -> Iterator[list[ir.Node]]:
        """Nodes that become one kernel each; with preference, trees whose inner results have one reader."""
        grouped: dict[ir.Node, list[ir.Node]] = {}
        for node in graph:
            if _is_missing(node):
                reason = can_emit(node)
                if reason is not None:
                    raise GraphError(f"{label(node)}: {reason}")
                grouped[node] = [node]
            elif self._prefer and _is_preferred(node):
                grouped[node] = [node]
                producers = dict.fromkeys(value.producer() for value in node.inputs if value is not None)
                for producer in producers:
                    if producer is None or producer not in grouped or _is_missing(producer):
                        continue
                    if _only_reader(producer, node) and len(grouped[producer]) < _MOST_NODES:
                        grouped[node] = [*grouped.pop(producer), *grouped[node]]
        yield from grouped.values()

    def _kernel(self, nodes: Sequence[ir.Node]) -> EmittedKernel:
        model, inputs = _region_model(nodes)
        outputs = [_operand(value) for value in nodes[-1].outputs]
        data = model.SerializeToString(deterministic=True)
        kinds = "_".join(dict.fromkeys(node.op_type.lower() for node in nodes))[:40]
        name = f"tvm_{kinds}_{xxhash.xxh3_64_hexdigest(data)[:10]}"
        if name not in self._made:
            try:
                self._made[name] = self._prove(name, data, [_operand(value) for value in inputs], outputs)
            except TiercastError as error:
                self._made[name] = str(error)
        made = self._made[name]
        if isinstance(made, str):
            raise GraphError(made)
        return made

    def _prove(
        self, name: str, model: bytes, inputs: Sequence[Operand], outputs: Sequence[Operand]
    ) -> EmittedKernel:
        """Emits, compiles for this machine, and compares with onnxruntime; then the kernel is known."""
        made = make_kernel(name, "emitted by TVM", self._worker.emit(model), inputs, outputs)
        feed, wanted = expected(model, inputs)
        with (
            kernel.extended({name: made.family}),
            tempfile.TemporaryDirectory(prefix="tiercast-tvm-") as folder,
        ):
            got = run_rows(made, inputs, outputs, feed, Path(folder))
        for row, results in got.items():
            for index, (result, want) in enumerate(zip(results, wanted, strict=True)):
                wrong = difference(result, want)
                if wrong:
                    raise GraphError(f"TVM's kernel {row} is wrong in output {index}, {wrong}; refused")
        # A plan for the target chooses among the rows that its library will have.
        rows = tuple(row for row in made.family.rows if row.isa in isas(self._target))
        family = dataclasses.replace(made.family, rows=rows)
        self._stack.enter_context(kernel.extended({name: family}))
        return made


@contextmanager
def emitter(target: Target, mode: str) -> Iterator[Emitter]:
    """Within it, operators that TVM can emit count as supported.

    UsageError for an unknown mode, ToolchainError when TVM is not installed as it must be.
    """
    if mode not in MODES:
        raise UsageError(f"tvm={mode!r} is unknown; there are {', '.join(MODES)}")
    with Worker() as worker, ExitStack() as stack:
        op = Region()
        stack.enter_context(registry.extended({op.name: op}))
        stack.enter_context(domain.foreign({f"{REGION_DOMAIN}::Region": op}))
        yield Emitter(worker, target, mode, stack)


class Region(Op):
    """ONNX nodes that a kernel of TVM computes; attributes are those of `Emitted`."""

    onnx = (
        *sorted(name for name in EMITTABLE - set(own_legalizers()) if not can_be_split(name, HUB_OPSET)),
        f"{REGION_DOMAIN}::Region",
    )
    inputs = ("x*",)

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """One `Emitted`, in the model's memory order."""
        if node.domain != REGION_DOMAIN:
            raise GraphError(f"nothing computes {node.op_type} here")
        names = ("kernel", "results", "scratch")
        operands = [layout.plain(value) for value in node.inputs if value is not None]
        made = layout.emit("Emitted", operands, {name: attr(node, name) for name in names}, len(node.outputs))
        for value, physical in zip(node.outputs, made, strict=True):
            layout.bind(value, physical)


def _is_missing(node: ir.Node) -> bool:
    op = legalizers().get(node.op_type) if not node.domain else None
    return isinstance(op, Region)


def _is_preferred(node: ir.Node) -> bool:
    if node.domain or (node.op_type not in _ELEMENTWISE | _OTHERS and not _is_depthwise(node)):
        return False
    used = [value for value in node.outputs if value.name and (value.uses() or value.is_graph_output())]
    # Integers stay ours: a division by zero would end the process.
    computed = [value for value in node.inputs if value is not None and value.const_value is None]
    real = all(value.dtype == ir.DataType.FLOAT for value in (*computed, *node.outputs))
    return real and len(used) == 1 == len(node.outputs) and _unfit(node) is None and bool(computed)


def _is_depthwise(node: ir.Node) -> bool:
    weight = node.inputs[1] if node.op_type == "Conv" else None
    group = attr(node, "group", 1)
    return weight is not None and group > 1 and (static_shape(weight) or (0,))[0] == group


def _unfit(node: ir.Node) -> str | None:
    for value in (*node.inputs, *node.outputs):
        if value is None or not value.name:
            continue
        if value.dtype is not None and value.const_value is None:
            try:
                kind = dtype_name(value)
            except GraphError as error:
                return str(error)
            if kind not in _KINDS:
                return f"value {value.name!r} is {kind}; TVM's C takes {', '.join(_KINDS)}"
    return None


def _only_reader(producer: ir.Node, node: ir.Node) -> bool:
    (result, *others) = producer.outputs
    readers = {use.node for use in result.uses()}
    return not others and readers == {node} and not result.is_graph_output()


def _operand(value: ir.Value) -> Operand:
    return Operand(dtype_name(value), shape(value))


def _region_model(nodes: Sequence[ir.Node]) -> tuple[onnx.ModelProto, list[ir.Value]]:
    """The nodes as a model of their own with names of its own, and the values that are its inputs, in order.

    Large constants are inputs; others are in the model.
    """
    inner = {value for node in nodes for value in node.outputs}
    read = list(
        dict.fromkeys(value for node in nodes for value in node.inputs if value not in (None, *inner))
    )
    arrays = {value: const(value) for value in read if value is not None}
    inputs = [value for value, array in arrays.items() if array is None or array.size > _LARGEST_EMBEDDED]
    names = {value: f"i{index}" for index, value in enumerate(inputs)}
    names |= {value: f"c{index}" for index, value in enumerate(v for v in arrays if v not in inputs)}
    names |= {value: f"v{index}" for index, value in enumerate(_made_by(nodes))}
    protos = []
    for index, node in enumerate(nodes):
        proto = onnx.NodeProto(op_type=node.op_type, name=f"n{index}")
        proto.input.extend("" if value is None else names[value] for value in node.inputs)
        proto.output.extend(names[value] if value.name else "" for value in node.outputs)
        proto.attribute.extend(ir.to_proto(item) for _, item in sorted(node.attributes.items()))
        protos.append(proto)
    graph = onnx.helper.make_graph(
        protos,
        "region",
        [
            onnx.helper.make_tensor_value_info(names[value], int(dtype(value)), shape(value))
            for value in inputs
        ],
        [
            onnx.helper.make_tensor_value_info(names[value], int(dtype(value)), shape(value))
            for value in nodes[-1].outputs
        ],
        [
            onnx.numpy_helper.from_array(array, names[value])
            for value, array in arrays.items()
            if array is not None and value not in inputs
        ],
    )
    imports = [onnx.helper.make_opsetid("", 23)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=11), inputs


def _made_by(nodes: Sequence[ir.Node]) -> list[ir.Value]:
    """What the nodes make, in order."""
    return [value for node in nodes for value in node.outputs]


def _replace(graph: ir.Graph, nodes: Sequence[ir.Node], made: EmittedKernel) -> None:
    _, inputs = _region_model(nodes)
    last = nodes[-1]
    outputs = [
        ir.Value(name=f"{value.name}.tvm", shape=value.shape, type=value.type) for value in last.outputs
    ]
    facts = attributes(made, [(dtype(value), shape(value)) for value in last.outputs])
    converted = [ir.convenience.convert_attribute(name, value) for name, value in facts.items()]
    region = ir.Node(REGION_DOMAIN, "Region", inputs, converted, outputs=outputs, name=f"{last.name}/tvm")
    graph.insert_before(last, region)
    for value, new in zip(last.outputs, outputs, strict=True):
        take_over(value, new)
    graph.remove(list(nodes), safe=True)
