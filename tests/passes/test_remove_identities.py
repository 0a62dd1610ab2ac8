"""No-op nodes vanish; ports keep their names."""

import numpy as np
from graphs import graph, keeps_result, op_types

from tiercast.passes.remove_identities import remove_identities


def test_a_chain_of_no_ops_leaves_the_work() -> None:
    model = graph(
        """(float[1,2,4,4] x) => (float[1,2,4,4] y) {
          a = Identity(x)
          b = Relu(a)
          c = Cast<to=1>(b)
          d = Transpose<perm=[0,1,2,3]>(c)
          e = Reshape(d, shape)
          f = Dropout(e)
          g = Concat<axis=1>(f)
          y = Pad(g, pads)
        }""",
        shape=np.array([1, 2, 4, 4]),
        pads=np.zeros(8, np.int64),
    )
    keeps_result(model, remove_identities)
    assert op_types(model) == ["Relu"]
    assert model.graph.node(0).outputs[0].name == "y"


def test_an_input_that_is_an_output_keeps_its_link() -> None:
    model = graph("(float[2] x) => (float[2] y) { y = Identity(x) }")
    report = keeps_result(model, remove_identities)
    assert op_types(model) == ["Identity"]
    assert "links an input" in report.refused[0][1]


def test_two_outputs_of_one_value_keep_both_names() -> None:
    model = graph("(float[2] x) => (float[2] y, float[2] z) { y = Relu(x)\n z = Identity(y) }")
    keeps_result(model, remove_identities)
    assert op_types(model) == ["Relu", "Identity"]


def test_moving_nodes_stay() -> None:
    model = graph(
        "(float[2,3] x) => (float[3,2] y)"
        "{ a = Cast<to=7>(x)\n b = Cast<to=1>(a)\n y = Transpose<perm=[1,0]>(b) }"
    )
    keeps_result(model, remove_identities)
    assert op_types(model) == ["Cast", "Cast", "Transpose"]
