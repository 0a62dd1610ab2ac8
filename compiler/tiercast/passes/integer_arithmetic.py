"""Arithmetic between DequantizeLinear and QuantizeLinear on integers: products, sums and averages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, new_constant, only_user, static_shape
from tiercast.ir.rounding import AWAY, BIASED, BIASED_U8, COARSE, UP, rounding_of
from tiercast.ops.quantized_binary import coarse_fixed_point
from tiercast.passes.integer_means import arranged, image_of
from tiercast.passes.integer_operators import PRODUCTS, Emitter, Result, operator_node
from tiercast.passes.integer_sums import matrix_refusal
from tiercast.passes.quantization import BYTES, array_behind, behind, real_constant
from tiercast.passes.quantized_products import product_of

_POOL_ATTRIBUTES = (
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "auto_pad",
    "count_include_pad",
    "ceil_mode",
)
_RESIZED_FROM = 8  # channels


def build_operator(into: Emitter, result: Result, node: ir.Node) -> str | None:
    """Puts the integer form of `node`, which makes what is quantized, into the graph; or says why not."""
    build = _BUILDERS.get(node.op_type)
    if build is None:
        return f"{node.op_type} is computed in f32: it has no form on integers"
    return build(into, result, node)


def _product(into: Emitter, result: Result, node: ir.Node, bias: ir.Value | None = None) -> str | None:
    """A Conv, ConvTranspose, MatMul or Gemm."""
    if node.op_type == "MatMul" and bias is None and array_behind(node.inputs[1]) is None:
        return _computed_product(into, result, node)
    found = product_of(node, bias)
    if isinstance(found, str):
        return f"{node.op_type}: {found}"
    scale = (found.scale / result.how.one_scale).astype(np.float32)
    made = into.product(node, found, {"to": "s8", **result.attributes}, scale, ir.DataType.INT8)
    into.finish(result, made, "summed in integers")
    return None


def _computed_product(into: Emitter, result: Result, node: ir.Node) -> str | None:
    a, b = behind(node.inputs[0]), behind(node.inputs[1])
    if a is None or b is None or not all(item[1].uniform and item[1].kind in BYTES for item in (a, b)):
        return "MatMul: its operands are not s8 or u8 with one scale each"
    reason = matrix_refusal(static_shape(a[0]), static_shape(b[0]))
    if reason is not None:
        return f"MatMul: {reason}"
    attributes = {
        "a_zero": a[1].signed_zero,
        "b_zero": b[1].signed_zero,
        "scale": float(a[1].one_scale * b[1].one_scale / result.how.one_scale),
        **result.attributes,
    }
    operands = [into.signed.of(*item) for item in (a, b)]
    into.replace(result, "QuantizedMatMul", operands, attributes)
    return None


def _binary(into: Emitter, result: Result, node: ir.Node) -> str | None:
    """An Add, Sub or Mul of two quantized values, or a product with a bias behind it."""
    a, b = behind(node.inputs[0]), behind(node.inputs[1])
    if a is None or b is None:
        return _biased(into, result, node)
    if not all(item[1].uniform and item[1].kind in BYTES for item in (a, b)):
        return f"{node.op_type}: its operands are not s8 or u8 with one scale each"
    rank = len(static_shape(node.outputs[0]) or ())
    if rank == 0 or result.how.one_scale * 2.0**20 < a[1].one_scale + b[1].one_scale:
        return f"{node.op_type}: it is a scalar, or its result is far finer than its operands"
    attributes = {
        "a_scale": float(a[1].one_scale),
        "a_zero": a[1].signed_zero,
        "b_scale": float(b[1].one_scale),
        "b_zero": b[1].signed_zero,
        "y_scale": float(result.how.one_scale),
        **result.attributes,
    }
    ratios = [item[1].one_scale / result.how.one_scale for item in (a, b)]
    if rounding_of(node) == COARSE and node.op_type != "Mul" and coarse_fixed_point(*ratios) is not None:
        attributes["rounding"] = "up"
    operands = [into.signed.of(*item) for item in (a, b)]
    into.replace(result, f"Quantized{node.op_type}", operands, attributes)
    return None


def _biased(into: Emitter, result: Result, node: ir.Node) -> str | None:
    for at in (0, 1):
        inner, other = node.inputs[at], node.inputs[1 - at]
        source = inner.producer() if inner is not None else None
        alone = inner is not None and only_user(inner) is node
        if (
            node.op_type == "Add"
            and source is not None
            and source.op_type == "MatMul"
            and alone
            and real_constant(other) is not None
        ):
            return _product(into, result, source, other)
    return f"{node.op_type}: its operands are not both quantized"


def _average(into: Emitter, result: Result, node: ir.Node) -> str | None:
    """AveragePool or GlobalAveragePool of images, or ReduceMean."""
    source = behind(node.inputs[0])
    dims = static_shape(node.inputs[0])
    if source is None or not source[1].uniform or source[1].kind not in BYTES or dims is None:
        return f"{node.op_type}: its input is not s8 or u8 with one scale"
    axes = [2, 3]
    if node.op_type == "ReduceMean":
        given = array(node.inputs[1]) if len(node.inputs) > 1 else None
        if given is None or given.size == 0:
            return "ReduceMean: its axes are no constant, or all"
        axes = sorted({int(axis) % len(dims) for axis in given.reshape(-1)})
    elif len(dims) != 4:
        return f"{node.op_type}: its input has rank {len(dims)}; images (rank 4) are averaged in integers"
    attributes: dict[str, Any] = {
        "scale": float(source[1].one_scale / result.how.one_scale),
        "x_zero": source[1].signed_zero,
    }
    if node.op_type == "AveragePool":
        attributes |= {key: node.attributes[key].value for key in _POOL_ATTRIBUTES if key in node.attributes}
    attributes |= result.attributes
    rounding, how = rounding_of(node), result.how
    same = (how.one_scale, how.signed_zero) == (source[1].one_scale, source[1].signed_zero)
    if rounding in (AWAY, UP) and same:  # the integers themselves are averaged
        attributes |= {"rounding": rounding, "scale": 1.0, "x_zero": 0, "y_zero": 0}
    elif rounding in (BIASED, BIASED_U8):
        attributes["rounding"] = rounding
    image, out = image_of(dims, axes), result.node.outputs[0]
    x = arranged(into.graph, result.node, into.signed.of(*source), image, f"{out.name}.mean")
    if image.window is not None:
        attributes["kernel_shape"] = list(image.window)
    pooled = image.pooled
    if static_shape(out) == pooled or node.op_type == "AveragePool":
        into.replace(result, "QuantizedAveragePool", [x], attributes)
        return None
    inner = ir.Value(name=f"{out.name}.pooled", shape=ir.Shape(pooled), type=ir.TensorType(ir.DataType.INT8))
    pool = operator_node("QuantizedAveragePool", [x], attributes, inner)
    into.graph.insert_before(result.node, [pool])
    target = new_constant(into.graph, f"{out.name}.dims", np.asarray(static_shape(out), np.int64))
    made = ir.Value(name=f"{out.name}.s8", shape=out.shape, type=ir.TensorType(ir.DataType.INT8))
    into.finish(
        result,
        ir.Node("", "Reshape", [inner, target], outputs=[made], name=made.name),
        "averaged in integers",
    )
    return None


def _resized(into: Emitter, result: Result, node: ir.Node) -> str | None:
    """A bilinear Resize of an image's height and width."""
    reason = resize_refusal(node)
    if reason is not None:
        return reason
    source = behind(node.inputs[0])
    if source is None or not source[1].uniform or source[1].kind not in BYTES:
        return "Resize: its input is not s8 or u8 with one scale"
    attributes: dict[str, Any] = {key: item.value for key, item in node.attributes.items()}
    scale = float(source[1].one_scale / result.how.one_scale)
    attributes |= {"scale": scale, "x_zero": source[1].signed_zero}
    operands = [into.signed.of(*source), *node.inputs[1:]]
    into.replace(result, "QuantizedResize", operands, attributes | result.attributes)
    return None


def resize_refusal(node: ir.Node) -> str | None:
    """Why a Resize that interpolates has no form on integers; None when it has one."""
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "nearest"
    if mode != "linear":
        return f"Resize is computed in f32: mode {mode} has no form on integers"
    antialias, dims = node.attributes.get("antialias"), static_shape(node.inputs[0]) or ()
    if len(dims) != 4 or (antialias is not None and antialias.as_int()):
        return "Resize is computed in f32: it is antialiased, or no image (rank 4)"
    if dims[1] < _RESIZED_FROM:
        return f"Resize is computed in f32: of {dims[1]} channels that is faster"
    return None


_BUILDERS: dict[str, Callable[[Emitter, Result, ir.Node], str | None]] = {
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(("Add", "Sub", "Mul"), _binary),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "ReduceMean"), _average),
    "Resize": _resized,
}
