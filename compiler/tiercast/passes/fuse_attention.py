"""Scores, softmax and values become one MemoryRead, which never holds all scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import insert_before, only_user, remove_dead, take_over
from tiercast.ir.report import PassReport
from tiercast.ir.slots import get_operand
from tiercast.ops.program import Instruction, Operand
from tiercast.ops.registry import DOMAIN, attr, dense_strides, op_of, shape
from tiercast.passes.attention_weights import Weights, find_weights
from tiercast.passes.epilogue import program_of

_LEAST_QUERIES = 8  # fewer leave most of a panel's columns empty


@dataclass(frozen=True)
class _Scores:
    """softmax's operand: scale * (product of `node`) + offset_scale * offsets, plus what cancels."""

    node: ir.Node
    scale: float
    offsets: ir.Value | None
    offset_scale: float


@dataclass(frozen=True)
class _Attention:
    """by_column: softmax runs down the columns of scores [..,S,L], and values [..,E,S] come from the left."""

    weights: Weights
    product: ir.Node
    scores: _Scores
    by_column: bool


def fuse_attention(model: ir.Model) -> PassReport:
    """values @ softmax(keys @ queries) or softmax(queries @ keys) @ values becomes a MemoryRead, in place.

    The softmax may be over the largest scores only: TopK, Softmax, and ScatterElements into zeros. Between
    the first product and the softmax, scaling and one offset per slot are understood; of the second form,
    values and result are transposed, which is refused where it moves more than the scores are.
    """
    report = PassReport("fuse_attention")
    for node in list(model.graph):
        found = _match(node)
        if found is None:
            continue
        refusal = found if isinstance(found, str) else _refusal(found)
        if isinstance(found, str) or refusal is not None:
            report.refuse(node, str(refusal))
            continue
        _fuse(found)
        report.apply(node, "scores stay in cache")
    remove_dead(model.graph)
    return report


def _match(node: ir.Node) -> _Attention | str | None:
    weights = find_weights(node)
    if weights is None or isinstance(weights, str):
        return weights
    product, scores = only_user(weights.value), _scores_of(weights.scores)
    if product is None or product.op_type != "Matmul" or scores is None:
        return None
    rank = len(shape(weights.value))
    if weights.axis == rank - 2 and product.inputs[1] is weights.value and not attr(product, "trans_b"):
        return _Attention(weights, product, scores, by_column=True)
    if weights.axis == rank - 1 and product.inputs[0] is weights.value:
        return _Attention(weights, product, scores, by_column=False)
    return None


def _scores_of(value: ir.Value | None) -> _Scores | None:
    producer = value.producer() if value is not None else None
    if value is None or producer is None or only_user(value) is None:
        return None
    if producer.op_type == "Matmul":
        return _Scores(producer, 1.0, None, 0.0)
    program = program_of(producer)
    if program is None or len(producer.inputs) > 2:
        return None
    places = [
        index
        for index, item in enumerate(producer.inputs)
        if item is not None and only_user(item) is producer and _is_product(item.producer())
    ]
    parts = _affine(program)
    if len(places) != 1 or parts is None:
        return None
    source, other = producer.inputs[places[0]], [item for item in producer.inputs if item is not None]
    assert source is not None
    other.remove(source)
    matmul = source.producer()
    assert matmul is not None
    offsets = other[0] if other else None
    return _Scores(matmul, float(parts[places[0]]), offsets, float(parts[1 - places[0]]) if other else 0.0)


def _is_product(node: ir.Node | None) -> bool:
    return node is not None and node.domain == DOMAIN and node.op_type == "Matmul"


def _affine(program: tuple[Instruction, ...]) -> np.ndarray | None:
    """(a, b, c) when the program is a * i0 + b * i1 + c, else None."""
    lines: list[np.ndarray] = []

    def value_of(item: Operand) -> np.ndarray:
        if not isinstance(item, str):
            return np.array([0.0, 0.0, float(item)])
        return lines[int(item[1:])] if item[0] == "t" else np.eye(3)[int(item[1:])]

    for line in program:
        made = _combine(line.op, [value_of(item) for item in line.operands])
        if made is None:
            return None
        lines.append(made)
    return lines[-1]


def _combine(op: str, operands: list[np.ndarray]) -> np.ndarray | None:
    numbers = [item[2] for item in operands if not item[:2].any()]
    if op == "neg":
        return -operands[0]
    if op == "add":
        return np.asarray(operands[0] + operands[1])
    if op == "sub":
        return np.asarray(operands[0] - operands[1])
    if op == "div" and not operands[1][:2].any() and operands[1][2]:
        return np.asarray(operands[0] / operands[1][2])
    if op == "mul" and numbers:
        return np.asarray(
            operands[1] * numbers[0] if not operands[0][:2].any() else operands[0] * numbers[-1]
        )
    return None


def _refusal(found: _Attention) -> str | None:
    for product in (found.scores.node, found.product):
        names = op_of(product).inputs
        extra = any(get_operand(product, names, name) is not None for name in ("bias", "slope", "residual"))
        if extra or attr(product, "activation") != "none":
            return "a product has a bias, a mask or an activation"
    if attr(found.product, "scale") != 1.0:
        return "the result is scaled"
    keys, queries, values = _operands(found)
    batch = shape(found.weights.value)[:-2]
    if any(shape(item)[:-2] != batch for item in (keys, queries, values)):
        return "batch axes broadcast"
    (slots, lines), width = _slots_and_queries(found), shape(found.product.outputs[0])[-1]
    if found.scores.offsets is not None and shape(found.scores.offsets) != _offset_shape(found):
        return f"offsets {shape(found.scores.offsets)} are not one per slot"
    if lines < _LEAST_QUERIES:
        return f"{lines} queries are fewer than {_LEAST_QUERIES}"
    if not found.by_column and not found.weights.top_k and slots * lines < 2 * width * (slots + lines):
        return "its scores are fewer than the values and results that would be transposed"
    return None


def _operands(found: _Attention) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Keys, queries and values as the two products take them."""
    first, second = found.scores.node.inputs[:2]
    values = found.product.inputs[0 if found.by_column else 1]
    assert first is not None and second is not None and values is not None
    return (first, second, values) if found.by_column else (second, first, values)


def _slots_and_queries(found: _Attention) -> tuple[int, int]:
    rows, columns = shape(found.weights.value)[-2:]
    return (rows, columns) if found.by_column else (columns, rows)


def _offset_shape(found: _Attention) -> tuple[int, ...]:
    dims = shape(found.weights.value)
    return (*dims[:-1], 1) if found.by_column else (*dims[:-2], 1, dims[-1])


def _fuse(found: _Attention) -> None:
    keys, queries, values = _operands(found)
    trans_b = bool(attr(found.scores.node, "trans_b"))
    slots_first = not found.by_column and not attr(found.product, "trans_b")
    offsets = found.scores.offsets
    made: list[ir.Node] = []
    if slots_first != (found.weights.top_k > 0):
        values = _turned(values, made)
    if found.by_column:
        trans_queries = trans_b
    else:
        trans_queries = True
        keys = keys if trans_b else _turned(keys, made)
        if offsets is not None:
            offsets = _emit(
                "Reshape", [offsets], {"shape": [*shape(offsets)[:-2], shape(offsets)[-1], 1]}, offsets, made
            )
    attributes = {
        "trans_queries": int(trans_queries),
        "scale": float(attr(found.scores.node, "scale")) * found.scores.scale,
        "offset_scale": found.scores.offset_scale,
        "top_k": found.weights.top_k,
    }
    operands = [keys, queries, values, *([offsets] if offsets is not None else [])]
    out = found.product.outputs[0]
    result = _emit("MemoryRead", operands, attributes, out, made)
    result = result if found.by_column else _turned(result, made)
    insert_before(found.product, made)
    take_over(out, result)


def _turned(value: ir.Value, made: list[ir.Node]) -> ir.Value:
    """The value with its last two axes swapped."""
    dims, strides = list(shape(value)), list(dense_strides(shape(value)))
    for items in (dims, strides):
        items[-2:] = items[:-3:-1]
    attributes = {"dims": dims, "in_strides": strides, "offset": 0, "shape": dims}
    return _emit("Copy", [value], attributes, value, made)


def _emit(
    op_type: str,
    inputs: Sequence[ir.Value],
    attributes: Mapping[str, Any],
    beside: ir.Value,
    made: list[ir.Node],
) -> ir.Value:
    """A new node's result, named after the value it stands in for or comes from."""
    name = f"{beside.name}/{op_type}"
    value = ir.Value(name=name)
    known = [ir.convenience.convert_attribute(key, item) for key, item in attributes.items()]
    node = ir.Node(DOMAIN, op_type, inputs, attributes=known, outputs=[value], name=name)
    ((kind, dims),) = op_of(node).infer(node)
    value.type, value.shape = ir.TensorType(kind), ir.Shape(dims)
    made.append(node)
    return value
