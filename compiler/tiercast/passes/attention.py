"""Attention as scores, softmax and values."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import insert_before, new_constant, static_shape, take_over


def expand_attention(node: ir.Node) -> str | None:
    """Inserts softmax(q kᵀ · scale + mask) v before an ONNX Attention node (opset 23) and gives it the node's
    uses.

    q [N,H,L,D], k [N,H,S,D], v [N,H,S,E] or rank 3 with the heads in the last dimension; mask of floats,
    broadcast to [N,H,L,S]. Returns the refusal, with nothing changed, for what the identity does not say:
    past and present state, other outputs, grouped heads, softcap, boolean masks.
    """
    refusal = _refusal(node)
    if refusal is not None:
        return refusal
    query, key, value = (item for item in node.inputs[:3] if item is not None)
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    build = _Builder(node)
    if len(query.shape or ()) == 3:
        heads = node.attributes["q_num_heads"].as_int()
        query, key, value = (build.split_heads(item, heads) for item in (query, key, value))
        out = build.join_heads(build.attend(query, key, value, mask))
    else:
        out = build.attend(query, key, value, mask)
    take_over(node.outputs[0], out)
    return None


def _refusal(node: ir.Node) -> str | None:
    shapes = [static_shape(value) for value in node.inputs[:3]]
    if any(shape is None for shape in shapes):
        return "its shapes are not static"
    if any(value is not None for value in node.inputs[4:]):
        return "it has past state"
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "its present state or scores are used"
    if _int(node, "qk_matmul_output_mode"):
        return "it returns scores"
    if "softcap" in node.attributes and node.attributes["softcap"].as_float() != 0.0:
        return "it has a softcap"
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    if mask is not None and mask.dtype != ir.DataType.FLOAT:
        return "its mask is not of floats"
    rank = len(shapes[0] or ())
    heads = (
        [_int(node, "q_num_heads"), _int(node, "kv_num_heads")]
        if rank == 3
        else [shape[1] for shape in shapes[:2] if shape]
    )
    return "queries and keys differ in their number of heads" if heads[0] != heads[1] else None


def _int(node: ir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0


class _Builder:
    """Inserts nodes before the attention node, with static shapes."""

    def __init__(self, node: ir.Node) -> None:
        self._node = node
        self._stem = node.outputs[0].name or "attention"
        self._count = 0

    def attend(self, query: ir.Value, key: ir.Value, value: ir.Value, mask: ir.Value | None) -> ir.Value:
        batch, heads, queries, depth = static_shape(query) or ()
        keys, width = (static_shape(value) or ())[2:]
        scale = (
            self._node.attributes["scale"].as_float()
            if "scale" in self._node.attributes
            else 1.0 / math.sqrt(depth)
        )
        factor = self._constant("scale", np.float32(scale))
        scaled = self._add("Mul", [query, factor], (batch, heads, queries, depth))
        turned = self._add("Transpose", [key], (batch, heads, depth, keys), {"perm": [0, 1, 3, 2]})
        scores = self._add("MatMul", [scaled, turned], (batch, heads, queries, keys))
        masks = [] if mask is None else [mask]
        if _int(self._node, "is_causal"):  # query i sees keys 0..i
            future = np.triu(np.full((queries, keys), -np.inf, np.float32), 1)
            masks.append(self._constant("causal", future))
        for item in masks:
            scores = self._add("Add", [scores, item], (batch, heads, queries, keys))
        weights = self._add("Softmax", [scores], (batch, heads, queries, keys), {"axis": -1})
        return self._add("MatMul", [weights, value], (batch, heads, queries, width))

    def split_heads(self, value: ir.Value, heads: int) -> ir.Value:
        batch, length, width = static_shape(value) or ()
        parted = self._reshape(value, (batch, length, heads, width // heads))
        return self._add(
            "Transpose", [parted], (batch, heads, length, width // heads), {"perm": [0, 2, 1, 3]}
        )

    def join_heads(self, value: ir.Value) -> ir.Value:
        batch, heads, length, width = static_shape(value) or ()
        turned = self._add("Transpose", [value], (batch, length, heads, width), {"perm": [0, 2, 1, 3]})
        return self._reshape(turned, (batch, length, heads * width))

    def _reshape(self, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        return self._add("Reshape", [value, self._constant("shape", np.array(shape, np.int64))], shape)

    def _constant(self, what: str, data: np.ndarray | np.generic) -> ir.Value:
        graph = self._node.graph
        assert isinstance(graph, ir.Graph)
        return new_constant(graph, f"{self._stem}.{what}", np.asarray(data))

    def _add(
        self,
        op_type: str,
        inputs: list[ir.Value],
        shape: tuple[int, ...],
        attributes: dict[str, int | list[int]] | None = None,
    ) -> ir.Value:
        name = f"{self._stem}.{op_type.lower()}{self._count}"
        self._count += 1
        value = ir.Value(name=name, shape=ir.Shape(shape), type=self._node.outputs[0].type)
        made = ir.node(op_type, inputs, attributes or {}, outputs=[value], name=name)
        insert_before(self._node, [made])
        return value
