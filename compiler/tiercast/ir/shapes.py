"""ONNX's shape inference, also through the operator that it knows no shape of."""

from __future__ import annotations

import onnx
from onnx import shape_inference

# ONNX defines GroupNormalization by a body only, whose shapes it can't follow; its result has the shape of
# its first input, as that of InstanceNormalization has, which ONNX does know.
_SHAPED_LIKE = {"GroupNormalization": "InstanceNormalization"}


def infer_shapes(proto: onnx.ModelProto, strict: bool = False) -> onnx.ModelProto:
    """A copy of the model with the types and shapes of its values, as far as they follow from its inputs.

    Values of shape inputs are followed (ONNX's data propagation). strict: raises
    `onnx.shape_inference.InferenceError` where shapes contradict each other.
    """
    renamed = [node for node in proto.graph.node if not node.domain and node.op_type in _SHAPED_LIKE]
    kinds = [node.op_type for node in renamed]
    for node in renamed:
        node.op_type = _SHAPED_LIKE[node.op_type]
    try:
        done = shape_inference.infer_shapes(proto, strict_mode=strict, data_prop=True)
    finally:
        for node, kind in zip(renamed, kinds, strict=True):
            node.op_type = kind
    outputs = {node.output[0]: kind for node, kind in zip(renamed, kinds, strict=True)}
    for node in done.graph.node:
        node.op_type = outputs.get(node.output[0], node.op_type) if node.output else node.op_type
    return done
