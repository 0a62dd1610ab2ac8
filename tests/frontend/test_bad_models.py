"""Each thing that can be wrong with an ONNX file is refused with a message that names it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from tiercast.errors import ModelError, TiercastError, UsageError
from tiercast.frontend import load
from tiercast.pipeline import compile_plan

W = np.ones((4, 3, 3, 3), np.float32)


def conv(**attributes: object) -> onnx.NodeProto:
    return helper.make_node("Conv", ["x", "w"], ["y"], name="c1", **attributes)


def relu(source: str, result: str, name: str = "") -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [result], name=name)


def graph(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray] | None = None,
    x: Sequence[object] = (1, 3, 8, 8),
    opset: int = 17,
) -> onnx.ModelProto:
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, x)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    made = helper.make_graph(nodes, "g", [port], [out], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def changed(model: onnx.ModelProto, change: Callable[[onnx.GraphProto], object]) -> onnx.ModelProto:
    change(model.graph)
    return model


def with_nan(value: float) -> np.ndarray:
    weight = W.copy()
    weight[1, 2, 0, 1] = value
    return weight


BAD = {
    "opset too new": (graph([conv()], {"w": W}, opset=99), r"opset 99 is newer than"),
    "opset too old": (
        graph([helper.make_node("Softmax", ["x"], ["y"])], opset=5),
        r"opset 5 is older than 6; export",
    ),
    "unknown attribute": (
        graph([conv(bogus=3)], {"w": W}),
        r'node "c1" \(Conv\) has an attribute \'bogus\'.*it takes auto_pad, dilations',
    ),
    "attribute of a wrong type": (
        graph([conv(strides="two")], {"w": W}),
        r'"c1" \(Conv\): attribute \'strides\' is of type STRING, Conv takes INTS',
    ),
    "attribute missing": (
        graph([helper.make_node("Cast", ["x"], ["y"], name="k")]),
        r'"k" \(Cast\) lacks the attribute \'to\'',
    ),
    "stride of zero": (graph([conv(strides=[0, 1])], {"w": W}), r'"c1".*strides is \[0, 1\]'),
    "kernel_shape": (
        graph([conv(kernel_shape=[5, 5])], {"w": W}),
        r'"c1".*kernel_shape is \[5, 5\], its weight \'w\'.*\[3, 3\]',
    ),
    "group of rows": (graph([conv(group=3)], {"w": W}), r'"c1".*group=3 does not divide the 4'),
    "group of channels": (graph([conv(group=2)], {"w": W}), r'"c1".*3 channels.*group=2 does not fit'),
    "rank of a weight": (graph([conv()], {"w": np.ones((4, 3), np.float32)}), r"\[4, 3\], not \[M, C, k"),
    "too few operands": (graph([helper.make_node("Conv", ["x"], ["y"], name="c1")]), r"1 inputs; Conv takes"),
    "absent operand": (graph([relu("", "y", "r")]), r'"r" \(Relu\): its input \'X\' is missing'),
    "missing initializer": (graph([conv()]), r'"c1" \(Conv\) reads \'w\', which is no input'),
    "name written twice": (
        graph([relu("x", "y", "r"), helper.make_node("Neg", ["x"], ["y"], name="n")]),
        r'"n" \(Neg\) writes \'y\', a name that node "r" \(Relu\) has',
    ),
    "two initializers": (
        changed(graph([conv()], {"w": W}), lambda g: g.initializer.add().CopyFrom(g.initializer[0])),
        r"2 initializers are called 'w'",
    ),
    "two inputs": (
        changed(graph([conv()], {"w": W}), lambda g: g.input.add().CopyFrom(g.input[0])),
        r"2 inputs are called 'x'",
    ),
    "cycle": (
        graph([helper.make_node("Add", ["x", "b"], ["a"], name="n1"), relu("a", "b", "n2"), relu("b", "y")]),
        r'cycle.*node "n1" \(Add\) -> node "n2" \(Relu\) -> node "n1" \(Add\)',
    ),
    "no output": (graph([relu("x", "z")]), r"output 'y' is computed by no node"),
    "bytes of an initializer": (
        changed(graph([conv()], {"w": W}), lambda g: setattr(g.initializer[0], "raw_data", b"1234")),
        r"initializer 'w' holds 4 bytes, its shape \[4, 3, 3, 3\] and type need 432",
    ),
    "negative dimension": (
        changed(graph([conv()], {"w": W}), lambda g: g.initializer[0].dims.__setitem__(0, -4)),
        r"initializer 'w' has shape \[-4, 3, 3, 3\]",
    ),
    "element type": (
        changed(graph([conv()], {"w": W}), lambda g: setattr(g.initializer[0], "data_type", 77)),
        r"initializer 'w' has element type 77",
    ),
    "dimensions that overflow": (graph([conv()], {"w": W}, x=[1, 3, 2**40, 2**40]), r"'x' has a dimension"),
    "pads that overflow": (
        graph([conv(pads=[2**31 - 1] * 4)], {"w": W}),
        r'"c1".*dimensions are below 2\^31',
    ),
    "repeats that overflow": (
        graph([helper.make_node("Tile", ["x", "r"], ["y"], name="t")], {"r": np.array([1 << 31] * 4)}),
        r'"t" \(Tile\).*dimensions are below 2\^31',
    ),
    "parameter that overflows": (graph([conv(strides=[2**40] * 2)], {"w": W}), r"1099511627776"),
    "open dimension": (graph([conv()], {"w": W}, x=["N", 3, "H", 8]), r"(?s)x: Nx3xHx8.*--input x:1x3x256x8"),
    "NaN": (graph([conv()], {"w": with_nan(np.nan)}), r"'w'.* is NaN at \[1, 2, 0, 1\] and in 1 elements"),
    "infinite weight": (
        graph([conv()], {"w": with_nan(np.inf)}),
        r"'w'.* is infinite at \[1, 2, 0, 1\].*node \"c1\" \(Conv\) multiplies and sums it",
    ),
}


@pytest.mark.native
@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_told_what_is_wrong(name: str, tmp_path: Path) -> None:
    model, match = BAD[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=match):
        compile_plan(str(path))
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_a_custom_operator_is_named_with_its_domain(tmp_path: Path) -> None:
    model = graph([helper.make_node("Magic", ["x"], ["y"], name="m1", domain="com.acme")])
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(ModelError, match=r'(?s)com\.acme\.Magic: "m1".*Replace them'):
        load(model)


def test_nodes_out_of_order_are_put_in_order() -> None:
    loaded = load(graph([relu("a", "y", "second"), relu("x", "a", "first")]))
    assert [node.name for node in loaded.graph] == ["first", "second"]


def test_infinity_that_masks_is_meant() -> None:
    mask = np.where(np.tri(8, dtype=bool), 0, -np.inf).astype(np.float32)
    assert load(graph([helper.make_node("Add", ["x", "m"], ["y"])], {"m": mask})).graph.num_nodes() == 1


EXTERNAL = {
    "missing": ({"location": "none.bin"}, r"should be in .*none\.bin, which does not exist"),
    "cut short": ({"location": "short.bin"}, r"lies at bytes 0..432 of short.bin, which has 4"),
    "behind the end": ({"location": "w.bin", "offset": "400"}, r"400..832 of w.bin, which has 432"),
    "outside": ({"location": "../secret.bin"}, r"'\.\./secret\.bin', outside of the model's folder"),
    "link to outside": ({"location": "link.bin"}, r"outside of the model's folder"),
    "absolute": ({"location": "/etc/passwd"}, r"'/etc/passwd', an absolute path"),
    "absolute on Windows": ({"location": "C:\\w.bin"}, r"an absolute path"),
    "folder": ({"location": "folder"}, r"which is not a file"),
    "no place": ({}, r"names no file"),
    "negative offset": ({"location": "w.bin", "offset": "-4"}, r"offset '-4', which is no number"),
    "length": (
        {"location": "w.bin", "length": "12"},
        r"is 12 bytes long, its shape \[4, 3, 3, 3\] needs 432",
    ),
}


@pytest.mark.parametrize("name", EXTERNAL)
def test_external_data_is_checked(name: str, tmp_path: Path) -> None:
    entries, match = EXTERNAL[name]
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (folder / "w.bin").write_bytes(W.tobytes())
    (folder / "short.bin").write_bytes(b"1234")
    (tmp_path / "secret.bin").write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = graph([conv()], {"w": W})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=f"onnx:m.onnx: the external data of initializer 'w'.*{match}"):
        load(folder / "m.onnx")
    with pytest.raises(ModelError, match=r"no folder to find it in; pass the file's path"):
        load(model)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda path: path.mkdir(), ModelError, "is a folder, not a file"),
        (lambda path: path.write_bytes(b""), ModelError, "is empty"),
        (lambda path: None, ModelError, "there is no file"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), ModelError, "not an ONNX model|no graph"),
    ],
    ids=["folder", "empty", "absent", "web page"],
)
def test_what_is_no_file(
    make: Callable[[Path], object], error: type[TiercastError], match: str, tmp_path: Path
) -> None:
    make(tmp_path / "m.onnx")
    with pytest.raises(error, match=match):
        load(tmp_path / "m.onnx")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")  # what the system says to all but root

    (tmp_path / "m.onnx").write_bytes(b"x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelError, match=r"m\.onnx can't be read: Permission denied"):
        load(tmp_path / "m.onnx")


def test_a_file_that_protobuf_can_not_hold(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(1 << 31)  # sparse
    with pytest.raises(
        ModelError, match="has 2147483648 bytes, protobuf holds 2 GB; export it with its weights"
    ):
        load(tmp_path / "m.onnx")


def test_a_wrong_suffix_lists_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("x")
    with pytest.raises(UsageError, match=r"(?s)m\.txt' is no model.*\.onnx.*\.pt2"):
        load(tmp_path / "m.txt")


WHOLE = graph([conv(), relu("y", "z")], {"w": W}).SerializeToString()


def refused_or_read(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(data)
        try:
            load(path)
        except TiercastError as error:
            assert "m.onnx" in str(error)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused_or_whole(length: int) -> None:
    refused_or_read(WHOLE[:length])


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    refused_or_read(data)


@given(st.data())
def test_damaged_bytes_never_crash(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    refused_or_read(bytes(damaged))


def test_weights_are_apart_while_others_look_at_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing serialises the heavy weight: models above protobuf's 2 GB need that."""
    weight = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    text = "(float[1,256] x) => (float[1,256] y) { y = MatMul(x, w) }"
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 13]> g {text}')
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    seen: list[int] = []
    infer = onnx.shape_inference.infer_shapes

    def watched(proto: onnx.ModelProto, *words: object, **options: object) -> onnx.ModelProto:
        seen.append(proto.ByteSize())
        return infer(proto, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", watched)
    loaded = load(model)
    value = loaded.graph.initializers["w"].const_value
    assert value is not None and np.array_equal(value.numpy(), weight)
    assert seen and max(seen) < 10_000
    assert [port.name for port in loaded.graph.inputs] == ["x"]
