"""Pointwise: an elementwise program over broadcast inputs. `program.py` documents programs; ONNX's table
is at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.dtypes import BY_NAME, NAMES, ONLY_MOVED, WHOLE
from tiercast.ops.layouter import Layouter, Perm
from tiercast.ops.lowering import Lowering
from tiercast.ops.program import (
    Instruction,
    encode,
    fits,
    inline,
    input_count,
    parse,
    rename,
    result_kind,
    scratch_bytes,
    text,
)
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where

__all__ = ["Instruction", "Pointwise", "fits", "inline", "input_count", "parse", "rename", "text"]


class Pointwise(Op):
    """y = program(inputs): numpy-broadcast inputs (1..16), f32 with bool or integers with bool; see
    `tiercast.ops.program`.

    Any strides on both sides. Integer programs wrap at the output's width. Output: the broadcast shape;
    bool after a
    comparison, else the dtype of the numeric operands.
    """

    onnx: ClassVar[tuple[str, ...]] = ()  # filled from the table below
    inputs = ("inputs*",)
    half = True
    attributes: ClassVar = {"program": REQUIRED}
    strided_inputs = True
    strided_outputs = True
    in_place = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """One or a few program lines per ONNX op; scalar constants become numbers in the program."""
        if node.op_type == "BatchNormalization":
            _legalize_batch_norm(node, layout)
        elif node.op_type == "Pow":
            _legalize_pow(node, layout)
        else:
            legalize_pointwise(node, layout, ONNX[node.op_type])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Broadcast shape and the program's dtype."""
        program = parse(attr(node, "program"))
        if input_count(program) > len(node.inputs) or not node.inputs or None in node.inputs:
            raise GraphError(
                f"{where(node)}: the program reads {input_count(program)} inputs of {len(node.inputs)}"
            )
        values = [value for value in node.inputs if value is not None]
        try:
            dims = np.broadcast_shapes(*[shape(value) for value in values])
        except ValueError:
            raise GraphError(
                f"{where(node)}: shapes {[shape(value) for value in values]} do not broadcast"
            ) from None
        kinds = _kinds(node)
        kind = result_kind(program, ["f32" if item == "f16" else item for item in kinds])
        return [(BY_NAME["f16" if kind == "f32" and "f16" in kinds else kind], tuple(dims))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `pointwise` call: integer programs in 64 bits, all others in f32 (which holds truth values
        exactly)."""
        whole = any(kind in WHOLE for kind in _kinds(node))
        params = encode(parse(attr(node, "program")), whole)
        half = ir.DataType.FLOAT16 in {
            dtype(value) for value in (*node.inputs, *node.outputs) if value is not None
        }
        row = low.choose("pointwise_s64s64" if whole else "pointwise_f16f16" if half else "pointwise_f32f32")
        scratch = 0 if whole else scratch_bytes(len(node.inputs), params)
        low.call(node, row, list(node.inputs), list(node.outputs), params, scratch)


def _kinds(node: ir.Node) -> list[str]:
    kinds: list[str] = []
    for value in node.inputs:
        assert value is not None
        if dtype(value) not in NAMES or dtype(value) in ONLY_MOVED:
            taken = ", ".join(name for kind, name in NAMES.items() if kind not in ONLY_MOVED)
            raise GraphError(f"{where(node)}: {value.name!r} is {dtype(value)}; {taken} can be computed with")
        kinds.append(NAMES[dtype(value)])
    return kinds


Lines = list[str]
Builder = Callable[[ir.Node, Sequence[str]], Lines]


def legalize_pointwise(node: ir.Node, layout: Layouter, build: Builder) -> None:
    """Emits one Pointwise for an ONNX node. `build(node, operands)` writes the lines; operands are "i<n>",
    a number, or
    "" for an absent input."""
    operands: list[str] = []
    sources: list[ir.Value] = []
    for value in node.inputs:
        number = _number(value, layout) if value is not None else ""
        if number is None or (value is not None and _is_last_hope(node, value, sources, layout)):
            assert value is not None
            if value not in sources:
                sources.append(value)
            number = f"i{sources.index(value)}"
        operands.append(number)
    bind_pointwise(layout, node.outputs[0], sources, build(node, operands))


def bind_pointwise(layout: Layouter, out: ir.Value, sources: Sequence[ir.Value], lines: Lines) -> None:
    """Emits a Pointwise over logical values in the order most of them already have, and binds it to `out`."""
    dims = layout.shape(out)
    perm = preferred_perm(layout, sources, dims)
    physical = [in_order(layout, value, perm) for value in sources]
    made = layout.emit("Pointwise", physical, {"program": lines})[0]
    layout.bind(out, made, perm)


def preferred_perm(layout: Layouter, sources: Sequence[ir.Value], dims: tuple[int, ...]) -> Perm:
    """The order for an elementwise node: that of a computed full-size input, rather a permuted one than a
    plain one."""
    plain = tuple(range(len(dims)))
    computed = [
        value for value in sources if layout.const(value) is None and len(layout.shape(value)) == len(dims)
    ]
    full = [layout.perm(value) for value in computed if layout.shape(value) == dims]
    others = [layout.perm(value) for value in computed]
    return next((perm for perm in full if perm != plain), next(iter(full), next(iter(others), plain)))


def in_order(layout: Layouter, value: ir.Value, perm: Perm, seen_as: Sequence[int] | None = None) -> ir.Value:
    """A physical value that broadcasts against values in `perm`, from a logical value of that rank or lower.

    seen_as: logical dims to read the value with instead of its own.
    """
    rank, own = len(perm), len(layout.shape(value))
    if own == rank and seen_as is None:
        return layout.as_perm(value, perm)
    dims = tuple(seen_as) if seen_as is not None else (1,) * (rank - own) + layout.shape(value)
    array = layout.const(value)
    if array is not None:
        return layout.constant(
            np.ascontiguousarray(np.transpose(array.reshape(dims), perm)), value.name or "const"
        )
    return layout.transpose(layout.alias(layout.plain(value), dims), perm)


def _number(value: ir.Value, layout: Layouter) -> str | None:
    array = layout.const(value)
    if array is None or array.size != 1:
        return None
    item = array.reshape(-1)[0]
    return repr(float(item)) if np.issubdtype(array.dtype, np.floating) else str(int(item))


def _is_last_hope(node: ir.Node, value: ir.Value, sources: Sequence[ir.Value], layout: Layouter) -> bool:
    # A node whose inputs are all constants still needs one real operand for its shape and dtype.
    every = [layout.const(item) is not None for item in node.inputs if item is not None]
    return all(every) and (not sources or layout.shape(value) == layout.shape(node.outputs[0]))


def _plain(op: str) -> Builder:
    return lambda node, operands: [" ".join([op, *operands])]


def _fold(op: str) -> Builder:
    def build(node: ir.Node, operands: Sequence[str]) -> Lines:
        lines = [f"identity {operands[0]}"] if len(operands) == 1 else [f"{op} {operands[0]} {operands[1]}"]
        return lines + [f"{op} t{at} {operand}" for at, operand in enumerate(operands[2:])]

    return build


def _mean(node: ir.Node, operands: Sequence[str]) -> Lines:
    lines = _fold("add")(node, operands)
    return [*lines, f"div t{len(lines) - 1} {float(len(operands))!r}"]


def _with(op: str, **defaults: float) -> Builder:
    """`op x attribute...`, with the attributes' ONNX defaults."""
    return lambda node, operands: [
        " ".join([op, operands[0], *(repr(float(attr(node, key, value))) for key, value in defaults.items())])
    ]


def _mod(node: ir.Node, operands: Sequence[str]) -> Lines:
    return [" ".join(["fmod" if attr(node, "fmod", 0) else "mod", *operands])]


def _shift(node: ir.Node, operands: Sequence[str]) -> Lines:
    kinds = [NAMES.get(dtype(value), "") for value in node.inputs if value is not None]
    if kinds[0].startswith("s") and attr(node, "direction") == "RIGHT":
        raise GraphError(f"{where(node)}: right shifts of signed integers ({kinds[0]}) are not computed")
    return [" ".join([f"shift_{attr(node, 'direction').lower()}", *operands])]


def _pow(node: ir.Node, operands: Sequence[str]) -> Lines:
    base, exponent = operands
    squares = {"2.0": [f"mul {base} {base}"], "0.5": [f"sqrt {base}"], "1.0": [f"identity {base}"]}
    if exponent.startswith("i"):
        return [f"pow {base} {exponent}"]
    return squares.get(repr(float(exponent)), [f"pow {base} {exponent}"])


def _clip(node: ir.Node, operands: Sequence[str]) -> Lines:
    low, high = (*operands[1:], "", "")[:2]
    x = operands[0]
    if low and high:
        return [f"clip {x} {low} {high}"]
    return [f"max {x} {low}"] if low else [f"min {x} {high}"] if high else [f"identity {x}"]


def _celu(node: ir.Node, operands: Sequence[str]) -> Lines:
    alpha = float(attr(node, "alpha", 1.0))
    return [f"mul {operands[0]} {1.0 / alpha!r}", "elu t0 1.0", f"mul t1 {alpha!r}"]


def _selu(node: ir.Node, operands: Sequence[str]) -> Lines:
    alpha, gamma = (
        attr(node, "alpha", 1.67326319217681884765625),
        attr(node, "gamma", 1.05070102214813232421875),
    )
    return [f"elu {operands[0]} {float(alpha)!r}", f"mul t0 {float(gamma)!r}"]


def _gelu(node: ir.Node, operands: Sequence[str]) -> Lines:
    return [f"{'gelu_tanh' if attr(node, 'approximate', 'none') == 'tanh' else 'gelu'} {operands[0]}"]


def _swish(node: ir.Node, operands: Sequence[str]) -> Lines:
    alpha = float(attr(node, "alpha", 1.0))
    if alpha == 1.0:
        return [f"silu {operands[0]}"]
    return [f"mul {operands[0]} {alpha!r}", "sigmoid t0", f"mul {operands[0]} t1"]


def _shrink(node: ir.Node, operands: Sequence[str]) -> Lines:
    x, bias, limit = operands[0], float(attr(node, "bias", 0.0)), float(attr(node, "lambd", 0.5))
    return [
        f"sub {x} {bias!r}",
        f"greater {x} {limit!r}",
        "where t1 t0 0.0",
        f"add {x} {bias!r}",
        f"less {x} {-limit!r}",
        "where t4 t3 t2",
    ]


def _isinf(node: ir.Node, operands: Sequence[str]) -> Lines:
    negative, positive = attr(node, "detect_negative", 1), attr(node, "detect_positive", 1)
    if negative and positive:
        return [f"isinf {operands[0]}"]
    return (
        [f"equal {operands[0]} {'inf' if positive else '-inf'}"]
        if negative or positive
        else [f"less {operands[0]} -inf"]
    )


def _legalize_batch_norm(node: ir.Node, layout: Layouter) -> None:
    if attr(node, "training_mode", 0):
        raise GraphError(
            f"{where(node)}: training_mode=1 updates statistics; export the model in evaluation mode"
        )
    x, *channelwise = [value for value in node.inputs if value is not None]
    epsilon = float(attr(node, "epsilon", 1e-5))
    dims = layout.shape(x)
    along = [1] * len(dims)
    along[min(1, len(dims) - 1)] = layout.shape(channelwise[0])[0]
    perm = preferred_perm(layout, [x], dims)
    arrays = [layout.const(value) for value in channelwise]
    if all(array is not None for array in arrays):
        scale, shift, mean, variance = (np.asarray(array, np.float64).reshape(along) for array in arrays)
        factor = scale / np.sqrt(variance + epsilon)
        constants = (factor, shift - mean * factor)
        operands = [
            layout.constant(np.transpose(item, perm).astype(np.float32), f"{x.name}/affine")
            for item in constants
        ]
        lines = ["fma i0 i1 i2"]
    else:
        operands = [in_order(layout, value, perm, along) for value in channelwise]
        lines = [f"add i4 {epsilon!r}", "sqrt t0", "div i1 t1", "sub i0 i3", "mul t2 t3", "add t4 i2"]
    layout.bind(
        node.outputs[0],
        layout.emit("Pointwise", [layout.as_perm(x, perm), *operands], {"program": lines})[0],
        perm,
    )


def _legalize_pow(node: ir.Node, layout: Layouter) -> None:
    base, exponent = node.inputs
    assert base is not None and exponent is not None
    number = _number(exponent, layout)
    real = ir.DataType.FLOAT in (layout.dtype(base), layout.dtype(exponent))
    if (number is not None and layout.dtype(base) == ir.DataType.FLOAT) or layout.dtype(base) == layout.dtype(
        exponent
    ):
        legalize_pointwise(node, layout, _pow)
        return
    # The result has the base's dtype; a mixed power is computed in f32, or in the integers' 64 bits.
    dims = layout.shape(node.outputs[0])
    perm = preferred_perm(layout, [base, exponent], dims)
    wide = ir.DataType.FLOAT if real else ir.DataType.INT64
    sides = [in_order(layout, value, perm) for value in (base, exponent)]
    sides = [
        side if dtype(side) == wide else layout.emit("Cast", [side], {"to": int(wide)})[0] for side in sides
    ]
    made = layout.emit("Pointwise", sides, {"program": ["pow i0 i1"]})[0]
    if dtype(made) != layout.dtype(base):
        made = layout.emit("Cast", [made], {"to": int(layout.dtype(base))})[0]
    layout.bind(node.outputs[0], made, perm)


ONNX: dict[str, Builder] = {
    **{
        name: _plain(name.lower())
        for name in [
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Equal",
            "Less",
            "Greater",
            "And",
            "Or",
            "Xor",
            "Where",
            "Abs",
            "Neg",
            "Sqrt",
            "Exp",
            "Log",
            "Sin",
            "Cos",
            "Tan",
            "Asin",
            "Acos",
            "Atan",
            "Sinh",
            "Cosh",
            "Tanh",
            "Asinh",
            "Acosh",
            "Atanh",
            "Erf",
            "Floor",
            "Ceil",
            "Round",
            "Sign",
            "Reciprocal",
            "Sigmoid",
            "Relu",
            "PRelu",
            "Softplus",
            "Softsign",
            "Mish",
            "Not",
            "IsNaN",
        ]
    },
    "BitwiseAnd": _plain("bit_and"),
    "BitwiseOr": _plain("bit_or"),
    "BitwiseXor": _plain("bit_xor"),
    "BitwiseNot": _plain("bit_not"),
    "BitShift": _shift,
    "LessOrEqual": _plain("less_equal"),
    "GreaterOrEqual": _plain("greater_equal"),
    "HardSwish": _plain("hard_swish"),
    "Max": _fold("max"),
    "Min": _fold("min"),
    "Sum": _fold("add"),
    "Mean": _mean,
    "Mod": _mod,
    "Clip": _clip,
    "LeakyRelu": _with("leaky_relu", alpha=0.01),
    "Elu": _with("elu", alpha=1.0),
    "ThresholdedRelu": _with("thresholded_relu", alpha=1.0),
    "HardSigmoid": _with("hard_sigmoid", alpha=0.2, beta=0.5),
    "Celu": _celu,
    "Selu": _selu,
    "Gelu": _gelu,
    "Swish": _swish,
    "Shrink": _shrink,
    "IsInf": _isinf,
}

Pointwise.onnx = (*ONNX, "BatchNormalization", "Pow")
