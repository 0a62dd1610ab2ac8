"""check: all refusals of a model at once, with nodes and rewrites; fall-backs; where operators run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from tiny_model import SHAPE, tiny_model

import tiercast
from tiercast.cli import call
from tiercast.errors import GraphError, ModelError, UnsupportedError, UsageError
from tiercast.frontend.quantized import is_quantized
from tiercast.ir.composites import can_be_split
from tiercast.ops.registry import legalizers
from tiercast.pipeline import compile_plan
from tiercast.preflight.rewrites import OTHERWISE, nearest_rewrite, rewrites

SHAPES = {"image": (1, 3, 16, 16)}


def proto(text: str, **constants: np.ndarray) -> onnx.ModelProto:
    """A model from ONNX text of opset 17."""
    head = '<ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1, "acme" : 1]> net '
    model = parser.parse_model(head + text)
    model.graph.initializer.extend(numpy_helper.from_array(data, name) for name, data in constants.items())
    return model


def broken_model() -> onnx.ModelProto:
    """Refusals of several kinds, and good nodes around them."""
    return proto(
        """(float[1,3,16,16] x, float[1,4,8,8,8,8] v, double[4] d)
         => (float[1,8,16,16] y, float[1,8] e, float[1,4,8,8,8,8] g, double[4] s, float[a,b] n) {
          [conv] c = Conv<pads=[1,1,1,1]>(x, w)
          [relu] r = Relu(c)
          [outer] e1 = Det(r)
          [after] e = Relu(e1)
          [gelu] q = acme.Twist(r)
          [places] nz = NonZero(r)
          [cast] nf = Cast<to=1>(nz)
          [rectify] n = Relu(nf)
          [volume] g = Conv(v, w4d)
          [root] s = Sqrt(d)
          [pool] p, i = MaxPool<kernel_shape=[1,1]>(r)
          [add] y0 = Add(p, q)
          [keep] y1 = Cast<to=1>(i)
          [sum] y = Add(y0, y1) }""",
        w=np.ones((8, 3, 3, 3), np.float32),
        w4d=np.ones((4, 4, 1, 1, 1, 1), np.float32),
    )


def test_a_good_model_tells_where_each_operator_runs() -> None:
    report = tiercast.check(tiny_model(), "linux-arm64", SHAPES)
    assert report.ok and not report.missing and not report.unchecked
    rows = {item.op: item for item in report.operators}
    assert rows["Conv"].count == 3 and "neon f32 x3" in rows["Conv"].where["cpu"]
    assert rows["Relu"].fused == 1 and rows["Add"].fused == 1 and rows["Sigmoid"].fused == 1
    for backend in ("opencl", "metal", "npu"):
        assert rows["Conv"].where[backend] == "not available in this version"
    plan = compile_plan(tiny_model(), "linux-arm64", SHAPES).plan
    told = {name: count for name, count in report.kernels.items() if name.startswith("conv2d")}
    steps = [step.kernel for step in plan.steps if step.kernel.startswith("conv2d")]
    assert told == {name: steps.count(name) for name in steps}


def test_all_refusals_come_at_once_with_nodes_and_rewrites() -> None:
    report = tiercast.check(broken_model(), "linux-arm64")
    assert not report.ok
    missing = {item.op: item for item in report.missing if item.op}
    assert set(missing) == {"Det", "acme.Twist", "NonZero", "Conv", "Sqrt"}
    assert missing["Det"].nodes == ("outer",) and "Mul" in missing["Det"].rewrite
    assert "Where" in missing["NonZero"].rewrite and "f32" in missing["Sqrt"].rewrite
    assert missing["Conv"].nodes == ("volume",) and "4 spatial axes" in missing["Conv"].rule
    assert missing["acme.Twist"].rewrite == OTHERWISE
    assert all(item.op for item in report.missing)  # f64 can be carried, only not computed with
    behind = dict(report.unchecked)
    assert set(behind) == {"cast (Cast)", "rectify (Relu)", "add (Add)", "sum (Add)"}
    assert "acme.Twist" in behind["add (Add)"]
    rows = {item.op: item for item in report.operators}
    assert "neon f32 x1" in rows["Conv"].where["cpu"]  # what stands around the gaps is compiled all the same
    assert rows["Relu"].fused == 1 and rows["Relu"].unchecked == 1 and "neon f32" in rows["Relu"].where["cpu"]


def test_compile_still_stops_with_the_unsupported_ones() -> None:
    with pytest.raises(UnsupportedError, match="NonZero") as caught:
        compile_plan(broken_model(), "linux-arm64")
    assert caught.value.missing == {"Det": ["outer"], "acme.Twist": ["gelu"], "NonZero": ["places"]}
    del caught
    lone = proto("(float[1,4,8,8,8,8] v) => (g) { g = Conv(v, w) }", w=np.ones((4, 4, 1, 1, 1, 1), "f4"))
    with pytest.raises(GraphError, match="4 spatial axes"):
        compile_plan(lone, "linux-arm64")


def test_open_dimensions_do_not_hide_missing_operators() -> None:
    model = proto('(float[1,"n"] x) => (float[a,b] y) { [where] z = NonZero(x)  y = Cast<to=1>(z) }')
    report = tiercast.check(model, "linux-arm64")
    assert [item.op for item in report.missing] == ["", "NonZero"]
    assert "--input" in report.missing[0].rewrite and "dynamic dimensions" in report.missing[0].rule


def test_fall_backs_are_told_by_kind() -> None:
    text = "(float[1,8,6,6] x) => (y) { a = Relu(x)  b = Erf(a)  c = TopK_in(b)  y = Neg(c) }"
    model = proto(text.replace("TopK_in(b)", "CumSum(b, axis)"), axis=np.array(3, np.int64))
    half = tiercast.check(model, "linux-arm64-v82", precision="f16")
    kinds = {item.kind for item in half.fallbacks}
    assert "precision" in kinds and half.ok
    assert any("no rows over f16" in item.reason for item in half.fallbacks if item.kind == "precision")
    transposed = proto(
        "(float[1,3,8,8] x) => (y) { [c] y = Conv(x, w) }", w=np.ones((4, 3, 3, 3), np.float32)
    )
    assert "copy" in {item.kind for item in tiercast.check(transposed, "linux-arm64").fallbacks}


def test_wrong_arguments_and_unreadable_models_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="target 'mars'"):
        tiercast.check(tiny_model(), "mars", SHAPES)
    with pytest.raises(UsageError, match="no f16 arithmetic"):
        tiercast.check(tiny_model(), "linux-arm64", SHAPES, precision="f16")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(ModelError, match="not an ONNX model"):
        tiercast.check(str(tmp_path / "junk.onnx"), "linux-arm64")


def test_an_untrained_torch_factory_is_checked_before_training(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Branch(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * 2 if x.sum() > 0 else x\n"
        "def branch():\n"
        "    return Branch(), (torch.rand(1, 3),)\n"
    )
    report = tiercast.check(f"{tmp_path / 'net.py'}:branch", "linux-arm64")
    assert len(report.missing) == 1 and "torch.where" in report.missing[0].rewrite


def test_the_command_exits_1_for_missing_and_on_request_for_fall_backs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    onnx.save(tiny_model(), good)
    onnx.save(broken_model(), bad)
    plain = ["check", str(good), "--target", "linux-arm64", "--input", SHAPE, "--json"]
    assert call(plain) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and told["failed_on"] == [] and told["operators"]
    assert call([*plain, "--fail-on", "portable"]) == 0
    assert call([*plain, "--fail-on", "copy"]) == 1 and call([*plain, "--strict"]) == 1
    assert call([*plain, "--fail-on", "luck"]) == 2
    capsys.readouterr()
    assert call(["check", str(bad), "--target", "linux-arm64"]) == 1
    shown = capsys.readouterr().out
    assert "missing Det x1" in shown and "nearest rewrite: " in shown and "does not compile" in shown


def test_rewrites_use_only_what_compiles() -> None:
    known = legalizers()
    for entry in rewrites():
        for op in entry.uses:
            assert op in known or can_be_split(op, 23), f"{entry.ops}: {op} does not compile itself"


def test_what_of_a_quantized_model_stays_in_f32_is_a_fall_back() -> None:
    model = proto(
        """(int8[4,64] x) => (int8[4,64] y) {
          r = DequantizeLinear(x, scale, zero)
          [island] s = Softmax(r)
          y = QuantizeLinear(s, scale, zero) }""",
        scale=np.array(1 / 256, np.float32),
        zero=np.array(-128, np.int8),
    )
    found = tiercast.check(model, "linux-arm64").fallbacks
    told = [item.reason for item in found if item.kind == "precision"]
    assert any("quantize_operators" in text and "Softmax" in text for text in told)


def test_every_onnx_operator_that_is_missing_has_a_rewrite() -> None:
    folded = {"Constant", "ConstantOfShape", "Shape", "Size"}  # never run on the device
    operators = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""} - folded
    known = {*legalizers(), *(op for op in operators if is_quantized("", op))}
    missing = {op for op in operators - known if not can_be_split(op, 28)}
    without = {op for op in missing if nearest_rewrite(op, "the operator is not supported") == OTHERWISE}
    assert not without
