"""Resize in forms that no kernel takes: antialiased, of more than two axes, crops that leave the image."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.expansion import Expansion, known_shape, option

_HUB_OPSET = 23
_LARGEST_MATRIX = 1 << 18


def is_unusual_resize(node: ir.Node) -> bool:
    """Whether the node is of a form that `expand_resize` expands."""
    return bool(option(node, "antialias", 0)) or _leaves_image(node) or len(_changed_axes(node)) > 2


def _crop_axes(node: ir.Node) -> list[tuple[int, np.ndarray]]:
    """Axes of a tf_crop_and_resize with a known roi, and the pixels along each that its results stand at."""
    roi = array(node.inputs[1]) if len(node.inputs) > 1 else None
    if option(node, "coordinate_transformation_mode", "") != "tf_crop_and_resize" or roi is None:
        return []
    before, after = known_shape(node.inputs[0]), known_shape(node.outputs[0])
    axes = [axis % len(before) for axis in option(node, "axes", list(range(len(before))))]
    found = []
    for axis, start, end in zip(axes, roi[: len(axes)].tolist(), roi[len(axes) :].tolist(), strict=True):
        last, count = before[axis] - 1, after[axis]
        ends = (start, end) if count > 1 else ((start + end) / 2,) * 2
        found.append((axis, np.linspace(ends[0] * last, ends[1] * last, count)))
    return found


def _leaves_image(node: ir.Node) -> bool:
    dims = node.inputs[0].shape if node.inputs[0] is not None else None
    if dims is None or node.outputs[0].shape is None or not all(isinstance(dim, int) for dim in dims):
        return False
    return any(
        at.min() < 0 or at.max() > known_shape(node.inputs[0])[axis] - 1 for axis, at in _crop_axes(node)
    )


def _crop_beyond(node: ir.Node) -> str | None:
    """The part of the crop that lies on the image, with `extrapolation_value` around it."""
    build, (dims, out) = Expansion(node), (known_shape(node.inputs[0]), known_shape(node.outputs[0]))
    found, sizes = _crop_axes(node), list(out)
    starts, ends, pads = [], [], np.zeros((2, len(dims)), np.int64)
    for axis, at in found:
        inside = np.flatnonzero((at >= 0) & (at <= dims[axis] - 1))
        if not inside.size:
            return "its roi lies outside the image"
        first, last = int(inside[0]), int(inside[-1])
        starts.append(at[first] / max(dims[axis] - 1, 1))
        ends.append(at[last] / max(dims[axis] - 1, 1))
        sizes[axis] = last - first + 1
        pads[:, axis] = first, out[axis] - 1 - last
    roi = np.array([*starts, *ends], np.float32)
    changed = np.array([sizes[axis] for axis, _ in found], np.int64)
    attributes = {item.name: item.value for item in node.attributes.values()}
    crop = build.op("Resize", node.inputs[0], roi, None, changed, **attributes)
    build.finish(build.op("Pad", crop, pads.reshape(-1), float(option(node, "extrapolation_value", 0.0))))
    return None


def _changed_axes(node: ir.Node) -> list[int]:
    try:
        before, after = known_shape(node.inputs[0]), known_shape(node.outputs[0])
    except ValueError:
        return []
    return [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


def _resize_volume(node: ir.Node) -> str | None:
    """Two axes at a time: resizing is separable."""
    mode = option(node, "coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize" or option(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return f"{mode} of more than two axes"
    build, y, after = Expansion(node), node.inputs[0], known_shape(node.outputs[0])
    axes, changed = option(node, "axes", list(range(len(after)))), _changed_axes(node)
    axes = [axis % len(after) for axis in axes]
    scales = array(node.inputs[2]) if len(node.inputs) > 2 else None
    factors = dict(zip(axes, scales.tolist(), strict=True)) if scales is not None and scales.size else {}
    kept = {item.name: item.value for item in node.attributes.values() if item.name != "axes"}
    for pair in (changed[at : at + 2] for at in range(0, len(changed), 2)):
        scale = np.array([factors[axis] for axis in pair], np.float32) if factors else None
        sizes = None if factors else np.array([after[axis] for axis in pair], np.int64)
        y = build.op("Resize", y, None, scale, sizes, axes=pair, **kept)
    assert y is not None
    build.finish(y)
    return None


def expand_resize(node: ir.Node) -> str | None:
    """A crop that leaves the image; else a product with a matrix along each axis that changes: resizing is
    linear and separable.
    """
    if not option(node, "antialias", 0):
        return _resize_volume(node) if len(_changed_axes(node)) > 2 else _crop_beyond(node)
    build, current = Expansion(node), node.inputs[0]
    before, after = known_shape(current), known_shape(node.outputs[0])
    rank = len(before)
    axes = [axis % rank for axis in option(node, "axes", list(range(rank)))]
    given = array(node.inputs[2]) if len(node.inputs) > 2 else None
    factors = dict(zip(axes, given.tolist(), strict=True)) if given is not None and given.size else {}
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if old == new and factors.get(axis, 1.0) == 1.0:
            continue
        if old * new > _LARGEST_MATRIX:
            return f"its matrix of {old} x {new} is too large"
        order = [at for at in range(rank) if at != axis] + [axis]
        weights = _resize_matrix(node, old, new, factors.get(axis))
        made = build.op("MatMul", build.op("Transpose", current, perm=order), weights)
        current = build.op("Transpose", made, perm=[order.index(at) for at in range(rank)])
    assert current is not None
    build.finish(current)
    return None


def _resize_matrix(node: ir.Node, old: int, new: int, factor: float | None) -> np.ndarray:
    """[old, new]: what ONNX's reference evaluator makes of each unit vector."""
    from onnx.reference import ReferenceEvaluator

    helper, skipped = onnx.helper, ("axes", "keep_aspect_ratio_policy")
    kept = {item.name: item.value for item in node.attributes.values() if item.name not in skipped}
    operands = ["x", "", "", "sizes"] if factor is None else ["x", "", "scales"]
    port = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [old, old])
    constants = [
        onnx.numpy_helper.from_array(np.array([old, new], np.int64), "sizes"),
        onnx.numpy_helper.from_array(np.array([1.0, factor or 1.0], np.float32), "scales"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Resize", operands, ["y"], **kept)],
        "resize",
        [port],
        [helper.make_empty_tensor_value_info("y")],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _HUB_OPSET)], ir_version=11)
    (matrix,) = ReferenceEvaluator(model).run(None, {"x": np.eye(old, dtype=np.float32)})
    return np.asarray(matrix, np.float32)
