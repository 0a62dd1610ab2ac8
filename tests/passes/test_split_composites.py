"""Operators without a physical op become those that have one."""

import pytest
from graphs import graph, keeps_result, op_types

from tiercast.ops.registry import legalizers
from tiercast.passes.split_composites import split_composites


def test_a_function_body_replaces_the_operator() -> None:
    model = graph("(float[2,3,4,4] x) => (float[2,3,4,4] y) { y = MeanVarianceNormalization(x) }")
    keeps_result(model, split_composites)
    assert set(op_types(model)) <= set(legalizers())


@pytest.mark.parametrize(
    "text",
    [
        """(float[1,2,5,8] q, float[1,2,7,8] k, float[1,2,7,4] v) => (float[1,2,5,4] y)
           { y = Attention(q, k, v) }""",
        """(float[1,2,5,8] q, float[1,2,7,8] k, float[1,2,7,4] v, float[5,7] m) => (float[1,2,5,4] y)
           { y = Attention<scale=0.3>(q, k, v, m) }""",
        """(float[1,5,16] q, float[1,7,16] k, float[1,7,8] v) => (float[1,5,8] y)
           { y = Attention<q_num_heads=2, kv_num_heads=2>(q, k, v) }""",
        """(float[1,2,5,8] q, float[1,2,7,8] k, float[1,2,7,8] v) => (float[1,2,5,8] y)
           { y = Attention<is_causal=1>(q, k, v) }""",
    ],
)
def test_plain_attention_is_two_matmuls_and_a_softmax(text: str) -> None:
    model = graph(text)
    keeps_result(model, split_composites)
    assert op_types(model).count("MatMul") == 2
    assert op_types(model).count("Softmax") == 1
    assert len(model.graph) <= 13


def test_attention_that_the_identity_does_not_say_goes_by_its_body() -> None:
    model = graph(
        "(float[1,2,5,8] q, float[1,2,5,8] k, float[1,2,5,8] v) => (float[1,2,5,8] y)"
        "{ y = Attention<is_causal=1, softcap=0.5>(q, k, v) }"
    )
    report = keeps_result(model, split_composites)
    assert report.refused[0][1] == "it has a softcap"
    assert set(op_types(model)) <= set(legalizers())


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_norm_is_arithmetic(size: int) -> None:
    model = graph(
        f"(float[1,7,3,3] x) => (float[1,7,3,3] y) {{ y = LRN<size={size}, alpha=0.5, bias=2.0>(x) }}"
    )
    keeps_result(model, split_composites)
    assert op_types(model) == ["Mul", "Conv", "Pow", "Mul"]
