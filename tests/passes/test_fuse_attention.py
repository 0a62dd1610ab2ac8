"""Two products around a softmax become one step, whichever side the softmax runs along."""

import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.passes.fuse_attention import fuse_attention
from tiercast.passes.fuse_pointwise import fuse_pointwise

MEMORY = """(float[2,300,16] k, float[2,16,40] q, float[2,24,300] v, float[2,300,1] o)
    => (float[2,24,40] y) {{
    s = MatMul(k, q)
    {}
    w = Softmax<axis=1>(t)
    y = MatMul(v, w) }}"""
ROWS = """(float[2,3,40,8] q, float[2,3,300,8] k, float[2,3,300,9] v, float[2,3,1,300] o)
    => (float[2,3,40,9] y) {{
    kt = Transpose<perm=[0,1,3,2]>(k)
    s = MatMul(q, kt)
    {}
    w = Softmax<axis=-1>(t)
    y = MatMul(w, v) }}"""
PLAIN = MEMORY.format("t = Identity(s)")
EIGHTH = "e = Constant<value_float=0.125>()\n"


def fused(text: str):
    model = physical(text)
    reports = keeps_physical_result(model, fuse_pointwise, fuse_attention)
    return model, reports[-1]


@pytest.mark.native
@pytest.mark.parametrize("form", [MEMORY, ROWS], ids=["memory", "rows"])
@pytest.mark.parametrize(
    "between",
    [
        "t = Identity(s)",
        f"{EIGHTH} t = Mul(s, e)",
        "t = Add(o, s)",
        f"{EIGHTH} d = Sub(s, o)\n t = Div(d, e)",
        f"{EIGHTH} m = Mul(o, e)\n n = Neg(m)\n d = Add(n, s)\n t = Sub(d, e)",
    ],
)
def test_fused(form: str, between: str) -> None:
    model, report = fused(form.format(between))
    assert report.applied and "MemoryRead" in op_types(model)
    assert not {"Softmax", "Matmul"} & set(op_types(model))


@pytest.mark.native
@pytest.mark.parametrize(
    "between",
    ["t = Exp(s)", "t = Mul(s, o)", "t = Mul(s, s)", "r = Relu(o)\n u = Add(s, r)\n t = Mul(u, s)"],
)
def test_not_linear_in_scores_and_offsets(between: str) -> None:
    model, _ = fused(MEMORY.format(between))
    assert "MemoryRead" not in op_types(model)


@pytest.mark.native
@pytest.mark.parametrize(
    ("text", "shapes", "why"),
    [
        (PLAIN, {"2,16,40": "2,16,4", "24,40": "24,4"}, "fewer than"),
        (PLAIN, {"float[2,24,300]": "float[1,24,300]"}, "broadcast"),
        (MEMORY.format("t = Add(s, o)"), {"float[2,300,1]": "float[1,300,1]"}, "one per slot"),
        (ROWS.format("t = Identity(s)"), {"300,9]": "300,90]", "40,9]": "40,90]"}, "transposed"),
    ],
)
def test_refusals(text: str, shapes: dict[str, str], why: str) -> None:
    for old, new in shapes.items():
        text = text.replace(old, new)
    model, report = fused(text)
    assert "MemoryRead" not in op_types(model)
    assert any(why in str(item) for item in report.refused)
