"""Two products around a softmax become one step, whichever side the softmax runs along."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import feeds, keeps_physical_result, op_types, physical, proto, run_onnx, run_physical

from tiercast.ops.registry import attr
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
# Memory networks keep each query's largest scores only; `{}` is what they are scattered into.
TOP_MEMORY = """(float[2,300,16] k, float[2,16,40] q, float[2,24,300] v, float[2,300,1] o)
    => (float[2,24,40] y) {{
    s = MatMul(k, q)
    t = Add(s, o)
    best, at = TopK<axis=1, largest={}>(t, count)
    p = Softmax<axis={}>(best)
    w = ScatterElements<axis=1>({}, at, p)
    y = MatMul(v, w) }}"""
TOP_ROWS = """(float[2,3,40,8] q, float[2,3,300,8] k, float[2,3,300,90] v) => (float[2,3,40,90] y) {
    kt = Transpose<perm=[0,1,3,2]>(k)
    s = MatMul(q, kt)
    best, at = TopK<axis=-1>(s, count)
    p = Softmax<axis=-1>(best)
    w = ScatterElements<axis=-1>(zeros, at, p)
    y = MatMul(w, v) }"""
PLAIN = MEMORY.format("t = Identity(s)")
READ_ELSEWHERE = ("y = MatMul(v, w)", "z = MatMul(v, w)\n g = ReduceSum(best)\n y = Add(z, g)")
EIGHTH = "e = Constant<value_float=0.125>()\n"


def fused(text: str, **constants: np.ndarray):
    model = physical(text, **constants)
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


def read_of(model: ir.Model) -> ir.Node:
    (found,) = [node for node in model.graph if node.op_type == "MemoryRead"]
    return found


def top(text: str, count: int):
    zeros = np.zeros((2, 3, 40, 300) if text is TOP_ROWS else (2, 300, 40), np.float32)
    return {"count": np.array([count]), "zeros": zeros}


@pytest.mark.native
@pytest.mark.parametrize("count", [1, 20, 300])
@pytest.mark.parametrize("text", [TOP_MEMORY.format(1, 1, "zeros"), TOP_ROWS], ids=["memory", "rows"])
def test_only_the_largest_scores(text: str, count: int) -> None:
    model, report = fused(text, **top(text, count))
    assert report.applied and attr(read_of(model), "top_k") == count
    assert not {"TopK", "Softmax", "ScatterElements", "Matmul"} & set(op_types(model))
    inputs = feeds(model)
    wanted = run_onnx(proto(text, **top(text, count)), inputs)
    np.testing.assert_allclose(run_physical(model, inputs)[0], wanted[0], rtol=1e-5, atol=1e-5)


@pytest.mark.native
def test_of_equal_scores_the_first_count() -> None:
    text = TOP_MEMORY.format(1, 1, "zeros")
    model, _ = fused(text, **top(text, 20))
    random = np.random.default_rng(0)  # small integers: their sums are exact, and many are equal
    inputs = {
        name: random.integers(-1, 2, array.shape).astype(np.float32) for name, array in feeds(model).items()
    }
    wanted = run_onnx(proto(text, **top(text, 20)), inputs)
    np.testing.assert_allclose(run_physical(model, inputs)[0], wanted[0], rtol=1e-5, atol=1e-5)


@pytest.mark.native
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TOP_MEMORY.format(0, 1, "zeros"), "smallest"),
        (TOP_MEMORY.format(1, 2, "zeros"), "different axes"),
        (TOP_MEMORY.format(1, 1, "t"), "else than zeros"),
        (TOP_MEMORY.format(1, 1, "zeros").replace(*READ_ELSEWHERE), "elsewhere"),
    ],
)
def test_refusals_of_the_largest_scores(text: str, why: str) -> None:
    model, report = fused(text, **top(text, 20))
    assert "MemoryRead" not in op_types(model)
    assert any(why in str(item) for item in report.refused)
