"""Einsum as transposes, sums and one matrix product for each pair of operands."""

from __future__ import annotations

import math
import string

import numpy as np
import onnx_ir as ir

from tiercast.passes.expansion import Expansion, known_shape, option

Operand = tuple[ir.Value, list[str], dict[str, int]]


def expand_einsum(node: ir.Node) -> str | None:
    """Replaces an Einsum of any number of operands, with ellipses and diagonals; None, never a refusal."""
    build = Expansion(node)
    shapes = [known_shape(value) for value in node.inputs]
    terms, result = _terms(option(node, "equation", ""), [len(shape) for shape in shapes])
    operands = []
    for value, shape, names in zip(node.inputs, shapes, terms, strict=True):
        assert value is not None
        operands.append(_diagonal(build, value, shape, names))
    current, term, sizes = operands[0]
    for at, (value, names, more) in enumerate(operands[1:], 1):
        sizes = {name: max(sizes.get(name, 1), more.get(name, 1)) for name in (*sizes, *more)}
        needed = set(result).union(*(item[1] for item in operands[at + 1 :]))
        current, term = _product(build, (current, term), (value, names), sizes, needed)
    lost = [axis for axis, name in enumerate(term) if name not in result]
    if lost:
        current = build.op("ReduceSum", current, np.array(lost, np.int64), keepdims=0)
        term = [name for name in term if name in result]
    order = [term.index(name) for name in result]
    build.finish(build.op("Transpose", current, perm=order) if term else current)
    return None


def _terms(equation: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """The names of each operand's axes and of the result's; an ellipsis' axes are called 0, 1, ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    dotted = [(text, rank) for text, rank in zip(texts, ranks, strict=True) if "..." in text]
    wide = max((rank - len(text) + 3 for text, rank in dotted), default=0)

    def names(text: str, rank: int) -> list[str]:
        before, dots, after = text.partition("...")
        count = rank - len(before) - len(after) if dots else 0
        return [*before, *(str(axis) for axis in range(wide - count, wide)), *after]

    terms = [names(text, rank) for text, rank in zip(texts, ranks, strict=True)]
    if arrow:
        return terms, names(right, len(right.replace("...", "")) + (wide if "..." in right else 0))
    letters = [name for term in terms for name in term if name in string.ascii_letters]
    once = sorted(name for name in set(letters) if letters.count(name) == 1)
    return terms, [*(str(axis) for axis in range(wide)), *once]


def _diagonal(build: Expansion, value: ir.Value, shape: tuple[int, ...], term: list[str]) -> Operand:
    """The operand with each axis named once: of one named twice the diagonal, by a mask and a sum."""
    names, dims = list(term), list(shape)
    for name in [item for item in dict.fromkeys(names) if names.count(item) > 1]:
        first, second = [axis for axis, item in enumerate(names) if item == name][:2]
        mask = np.eye(dims[first], dtype=np.float32).reshape(
            [dim if axis in (first, second) else 1 for axis, dim in enumerate(dims)]
        )
        kept = build.op("Mul", value, mask)
        value = build.op("ReduceSum", kept, np.array([second], np.int64), keepdims=0)
        del names[second], dims[second]
    return value, names, dict(zip(names, dims, strict=True))


def _product(
    build: Expansion,
    left: tuple[ir.Value, list[str]],
    right: tuple[ir.Value, list[str]],
    sizes: dict[str, int],
    needed: set[str],
) -> tuple[ir.Value, list[str]]:
    """Both operands' product, summed over the axes that nothing needs any more, as one MatMul."""
    (a, a_names), (b, b_names) = left, right
    batch = [name for name in a_names if name in b_names and name in needed]
    summed = [name for name in a_names if name in b_names and name not in needed]
    rows = [name for name in a_names if name not in b_names]
    columns = [name for name in b_names if name not in a_names]
    a = _matrix(build, a, a_names, (batch, rows, summed), sizes)
    b = _matrix(build, b, b_names, (batch, summed, columns), sizes)
    names = [*batch, *rows, *columns]
    return build.reshape(build.op("MatMul", a, b), *(sizes[name] for name in names)), names


def _matrix(
    build: Expansion, value: ir.Value, names: list[str], groups: tuple[list[str], ...], sizes: dict[str, int]
) -> ir.Value:
    """The value as [batch, rows, columns], of the three groups of axes."""
    order = [name for group in groups for name in group]
    turned = build.op("Transpose", value, perm=[names.index(name) for name in order]) if order else value
    full = build.op("Expand", turned, np.array([sizes[name] for name in order], np.int64))
    return build.reshape(full, *(math.prod(sizes[name] for name in group) for group in groups))
