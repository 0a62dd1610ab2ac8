"""What of a float graph can run on integers: units, each an operator with what is computed along with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from tiercast.ir.edit import array, only_user
from tiercast.ir.report import name_of
from tiercast.passes.integer_arithmetic import resize_refusal
from tiercast.passes.integer_operators import PRODUCTS, limits_of
from tiercast.passes.move_quantization import MOVERS, moved_inputs, refusal
from tiercast.passes.quantized_tables import ELEMENTWISE

_BINARY = ("Add", "Sub", "Mul")
_AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_TABLES = ELEMENTWISE - {"Identity"}


@dataclass
class Unit:
    """An operator that may run on integers, and what belongs to it.

    name: the operator's, unique. kind: "product" (a convolution or product of matrices with constant
    weights), "computed product", "binary", "average", "resize" or "function" (elementwise, of one value: a
    table).
    core: the operator; nodes: it and its tail (bias, relu, clip), in order. inputs: the values that it reads
    as integers. output: its result, behind the tail. weights: elements of its constant weight.
    """

    name: str
    kind: str
    core: ir.Node
    nodes: list[ir.Node]
    inputs: list[ir.Value]
    output: ir.Value
    weights: int = 0
    values: frozenset[str] = field(default_factory=frozenset)

    @property
    def hands_out_sums(self) -> bool:
        """Whether its result can be f32, right from its s32 sums: of a product without relu or clip behind
        it, which would be steps of their own then."""
        return self.kind == "product" and not any(limits_of(node) is not None for node in self.nodes[1:])

    @property
    def operator(self) -> str:
        """Its operators, as people read them: "Conv + Relu"."""
        return " + ".join(node.op_type for node in self.nodes)


def find_units(graph: ir.Graph) -> list[Unit]:
    """The units of a graph at the stage "simplified" (constants are initializers), in its order.

    Elementwise operators between two points at which values must be integers are one unit, however many.
    """
    found = [unit for node in graph if (unit := _operator_unit(node)) is not None]
    tails = {node for unit in found for node in unit.nodes}
    functions = list(_functions(graph, {unit.core for unit in found}, tails))
    units = sorted(found + functions, key=_places(graph))
    _name(units)
    return units


def is_mover(node: ir.Node | None) -> bool:
    """Whether the node only moves elements, so that integers can go through it as they are."""
    if node is None or node.domain != "" or node.op_type not in MOVERS or refusal(node) is not None:
        return False
    if node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] is not None:
        fill = array(node.inputs[2])
        return fill is not None and not fill.any()  # 0.0 is the one value that every scale holds
    return True


def moved_values(node: ir.Node) -> list[ir.Value]:
    """The data that a mover moves."""
    return [value for at in moved_inputs(node) if (value := node.inputs[at]) is not None]


def _operator_unit(node: ir.Node) -> Unit | None:
    inputs = [value for value in node.inputs if value is not None]
    real = bool(inputs) and node.domain == "" and all(_is_real(value) for value in node.outputs[:1])
    if not real:
        return None
    if node.op_type in PRODUCTS:
        weight = array(node.inputs[1])
        if array(node.inputs[0]) is not None:
            return None
        if weight is None:
            if node.op_type != "MatMul":
                return None
            return _with_tail(node, "computed product", inputs[:2], 0)
        return _with_tail(node, "product", inputs[:1], int(weight.size))
    if node.op_type in _AVERAGES:
        return _with_tail(node, "average", inputs[:1], 0)
    if node.op_type == "Resize" and resize_refusal(node) is None:
        return _with_tail(node, "resize", inputs[:1], 0)
    return None


def _with_tail(core: ir.Node, kind: str, inputs: list[ir.Value], weights: int) -> Unit:
    """The unit of a core and of the bias, relus and clips behind it that nobody else reads before."""
    nodes, out = [core], core.outputs[0]
    while (user := only_user(out)) is not None:
        biased = (
            len(nodes) == 1 and core.op_type == "MatMul" and kind == "product" and _adds_constant(user, out)
        )
        if not biased and not (user.domain == "" and user.inputs[0] is out and limits_of(user) is not None):
            break
        nodes.append(user)
        out = user.outputs[0]
    return Unit("", kind, core, nodes, inputs, out, weights)


def _adds_constant(node: ir.Node, value: ir.Value) -> bool:
    other = [item for item in node.inputs if item is not value]
    return node.domain == "" and node.op_type == "Add" and len(other) == 1 and array(other[0]) is not None


def _functions(graph: ir.Graph, cores: set[ir.Node], tails: set[ir.Node]) -> Iterator[Unit]:
    """Units of elementwise operators: binary ones where two values meet, functions of one value."""
    roots: dict[ir.Value, ir.Value] = {}
    meeting: dict[ir.Node, Unit] = {}
    cut: set[ir.Value] = set()
    while True:  # a value that turns out to be an operand of a binary operator starts a region of its own
        roots, meeting, more = _roots(graph, tails, cut)
        if more <= cut:
            break
        cut |= more
    yield from meeting.values()
    for value, root in roots.items():
        if value is root or not _leaves(value, roots, cut):
            continue
        nodes = _between(root, value, roots)
        yield Unit("", "function", nodes[-1], nodes, [root], value)


def _roots(
    graph: ir.Graph, tails: set[ir.Node], cut: set[ir.Value]
) -> tuple[dict[ir.Value, ir.Value], dict[ir.Node, Unit], set[ir.Value]]:
    """For each value of elementwise operators the one value that it is a function of; the binary operators
    among them; and the operands of these that must be integers."""
    roots: dict[ir.Value, ir.Value] = {}
    meeting: dict[ir.Node, Unit] = {}
    used, needed = set(tails), set[ir.Value]()
    for node in graph:
        if node in used or node.domain != "" or node.op_type not in _TABLES or not _is_real(node.outputs[0]):
            continue
        given = [value for value in node.inputs if value is not None and array(value) is None]
        if not given or not all(_is_real(value) for value in given):
            continue
        found = list(dict.fromkeys(value if value in cut else roots.get(value, value) for value in given))
        if len(found) == 1:
            roots[node.outputs[0]] = found[0]
        elif len(given) == 2 and node.op_type in _BINARY:
            meeting[node] = _with_tail(node, "binary", given, 0)
            used.update(meeting[node].nodes)
            needed.update(value for value in given if value in roots)
    return roots, meeting, needed


def _leaves(value: ir.Value, roots: dict[ir.Value, ir.Value], cut: set[ir.Value]) -> bool:
    """Whether a value of a region is read outside of it."""
    if value in cut or value.is_graph_output():
        return True
    return any(not use.node.outputs or use.node.outputs[0] not in roots for use in value.uses())


def _between(root: ir.Value, value: ir.Value, roots: dict[ir.Value, ir.Value]) -> list[ir.Node]:
    """The operators that compute `value` of `root`, in order."""
    found: list[ir.Node] = []

    def visit(at: ir.Value | None) -> None:
        node = at.producer() if at is not None and at is not root else None
        if node is None or at not in roots or node in found:
            return
        for operand in node.inputs:
            visit(operand)
        found.append(node)

    visit(value)
    return found


def _places(graph: ir.Graph) -> Callable[[Unit], int]:
    order = {node: at for at, node in enumerate(graph)}
    return lambda unit: order[unit.core]


def _name(units: list[Unit]) -> None:
    """Gives units the names of their operators, told apart where a model repeats one."""
    taken: set[str] = set()
    for unit in units:
        name = name_of(unit.core)
        if name in taken:
            name = f"{name} ({unit.core.outputs[0].name})"
        taken.add(name)
        unit.name = name
        unit.values = frozenset(value.name or "" for node in unit.nodes for value in node.outputs)


def _is_real(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT
