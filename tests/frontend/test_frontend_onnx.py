"""ONNX files of any age reach the hub form; what is no model, or no supported one, is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper, parser

from tiercast.errors import ModelError, UsageError
from tiercast.frontend import load
from tiercast.ir.spec import check

NEWEST = onnx.defs.onnx_opset_version()


def model(text: str, opset: int = 23, **constants: np.ndarray) -> onnx.ModelProto:
    made = parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> g {text}')
    made.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()
    )
    return made


def run(proto: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


X = "(float[2,4,6,6] x) => (float y)"
SMALL = {"s": np.array([1, 1, 2, 2], np.float32)}
OLD_OPERATORS = {
    "softmax": (11, f"{X} {{ y = Softmax(x) }}", {}),
    "log_softmax": (11, f"{X} {{ y = LogSoftmax<axis=2>(x) }}", {}),
    "squeeze": (11, "(float[1,4,1,6] x) => (float y) { y = Squeeze<axes=[0,2]>(x) }", {}),
    "unsqueeze": (11, f"{X} {{ y = Unsqueeze<axes=[0,2]>(x) }}", {}),
    "reduce_sum": (11, f"{X} {{ y = ReduceSum<axes=[2,3], keepdims=0>(x) }}", {}),
    "reduce_mean": (13, f"{X} {{ y = ReduceMean<axes=[-1]>(x) }}", {}),
    "reduce_l2": (17, f"{X} {{ y = ReduceL2<axes=[1]>(x) }}", {}),
    "split": (11, f"{X} {{ a, y = Split<axis=1, split=[1,3]>(x) }}", {}),
    "split_13": (13, f"{X} {{ a, y = Split<axis=1>(x, s) }}", {"s": np.array([1, 3])}),
    "dropout": (11, f"{X} {{ y = Dropout<ratio=0.3>(x) }}", {}),
    "batch_norm": (
        11,
        f"{X} {{ y = BatchNormalization<epsilon=0.1>(x, b, b, b, b) }}",
        {"b": np.array([1, 2, 3, 4], np.float32)},
    ),
    "pad": (11, f'{X} {{ y = Pad<mode="reflect">(x, p) }}', {"p": np.array([0, 0, 1, 1, 0, 0, 2, 2])}),
    "resize_linear": (
        11,
        f'{X} {{ y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, r, s) }}',
        {"r": np.array([], np.float32), **SMALL},
    ),
    "resize_nearest": (13, f'{X} {{ y = Resize<mode="nearest", nearest_mode="floor">(x, , s) }}', SMALL),
    "resize_18": (18, f'{X} {{ y = Resize<mode="cubic">(x, , s) }}', SMALL),
    "grid_sample": (
        16,
        "(float[2,4,6,6] x, float[2,3,3,2] g) => (float y)"
        '{ y = GridSample<mode="bilinear", padding_mode="border">(x, g) }',
        {},
    ),
    "group_norm": (
        18,
        "(float[2,4,6,6] x) => (float[2,4,6,6] y) { y = GroupNormalization<num_groups=2>(x, s, s) }",
        {"s": np.array([1, 2], np.float32)},
    ),
    "avg_pool": (11, f"{X} {{ y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], ceil_mode=1>(x) }}", {}),
    "clip": (12, f"{X} {{ y = Clip(x, lo) }}", {"lo": np.array(-0.5, np.float32)}),
    "mvn": (11, f"{X} {{ y = MeanVarianceNormalization(x) }}", {}),
}


@pytest.mark.parametrize("name", OLD_OPERATORS)
def test_old_opsets_keep_their_meaning(name: str) -> None:
    opset, text, constants = OLD_OPERATORS[name]
    proto = model(text, opset, **constants)
    if not proto.graph.output[0].type.tensor_type.shape.dim:
        proto.graph.output[0].type.tensor_type.ClearField("shape")
    random = np.random.default_rng(0)
    ports = [port for port in proto.graph.input if port.name not in constants]
    inputs = {
        port.name: random.standard_normal([dim.dim_value for dim in port.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for port in ports
    }
    hub = load(proto)
    check(hub, "imported")
    np.testing.assert_allclose(run(ir.to_proto(hub), inputs), run(proto, inputs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "(float[2,4] x) => (float[2,4] y) { y = Relu(x) }",
        "(float[2,4] x) => (float[2,4] y) { y = Swish(x) }",
        '(float[2,4] x) => (float[2,4] y) { a = Cast<to=1, round_mode="up">(x)\n y = Identity(a) }',
        "(float[1,2,4,8] q, float[1,2,4,8] k, float[1,2,4,8] v) => (float[1,2,4,8] y)"
        "{ y = Attention(q, k, v) }",
    ],
)
def test_the_newest_opset_comes_down(text: str) -> None:
    proto = model(text, NEWEST)
    hub = load(proto)
    check(hub, "imported")
    random = np.random.default_rng(0)
    inputs = {
        port.name: random.standard_normal(port.shape.numpy()).astype(np.float32) for port in hub.graph.inputs
    }
    judge = onnx.reference.ReferenceEvaluator(proto)
    np.testing.assert_allclose(
        run(ir.to_proto(hub), inputs), judge.run(None, inputs)[0], rtol=1e-5, atol=1e-6
    )


def test_what_only_a_newer_opset_can_say_is_refused() -> None:
    proto = model("(float[4,4] x) => (float[4,4] y) { y = CumProd(x, a) }", NEWEST, a=np.array(0))
    with pytest.raises(ModelError, match="CumProd"):
        load(proto)


def test_named_dimensions_are_fixed_everywhere() -> None:
    proto = model("(float[N,3,H,W] x, float[N,3,H,W] z) => (float[N,3,H,W] y) { y = Add(x, z) }")
    hub = load(proto, {"x": (1, 3, 8, 6)})
    assert [tuple(port.shape or ()) for port in (*hub.graph.inputs, *hub.graph.outputs)] == [(1, 3, 8, 6)] * 3


@pytest.mark.parametrize(
    ("inputs", "error", "match"),
    [
        ({}, ModelError, r"(?s)x: Nx3xHxW.*--input x:1x3x256x256"),
        ({"image": (1, 3, 8, 8)}, UsageError, "no input 'image'; the model's inputs are x, z"),
        ({"x": (1, 3, 8)}, UsageError, "has 4 dimensions"),
        ({"x": (1, 4, 8, 8)}, UsageError, "dimension 1 .* is 3 already, not 4"),
        ({"x": (1, 3, 8, 8), "z": (2, 3, 8, 8)}, UsageError, r"dimension 0 \(N\) is 1 already, not 2"),
        ({"x": (0, 3, 8, 8)}, UsageError, "below 1"),
    ],
)
def test_wrong_shapes_are_explained(
    inputs: dict[str, tuple[int, ...]], error: type[Exception], match: str
) -> None:
    proto = model("(float[N,3,H,W] x, float[N,3,H,W] z) => (float[N,3,H,W] y) { y = Add(x, z) }")
    with pytest.raises(error, match=match):
        load(proto, inputs)


def test_all_unsupported_operators_are_named_before_any_work() -> None:
    proto = model(
        "(float[4] x) => (float[4] y) { a = Bogus(x)\n b = Relu(a)\n c = com.acme.Magic(b)\n y = Det2(c) }"
    )
    proto.opset_import.append(helper.make_opsetid("com.acme", 1))
    proto.graph.node[0].name = "first"
    with pytest.raises(
        ModelError, match=r'(?s)3 operator\(s\).*Bogus: "first".*Det2: "y".*com.acme.Magic: "c"'
    ):
        load(proto)


def test_operators_on_shapes_alone_count_as_supported() -> None:
    proto = model(
        "(float[2,3] x) => (float[6] y) { s = Shape(x)\n p = ReduceProd<keepdims=1>(s)\n y = Reshape(x, p) }"
    )
    assert load(proto).graph.num_nodes() == 3


def test_local_functions_are_inlined() -> None:
    proto = parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 23, "local" : 1]>
        g (float[4] x) => (float[4] y) { y = local.twice(x) }
        <domain: "local", opset_import: ["" : 23]> twice (a) => (b) { b = Add(a, a) }"""
    )
    assert [node.op_type for node in load(proto).graph] == ["Add"]


def test_external_data(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    proto = model("(float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }", w=weight)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    loaded = load(path).graph.initializers["w"].const_value
    assert loaded is not None
    np.testing.assert_array_equal(loaded.numpy(), weight)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(ModelError, match="external data"):
        load(path)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "text", "absent"])
def test_what_is_no_model_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.onnx"
    data = model("(float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }", w=np.ones((64, 64), np.float32))
    whole = data.SerializeToString()
    content = {
        "cut": whole[: len(whole) // 2],
        "garbage": np.random.default_rng(0).bytes(1000),
        "empty": b"",
        "text": b"not a model\n" * 20,
    }
    if damage in content:
        path.write_bytes(content[damage])
    with pytest.raises(ModelError, match=r"onnx:m\.onnx"):
        load(path)


def test_mutated_files_never_crash(tmp_path: Path) -> None:
    """Flipped bytes give a model or a TiercastError, nothing else."""
    whole = bytearray(
        model("(float[1,8] x) => (float[1,8] y) { a = Relu(x)\n y = Sigmoid(a) }").SerializeToString()
    )
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in random.integers(0, len(whole), 3):
            damaged[position] = random.integers(0, 256)
        path = tmp_path / "m.onnx"
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(ModelError, UsageError):
            load(path)


def test_shapes_that_contradict_each_other_are_refused() -> None:
    proto = model("(float[2,3] x, float[5,4] z) => (float[2,4] y) { y = MatMul(x, z) }")
    with pytest.raises(ModelError, match="MatMul"):
        load(proto)


def test_an_unknown_source_lists_what_is_taken() -> None:
    with pytest.raises(UsageError, match=r"(?s)'model\.bin' is no model.*\.onnx.*\.pt2"):
        load("model.bin")
    with pytest.raises(UsageError, match="a dict"):
        load({})


def test_initializers_that_are_inputs_too_are_constants() -> None:
    proto = model("(float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", w=np.ones(2, np.float32))
    assert [port.name for port in load(proto).graph.inputs] == ["x"]


def test_the_source_is_left_as_it_was() -> None:
    proto = model("(float[N] x) => (float[N] y) { y = Relu(x) }", 13)
    before = proto.SerializeToString()
    load(proto, {"x": (3,)})
    assert proto.SerializeToString() == before


@pytest.mark.parametrize("opset", [13, 23])
def test_the_default_domain_by_its_long_name(opset: int) -> None:
    proto = model("(float[2] x) => (float[2] y) { y = Relu(x) }", opset)
    proto.graph.node[0].domain = "ai.onnx"
    hub = load(proto)
    check(hub, "imported")
    assert hub.graph.node(0).domain == ""
