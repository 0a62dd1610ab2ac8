"""Integers of every width compute as ONNX says; f64 and bf16 are only moved, and that is told."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx_node import parsed

from tiercast import Session, compile
from tiercast.errors import GraphError

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def run(folder: Path, text: str, **inputs: np.ndarray) -> np.ndarray:
    found = Session(compile(parsed(text), output=folder / "m.tcpkg")).run(inputs)
    return next(iter(found.values()))


def extremes(name: str) -> np.ndarray:
    """Numbers at both ends of a type and around its middle."""
    limits = np.iinfo(name)
    middle = 1 << (limits.bits - 1)
    numbers = [limits.min, limits.min + 1, 0, 1, 7, limits.max // 2, limits.max - 1, limits.max]
    numbers += [middle, middle + 1] if limits.min == 0 else [-1, -7]
    return np.array(numbers, name)


@pytest.mark.native
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_of_every_width(tmp_path: Path, name: str) -> None:
    a, b = (item.reshape(-1) for item in np.meshgrid(extremes(name), extremes(name)))
    text = f"""({name}[100] a, {name}[100] b)
        => ({name}[100] sum, {name}[100] product, {name}[100] most, {name}[100] bits, bool[100] less)
        {{ sum = Add(a, b)  product = Mul(a, b)  most = Max(a, b)  bits = BitwiseXor(a, b)
           less = Less(a, b) }}"""
    found = Session(compile(parsed(text), output=tmp_path / "m.tcpkg")).run({"a": a, "b": b})
    with np.errstate(over="ignore"):
        wanted = {"sum": a + b, "product": a * b, "most": np.maximum(a, b), "bits": a ^ b, "less": a < b}
    for output, array in wanted.items():
        np.testing.assert_array_equal(found[output], array, err_msg=output)


@pytest.mark.native
@pytest.mark.parametrize("name", ["uint8", "uint16", "uint32", "uint64"])
def test_unsigned_quotients_and_shifts(tmp_path: Path, name: str) -> None:
    a, b = extremes(name), np.array([1, 2, 3, 5, 1, 2, 3, 7, 1, 5], name)
    text = f"""({name}[10] a, {name}[10] b) => ({name}[10] q, {name}[10] r, {name}[10] right, {name}[10] left)
        {{ q = Div(a, b)  r = Mod(a, b)  right = BitShift<direction="RIGHT">(a, b)
           left = BitShift<direction="LEFT">(a, b) }}"""
    found = Session(compile(parsed(text), output=tmp_path / "m.tcpkg")).run({"a": a, "b": b})
    for output, array in {"q": a // b, "r": a % b, "right": a >> b, "left": a << b}.items():
        np.testing.assert_array_equal(found[output], array, err_msg=output)


@pytest.mark.native
def test_sixteen_bit_camera_frames(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 65536, (1, 6, 8, 1)).astype(np.uint16)
    text = """(uint16[1,6,8,1] raw) => (float[1,1,6,8] y)
        { f = Cast<to=1>(raw)  white = Constant<value_float = 65535.0>()  n = Div(f, white)
          y = Transpose<perm=[0,3,1,2]>(n) }"""
    found = run(tmp_path, text, raw=frame)
    np.testing.assert_allclose(found, frame.astype(np.float32).transpose(0, 3, 1, 2) / 65535, rtol=1e-6)


@pytest.mark.native
@pytest.mark.parametrize("kind", ["double", "bfloat16"])
def test_wide_and_short_floats_are_moved_exactly(tmp_path: Path, kind: str) -> None:
    numpy = np.float64 if kind == "double" else ml_dtypes.bfloat16
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(numpy)
    found = run(tmp_path, f"({kind}[3,5] x) => ({kind}[5,3] y) {{ y = Transpose(x) }}", x=x)
    np.testing.assert_array_equal(found, x.T)


@pytest.mark.native
def test_casts_of_f64_round_once(tmp_path: Path) -> None:
    x = np.array(
        [1 + 2**-11 + 2**-40, 1 + 2**-11 - 2**-40, 65520 - 1e-9, 1e300, np.nan, -0.0, 2**-25 * 1.0000001]
    )
    with np.errstate(over="ignore"):
        for code, name, kind in ((10, "float16", np.float16), (1, "float", np.float32)):
            found = run(tmp_path, f"(double[7] x) => ({name}[7] y) {{ y = Cast<to={code}>(x) }}", x=x)
            np.testing.assert_array_equal(found, x.astype(kind))


@pytest.mark.parametrize("body", ["y = Add(x, x)", "y = MaxPool<kernel_shape=[2]>(x)", "y = ReduceMax(x)"])
def test_arithmetic_in_f64_is_refused_by_name(tmp_path: Path, body: str) -> None:
    text = f"(double[1,1,4] x) => (double[a,b,c] y) {{ {body} }}"
    with pytest.raises(GraphError, match=r"f64|DOUBLE"):
        compile(parsed(text), output=tmp_path / "m.tcpkg")
