"""ONNX graphs become physical ones: same results, named ports, refusals that say what is missing."""

import numpy as np
import pytest
from graphs import feeds, graph, op_types, physical, proto, run_onnx, run_physical

from tiercast.errors import GraphError
from tiercast.passes.assign_layout import assign_layout
from tiercast.passes.remove_copies import remove_copies

random = np.random.default_rng(0)
W = random.standard_normal((8, 4, 3, 3)).astype(np.float32)


@pytest.mark.native
@pytest.mark.parametrize(
    "body",
    [
        "y = Conv<pads=[1,1,1,1]>(x, w)",
        "t = Transpose<perm=[0,2,3,1]>(x)\n y = Relu(t)",
        "c = Conv(x, w)\n r = Relu(c)\n t = Transpose<perm=[0,2,3,1]>(r)\n y = Add(t, t)",
        "a, b = Split<axis=1, num_outputs=2>(x)\n c = Mul(a, b)\n y = Concat<axis=1>(c, a)",
        "y = Identity(x)",
    ],
)
def test_results_stay(body: str) -> None:
    text = f"(float[1,4,8,8] x) => (float[a,b,c,d] y) {{ {body} }}"
    source = proto(text, w=W)
    inputs = feeds(source)
    expected = run_onnx(source, inputs)
    got = run_physical(physical(text, w=W), inputs)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5, atol=1e-5)


def test_ports_and_sources() -> None:
    model = physical("(float[1,4,8,8] x) => (float[1,8,6,6] y) { y = Conv(x, w) }", w=W)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert [value.metadata_props["port"] for value in model.graph.outputs] == ["y"]
    conv = next(node for node in model.graph if node.op_type == "Conv2d")
    assert conv.outputs[0].metadata_props["source"] == "y"
    assert conv.outputs[0].metadata_props["perm"] == "0,2,3,1"


@pytest.mark.native
def test_two_outputs_of_one_value() -> None:
    text = "(float[4] x) => (float[4] y, float[4] z) { y = Relu(x)\n z = Identity(y) }"
    model = physical(text)
    inputs = feeds(model)
    for out in run_physical(model, inputs):
        np.testing.assert_array_equal(out, np.maximum(inputs["x"], 0))


def test_transposes_cost_no_step_between_ops_that_take_any_order() -> None:
    model = physical(
        """(float[1,8,8,4] x) => (float[1,8,8,8] y) {
          a = Transpose<perm=[0,3,1,2]>(x)
          b = Conv<pads=[1,1,1,1]>(a, w)
          c = Relu(b)
          y = Transpose<perm=[0,2,3,1]>(c)
        }""",
        w=W,
    )
    remove_copies(model)
    assert op_types(model) == ["Conv2d", "Pointwise"]


def test_all_that_is_missing_is_named_at_once() -> None:
    model = graph("(float[4] x) => (float[4] y) { a = Relu(x)\n b = Relu(a)\n y = Relu(b) }")
    first, _, last = list(model.graph)
    first.op_type, last.op_type = "Foo", "Bar"
    with pytest.raises(GraphError, match=r"(?s)2 operator.*Bar: \"y\".*Foo: \"a\""):
        assign_layout(model)


def test_the_refusing_node_is_named() -> None:
    model = graph("(float[1,4,8,8] x, float[8,4,1,1] v) => (float[1,8,8,8] y) { y = Conv(x, v) }")
    with pytest.raises(GraphError, match=r'node "y" \(Conv\).*weight'):
        assign_layout(model)
