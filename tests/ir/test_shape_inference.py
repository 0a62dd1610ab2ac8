"""Shape inference goes through operators that ONNX itself can't follow."""

from __future__ import annotations

import onnx
import pytest

from tiercast.ir.shapes import infer_shapes

NORM = """<ir_version: 10, opset_import: ["" : 23]> g (float[1,16,8,8] x, float[16] s, float[16] b)
=> (float[1,16,8,8] y) { h = GroupNormalization<num_groups=4>(x, s, b)  y = Relu(h) }"""


@pytest.mark.parametrize("strict", [False, True])
def test_the_shape_behind_a_group_norm_is_known_and_its_name_stays(strict: bool) -> None:
    done = infer_shapes(onnx.parser.parse_model(NORM), strict=strict)
    assert [node.op_type for node in done.graph.node] == ["GroupNormalization", "Relu"]
    (inner,) = done.graph.value_info
    assert [dim.dim_value for dim in inner.type.tensor_type.shape.dim] == [1, 16, 8, 8]


def test_strict_inference_refuses_shapes_that_contradict_each_other() -> None:
    text = NORM.replace("Relu(h)", "Add(h, x7)").replace("float[16] b)", "float[16] b, float[7] x7)")
    with pytest.raises(onnx.shape_inference.InferenceError, match="Add"):
        infer_shapes(onnx.parser.parse_model(text), strict=True)
