"""Stage specs name the node and the rule; saved stages pass onnx.checker; text is readable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tiercast.errors import GraphError
from tiercast.frontend import load
from tiercast.ir import domain
from tiercast.ir.print import to_text
from tiercast.ir.spec import check
from tiercast.passes.assign_layout import assign_layout
from tiercast.passes.fuse_activation import fuse_activation

W = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)


def small(body: str = "c = Conv<strides=[2,2]>(x, w)\n y = Relu(c)") -> ir.Model:
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 23]> g (float[1,3,9,9] x) => (float[1,4,4,4] y) {{ {body} }}'
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    return load(proto)


def laid_out() -> ir.Model:
    model = small()
    assign_layout(model)
    return model


def conv_of(model: ir.Model) -> ir.Node:
    return next(node for node in model.graph if node.op_type in ("Conv2d", "Conv"))


def test_good_stages_pass() -> None:
    model = small()
    check(model, "imported")
    check(model, "simplified")
    assign_layout(model)
    check(model, "laid_out")
    fuse_activation(model)
    check(model, "fused")


def test_an_identity_is_not_simplified() -> None:
    with pytest.raises(GraphError, match=r"'simplified'.*\(Identity\).*no identities"):
        check(small("c = Conv<strides=[2,2]>(x, w)\n d = Identity(c)\n y = Relu(d)"), "simplified")


def test_an_onnx_operator_is_not_laid_out() -> None:
    with pytest.raises(GraphError, match="only ops of the tiercast domain"):
        check(small(), "laid_out")


def test_unknown_attributes_inputs_and_shapes_are_found() -> None:
    model = laid_out()
    conv_of(model).attributes["bogus"] = ir.AttrInt64("bogus", 1)
    with pytest.raises(GraphError, match=r"unknown attributes \['bogus'\]"):
        check(model, "laid_out")
    model = laid_out()
    conv_of(model).replace_input_with(1, None)
    with pytest.raises(GraphError, match="its input 'weight' is absent"):
        check(model, "laid_out")
    model = laid_out()
    conv_of(model).outputs[0].shape = ir.Shape([1, 4, 5, 4])
    with pytest.raises(GraphError, match="its inputs make"):
        check(model, "laid_out")
    model = laid_out()
    conv_of(model).outputs[0].shape = None
    with pytest.raises(GraphError, match="static shape"):
        check(model, "laid_out")


def test_order_and_names() -> None:
    model = laid_out()
    first, second = list(model.graph)[-2:]
    model.graph.remove(first)
    model.graph.insert_after(second, first)
    with pytest.raises(GraphError, match="before it is computed"):
        check(model, "laid_out")
    model = laid_out()
    first, second = list(model.graph)[-2:]
    first.outputs[0].name = second.outputs[0].name
    with pytest.raises(GraphError, match="two values are called"):
        check(model, "laid_out")


def test_a_saved_stage_is_a_valid_model_whose_shapes_infer(tmp_path: Path) -> None:
    model = laid_out()
    fuse_activation(model)
    domain.validate(model)
    ir.save(model, tmp_path / "stage.onnx")
    proto = onnx.load(tmp_path / "stage.onnx")
    onnx.checker.check_model(proto)
    del proto.graph.value_info[:]
    with domain.schemas(model.graph):
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in inferred.graph.value_info
    }
    assert shapes[conv_of(model).outputs[0].name or ""] == [1, 4, 4, 4]
    assert not onnx.defs.has("Conv2d", 1, domain.DOMAIN)


def test_schemas_refuse_what_the_op_refuses() -> None:
    model = laid_out()
    conv_of(model).attributes["bogus"] = ir.AttrInt64("bogus", 1)
    with pytest.raises(onnx.checker.ValidationError, match="bogus"):
        domain.validate(model)
    model = laid_out()
    conv_of(model).attributes["strides"] = ir.AttrInt64s("strides", [0, 0])
    with pytest.raises(onnx.shape_inference.InferenceError, match="strides"):
        domain.validate(model)


def test_text_shows_every_node() -> None:
    model = laid_out()
    fuse_activation(model)
    text = to_text(model)
    assert text.startswith("graph g(%x: f32[1,3,9,9])")
    assert "= Conv2d(%" in text and "activation=relu" in text and "const f32[4,3,3,3]" in text
    assert text.splitlines()[-1].startswith("  return %")
