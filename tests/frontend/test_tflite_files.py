"""TFLite files: names and shapes of ports, constants in every form, and what is damaged or not supported."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frontend.tflite_operators import CASES, SAME, real
from tests.frontend.tflite_writer import Graph, write
from tiercast.errors import ModelError, UsageError
from tiercast.frontend import load, reference
from tiercast.pipeline import compile, compile_plan
from tiercast.session import Session


def small(dims: tuple[int, ...] = (1, 6, 6, 3), **more: object) -> Graph:
    """Convolution, global average, fully connected."""
    graph = Graph()
    x = graph.input("serving_default_image:0", dims, **more)  # type: ignore[arg-type]
    y, pooled = graph.tensor("conv", (1, 6, 6, 4)), graph.tensor("pooled", (1, 4))
    graph.op(
        "CONV_2D", [x, graph.constant(real(4, 3, 3, 3)), graph.constant(real(4))], [y],
        "Conv2DOptions", StrideH=1, StrideW=1, Padding=SAME,
    )  # fmt: skip
    graph.op("MEAN", [y, graph.constant(np.array([1, 2], np.int32))], [pooled], "ReducerOptions")
    out = graph.result("StatefulPartitionedCall:0", (1, 2))
    graph.op(
        "FULLY_CONNECTED", [pooled, graph.constant(real(2, 4)), graph.constant(real(2))], [out],
        "FullyConnectedOptions",
    )  # fmt: skip
    return graph


def ports(model: ir.Model) -> list[tuple[str | None, tuple[int, ...]]]:
    values = (*model.graph.inputs, *model.graph.outputs)
    return [(value.name, tuple(int(dim) for dim in value.shape or ())) for value in values]  # type: ignore[arg-type]


def test_ports_are_those_of_the_file() -> None:
    expected = [("serving_default_image:0", (1, 6, 6, 3)), ("StatefulPartitionedCall:0", (1, 2))]
    assert ports(load(write(small()))) == expected


def test_a_signature_names_the_ports() -> None:
    graph = small()
    names = {"inputs": {"image": graph.inputs[0]}, "outputs": {"scores": graph.outputs[0]}}
    assert [name for name, _ in ports(load(write(graph, names)))] == ["image", "scores"]


def test_an_incomplete_signature_names_nothing() -> None:
    graph = small()
    names = {"inputs": {"image": graph.inputs[0]}, "outputs": {}}
    assert [name for name, _ in ports(load(write(graph, names)))] == ["image", "StatefulPartitionedCall:0"]


def test_equal_names_are_told_apart() -> None:
    graph = Graph()
    x = [graph.input("x", (2,)), graph.input("x", (2,))]
    graph.op("ADD", x, [graph.result("x")], "AddOptions")
    assert [name for name, _ in ports(load(write(graph)))] == ["x", "x.1", "x.2"]


@pytest.mark.native
def test_another_batch_is_compiled_and_right(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    data = write(small(signature=[-1, 6, 6, 3]))
    name = "serving_default_image:0"
    image = np.random.default_rng(0).standard_normal((4, 6, 6, 3)).astype(np.float32)
    session = Session(compile(data, output=tmp_path / "m.tcpkg", inputs={name: image.shape}))
    _, run = reference(data)
    np.testing.assert_allclose(
        *session.run({name: image}).values(), run({name: image})[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"image": (1, 6, 6, 3)}, "no input 'image'; the model's inputs are serving_default_image:0"),
        ({"serving_default_image:0": (6, 6, 3)}, "6x6x3 does not fit"),
        (
            {"serving_default_image:0": (1, 8, 6, 3)},
            "changes axis 1, which the file fixes; open are axes \\[0\\]",
        ),
    ],
)
def test_wrong_inputs_are_told(inputs: dict[str, tuple[int, ...]], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        load(write(small(signature=[-1, 6, 6, 3])), inputs)


def test_nothing_is_copied_to_change_layouts() -> None:
    plan = compile_plan(write(small())).plan
    assert [step.kernel for step in plan.steps if step.op.startswith("copy")] == []


@pytest.mark.native
def test_half_precision_weights_become_floats(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", (3, 8))
    weight = real(5, 8).astype(np.float16)
    wide = graph.tensor("wide", (5, 8))
    graph.op("DEQUANTIZE", [graph.constant(weight)], [wide], "DequantizeOptions")
    graph.op("FULLY_CONNECTED", [x, wide], [graph.result()], "FullyConnectedOptions")
    session = Session(compile(write(graph), output=tmp_path / "m.tcpkg"))
    rows = real(3, 8)
    np.testing.assert_allclose(session.run({"x": rows})["y"], rows @ weight.astype(np.float32).T, rtol=1e-5)


@pytest.mark.native
def test_integer_weights_of_float_models_are_dequantized(tmp_path: Path) -> None:
    """Per channel; LiteRT would quantize the activations of each run as well, which loses more."""
    graph = Graph()
    x = graph.input("x", (3, 8))
    weight = np.random.default_rng(0).integers(-127, 128, (5, 8)).astype(np.int8)
    scales = np.linspace(0.01, 0.05, 5).astype(np.float32)
    stored = graph.constant(weight, scales=scales, axis=0)
    graph.op("FULLY_CONNECTED", [x, stored], [graph.result()], "FullyConnectedOptions")
    session = Session(compile(write(graph), output=tmp_path / "m.tcpkg"))
    rows = real(3, 8)
    expected = rows @ (weight * scales[:, None]).T
    np.testing.assert_allclose(session.run({"x": rows})["y"], expected, rtol=1e-5, atol=1e-5)


def test_four_bit_weights_are_unpacked() -> None:
    graph = Graph()
    x = graph.input("x", (1, 3))
    packed = np.array([0xF1, 0x87], np.uint8)  # 1, -1, 7 and a half that is not used
    weight = graph.tensor("w", (1, 3), "INT4", buffer=packed[:2], scales=[0.5])
    graph.op("FULLY_CONNECTED", [x, weight], [graph.result()], "FullyConnectedOptions")
    hub = load(write(graph))
    stored = [v.const_value.numpy() for v in hub.graph.initializers.values() if v.const_value is not None]
    assert any(item.dtype == np.int8 and item.reshape(-1).tolist() == [1, -1, 7] for item in stored)


def test_a_dilated_convolution_in_tensorflow_disguise_is_one() -> None:
    graph = Graph()
    x = graph.input("x", (1, 7, 7, 2))
    two = graph.constant(np.array([2, 2], np.int32))
    pads, crops = np.array([[2, 3], [2, 3]], np.int32), np.array([[0, 1], [0, 1]], np.int32)
    batched, filtered = graph.tensor("batched", (4, 6, 6, 2)), graph.tensor("filtered", (4, 4, 4, 2))
    graph.op("SPACE_TO_BATCH_ND", [x, two, graph.constant(pads)], [batched], "SpaceToBatchNDOptions")
    graph.op(
        "DEPTHWISE_CONV_2D", [batched, graph.constant(real(1, 3, 3, 2)), graph.constant(real(2))], [filtered],
        "DepthwiseConv2DOptions", StrideH=1, StrideW=1, Padding=1, DepthMultiplier=1,
    )  # fmt: skip
    graph.op(
        "BATCH_TO_SPACE_ND", [filtered, two, graph.constant(crops)], [graph.result(shape=(1, 7, 7, 2))],
        "BatchToSpaceNDOptions",
    )  # fmt: skip
    data = write(graph)
    kinds = [node.op_type for node in load(data).graph if node.op_type != "Transpose"]
    assert kinds in (["Conv"], ["Conv", "Identity"])
    if pytest.importorskip("ai_edge_litert"):
        image = real(1, 7, 7, 2)
        _, expected = reference(data)
        _, got = reference(load(data))
        np.testing.assert_allclose(got({"x": image})[0], expected({"x": image})[0], rtol=1e-5, atol=1e-5)


# -- control flow


def counted(turns: int, unit: int = 1) -> list[Graph]:
    """while (i < turns) { x = x * 2; i += unit }."""
    main, condition, body = Graph(), Graph(), Graph()
    x = main.input("x", (3,))
    start, done = main.constant(np.int32(0), "zero"), main.tensor("i", (), "INT32")
    main.op(
        "WHILE", [start, x], [done, main.result()], "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2
    )
    i, _ = condition.input("i", (), "INT32"), condition.input("x", (3,))
    condition.op(
        "LESS", [i, condition.constant(np.int32(turns))], [condition.result("go", (), "BOOL")], "LessOptions"
    )
    j, z = body.input("i", (), "INT32"), body.input("x", (3,))
    body.op("ADD", [j, body.constant(np.int32(unit))], [body.result("j", (), "INT32")], "AddOptions")
    body.op("MUL", [z, body.constant(np.float32(2))], [body.result("w", (3,))], "MulOptions")
    return [main, condition, body]


def test_a_counted_loop_is_unrolled() -> None:
    _, run = reference(load(write(counted(5))))
    np.testing.assert_array_equal(run({"x": np.ones(3, np.float32)})[0], np.full(3, 32, np.float32))


def test_an_endless_loop_is_refused() -> None:
    with pytest.raises(ModelError, match=r"operator 0 \(WHILE\).*more than 1024 times"):
        load(write(counted(5, unit=0)))


def test_a_loop_over_data_is_refused() -> None:
    graphs = counted(5)
    graphs[0].operators[0]["inputs"] = [graphs[0].input("n", (), "INT32"), graphs[0].inputs[0]]
    with pytest.raises(ModelError, match="how often the loop turns depends on data"):
        load(write(graphs))


def test_a_body_that_runs_itself_is_refused() -> None:
    main, body = Graph(), Graph()
    for graph in (main, body):
        x, y = graph.input("x", (3,)), graph.result("y", (3,))
        yes = graph.constant(np.bool_(True))
        graph.op("IF", [yes, x], [y], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=1)
    with pytest.raises(ModelError, match="more than 16 deep"):
        load(write([main, body]))


def test_a_condition_on_data_is_refused() -> None:
    main, body = Graph(), Graph()
    x, c = main.input("x", (3,)), main.input("c", (), "BOOL")
    main.op("IF", [c, x], [main.result()], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=1)
    body.op("NEG", [body.input("x", (3,))], [body.result("y", (3,))], "NegOptions")
    with pytest.raises(ModelError, match=r"the condition \(tensor 'c'\) is computed at run time"):
        load(write([main, body]))


# -- what is refused


def test_all_unsupported_operators_are_listed_at_once() -> None:
    graph = Graph()
    x = graph.input("x", (3,))
    a, b, c = (graph.tensor(name, (3,)) for name in "abc")
    graph.op("CUSTOM", [x], [a], custom="TFLite_Detection_PostProcess")
    graph.op("CUSTOM", [a], [b], custom="FlexErf")
    graph.op("UNIQUE", [b], [c])
    graph.op("UNIQUE", [c], [graph.result()])
    match = (
        r"(?s)3 operator\(s\).*CUSTOM 'FlexErf': \"b\".*"
        r"TFLite_Detection_PostProcess': \"a\".*UNIQUE: \"c\", \"y\""
    )
    with pytest.raises(ModelError, match=match):
        load(write(graph))


def refused(**tensor: object) -> bytes:
    """x + a constant tensor of this kind."""
    graph = Graph()
    x = graph.input("x", (2,))
    other = graph.tensor("other", **{"shape": (2,), **tensor})  # type: ignore[arg-type]
    graph.op("ADD", [x, other], [graph.result()], "AddOptions")
    return write(graph)


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        ({}, "'other' is read, but nothing computes it and its buffer is empty"),
        (
            {"data": np.zeros(3, np.float32)},
            r"'other': its buffer has 12 bytes, FLOAT32 of shape \(2,\) has 8",
        ),
        ({"shape": (-3,)}, r"'other' has shape \(-3,\): a dimension is negative"),
        ({"shape": (1,) * 9}, "'other' has 9 dimensions, more than 8"),
        ({"sparse": True}, "'other' is stored sparsely"),
        ({"kind": "STRING", "data": np.zeros(2, np.uint8)}, "'other' is of type STRING"),
        ({"kind": "COMPLEX64", "data": np.zeros(2, np.float64)}, "'other' is of type COMPLEX64"),
        (
            {"kind": "INT16", "data": np.zeros(2, np.int16), "scales": [1.0]},
            "'other' is quantized to 16 bits",
        ),
        ({"kind": "INT8", "data": np.zeros(2, np.int8), "scales": [np.nan]}, "scales must be finite"),
        (
            {"kind": "INT8", "data": np.zeros(2, np.int8), "scales": [1.0] * 3},
            "3 scales along axis 0 do not fit",
        ),
        (
            {"kind": "INT8", "data": np.zeros(2, np.int8), "scales": [1.0], "zeros": [300]},
            "300 is no int8|zero point of 300",
        ),
        ({"buffer": {"offset": 1 << 33, "size": 8}}, "'other': its data are bytes 8589934592..8589934600"),
    ],
)
def test_bad_tensors_are_named(tensor: dict[str, object], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        load(refused(**tensor))


def test_constants_behind_the_flatbuffer_are_read() -> None:
    """Files over 2 GB keep them there; the offsets count from the file's start."""
    numbers = np.array([3.0, -1.5], np.float32)
    size = len(refused(buffer={"offset": 1 << 20, "size": 8}))
    data = refused(buffer={"offset": size, "size": 8})
    assert len(data) == size
    _, run = reference(load(data + numbers.tobytes()))
    np.testing.assert_array_equal(run({"x": np.ones(2, np.float32)})[0], numbers + 1)


def test_an_operator_that_refuses_is_named() -> None:
    graph = Graph()
    x, size = graph.input("x", (1, 4, 4, 2)), graph.input("size", (2,), "INT32")
    graph.op("RESIZE_BILINEAR", [x, size], [graph.result("enlarged")], "ResizeBilinearOptions")
    match = (
        r"tflite:model: operator 0 \(RESIZE_BILINEAR\) \"enlarged\": "
        r"the new size \(tensor 'size'\) is computed"
    )
    with pytest.raises(ModelError, match=match):
        load(write(graph))


def test_missing_inputs_are_named() -> None:
    graph = Graph()
    graph.op("CONV_2D", [graph.input("x", (1, 4, 4, 2))], [graph.result()], "Conv2DOptions")
    with pytest.raises(ModelError, match=r"operator 0 \(CONV_2D\).*it has inputs \[0\]; 2 are needed"):
        load(write(graph))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 64, b"PK\3\4" + b"\0" * 60])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"tflite:m\.tflite: not a TFLite model"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tflite:m\.tflite: there is no file"):
        load(tmp_path / "m.tflite")


def test_files_cut_short_are_refused() -> None:
    data = write(small())
    for length in range(8, len(data), 7):
        with contextlib.suppress(ModelError):
            load(data[:length])


SEEDS = [write(small()), CASES["strided-slice-shrink"].build(), CASES["lstm"].build(), write(counted(3))]


@settings(max_examples=400)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(8, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_files_are_refused_or_read(data: bytes, changes: list[tuple[int, int]]) -> None:
    """Any bytes either make a model or a ModelError."""
    damaged = bytearray(data)
    for at, byte in changes:
        damaged[8 + at % (len(damaged) - 8)] = byte
    with contextlib.suppress(ModelError):
        load(bytes(damaged))


def test_tensorflow_is_not_imported() -> None:
    script = (
        "import sys, tiercast.frontend as f; f.load(bytes.fromhex(sys.stdin.read()));"
        "print('tensorflow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], input=write(small()).hex(), capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


def test_a_composite_is_what_its_subgraph_says() -> None:
    main, body = Graph(), Graph()
    x = main.input("x", (3,))
    main.op(
        "STABLEHLO_COMPOSITE", [x], [main.result()], "StableHLOCompositeOptions", DecompositionSubgraphIndex=1
    )
    y = body.input("x", (3,))
    body.op("ADD", [y, y], [body.result("z", (3,))], "AddOptions")
    _, run = reference(load(write([main, body])))
    np.testing.assert_array_equal(run({"x": np.ones(3, np.float32)})[0], np.full(3, 2, np.float32))


def test_mediapipe_transposed_convolution_is_the_builtin_with_a_bias() -> None:
    pytest.importorskip("ai_edge_litert")
    weight, bias, image = real(3, 2, 2, 4), real(3), real(1, 5, 4, 4)
    graphs = Graph(), Graph()
    for graph in graphs:
        graph.input("x", (1, 5, 4, 4))
    own, builtin = graphs
    operands = [own.inputs[0], own.constant(weight), own.constant(bias)]
    options = np.array([1, 2, 2], np.int32).tobytes()
    own.op("CUSTOM", operands, [own.result()], custom="Convolution2DTransposeBias", custom_options=options)
    size = builtin.constant(np.array([1, 10, 8, 3], np.int32))
    operands = [size, builtin.constant(weight), builtin.inputs[0], builtin.constant(bias)]
    builtin.op(
        "TRANSPOSE_CONV", operands, [builtin.result()], "TransposeConvOptions",
        StrideH=2, StrideW=2, Padding=SAME,
    )  # fmt: skip
    expected = reference(write(builtin))[1]({"x": image})[0]
    got = reference(load(write(own)))[1]({"x": image})[0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
