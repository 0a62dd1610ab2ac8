"""Which values of a captured graph are integers, and which of them share a scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch.fx import Graph

from tiercast.quantize.qat import operators
from tiercast.quantize.qat.capture import Traced

Keep = Callable[[Traced], bool]


@dataclass(frozen=True)
class Join:
    """Values whose integers meet: `whole` is made of `pieces`. always: they must share a scale; else those
    pieces do that nobody else reads (`alone`), and those whose scale is near.
    """

    whole: Traced
    pieces: tuple[Traced, ...]
    alone: frozenset[Traced] = frozenset()
    always: bool = False


@dataclass
class Points:
    """The values of a graph that are quantized, and what of them is joined, both in its order; its products
    with the axis of their weight's channels.
    """

    values: list[Traced] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    products: dict[Traced, int] = field(default_factory=dict)

    def cut(self, value: Traced, constant: bool = False) -> None:
        """Has a value quantized: itself, or what movers make it of; pieces of what is joined too, constants
        among them.
        """
        leaf = leaf_of(value)
        if (
            leaf in self.values
            or not operators.is_real(leaf)
            or (operators.is_constant(leaf) and not constant)
        ):
            return
        self.values.append(leaf)
        pieces = operators.moved_values(leaf)
        if pieces is not None:
            for piece in pieces:
                self.cut(piece, constant=True)
            found = [(leaf_of(piece), piece) for piece in pieces]
            alone = frozenset(item for item, piece in found if _read_once(item, piece))
            self.joins.append(Join(leaf, tuple(dict.fromkeys(item for item, _ in found)), alone))


def find_points(graph: Graph, keep_float: Keep) -> Points:
    """The points of a graph in which batch norms are folded. keep_float: operators that stay f32.

    Values are quantized where an integer operator reads them, and behind those that have no other form; a
    product whose result only f32 reads hands out f32. An interpolation's input and result share a scale.
    """
    points = Points()
    units = _Units(graph, keep_float)
    for product, axis in units.products.items():
        points.products[product] = axis
        points.cut(product.args[0])
    for reads, result in units.others:
        for value in (*reads, result):
            points.cut(value)
        if operators.is_interpolation(result) and result in points.values:
            points.joins.append(Join(result, (leaf_of(reads[0]),), always=True))
    order = {node: at for at, node in enumerate(graph.nodes)}
    points.values.sort(key=order.__getitem__)
    points.joins.sort(key=lambda join: order[join.whole])
    return points


def leaf_of(value: Traced) -> Traced:
    """The value that movers make this one of: itself where none does, or where several are joined."""
    while True:
        moved = operators.moved_values(value)
        if moved is None or len(moved) > 1:
            return value
        value = moved[0]


def _read_once(leaf: Traced, last: Traced) -> bool:
    """Whether nothing but the movers from `leaf` to `last`, and one reader of that, reads it."""
    while last is not leaf:
        if len(last.users) > 1:
            return False
        last = operators.moved_values(last)[0]  # type: ignore[index]
    return len(leaf.users) <= 1


class _Units:
    """Integer operators of a graph: products, and for all others what they read and what they give."""

    def __init__(self, graph: Graph, keep_float: Keep) -> None:
        self.products: dict[Traced, int] = {}
        self.others: list[tuple[list[Traced], Traced]] = []
        nodes = [node for node in graph.nodes if node.op == "call_function" and not keep_float(node)]
        self._nodes = dict.fromkeys(nodes)  # a set in the graph's order
        self._tails: set[Traced] = set()
        self._take_operators()
        self._take_functions()

    def _take_operators(self) -> None:
        for node in self._nodes:
            axis = operators.weight_axis(node)
            if axis is not None:
                self.products[node] = axis
                self._tail(node)
            elif operators.is_average(node) or operators.is_interpolation(node):
                self.others.append(([node.args[0]], self._tail(node)))
            elif node.target in operators.COMPUTED and not any(map(operators.is_constant, node.args)):
                self.others.append((list(node.args), self._tail(node)))

    def _tail(self, core: Traced) -> Traced:
        """The result behind the relus and clips that read nothing else."""
        out = core
        while len(out.users) == 1:
            user = next(iter(out.users))
            if not operators.has_limits(user) or user not in self._nodes:
                break
            out = user
            self._tails.add(user)
        return out

    def _take_functions(self) -> None:
        """Sums and products of two values; functions of one, however many operators they take."""
        cut: set[Traced] = set()
        while True:  # an operand of a binary operator starts a region of its own
            tails = set(self._tails)
            roots, meeting = self._roots(cut)
            needed = {operand for reads, _ in meeting for operand in reads if operand in roots}
            if needed <= cut:
                break
            cut |= needed
            self._tails = tails
        self.others += meeting
        for value, root in roots.items():
            if value in cut or any(user not in roots for user in value.users):
                self.others.append(([root], value))

    def _roots(self, cut: set[Traced]) -> tuple[dict[Traced, Traced], list[tuple[list[Traced], Traced]]]:
        """For each value of elementwise operators the one value that it is a function of; binary operators
        apart.
        """
        roots: dict[Traced, Traced] = {}
        meeting: list[tuple[list[Traced], Traced]] = []
        for node in self._nodes:
            if node in self._tails or not operators.is_elementwise(node) or operators.is_constant(node):
                continue
            given = [item for item in node.all_input_nodes if not operators.is_constant(item)]
            if not all(map(operators.is_real, given)):
                continue
            found = list(dict.fromkeys(item if item in cut else roots.get(item, item) for item in given))
            if len(found) == 1:
                roots[node] = found[0]
            elif len(given) == 2 and node.target in operators.BINARY:
                meeting.append((given, self._tail(node)))
        return roots, meeting
