"""What our integer core makes of ATen's operators."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from tiercast.quantize.qat.batch_norm import CONVOLUTIONS, TRANSPOSED
from tiercast.quantize.qat.capture import Traced

_aten = torch.ops.aten

_LINEAR = _aten.linear.default
COMPUTED = (_aten.matmul.default, _aten.bmm.default, _aten.mm.default)  # products of two computed values
BINARY = (_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor)
_LIMITS = (_aten.relu.default, _aten.relu6.default, _aten.hardtanh.default, _aten.clamp.default)
_INTERPOLATIONS = (_aten.upsample_bilinear2d.vec, _aten.upsample_bilinear2d.default)

# Each element of the result comes of the same element of the operands.
_ELEMENTWISE = (
    *(
        "abs",
        "add",
        "celu",
        "clamp",
        "clamp_max",
        "clamp_min",
        "div",
        "elu",
        "erf",
        "exp",
        "gelu",
        "hardsigmoid",
    ),
    *(
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "log",
        "mish",
        "mul",
        "neg",
        "pow",
        "prelu",
        "reciprocal",
        "relu",
        "relu6",
    ),
    *("rsqrt", "rsub", "selu", "sigmoid", "silu", "softplus", "sqrt", "square", "sub", "tanh"),
)

# Each element of the result is an element of the operands, or 0.
_MOVERS = (
    *(
        "_unsafe_view",
        "adaptive_max_pool2d",
        "alias",
        "cat",
        "chunk",
        "clone",
        "contiguous",
        "detach",
        "dropout",
    ),
    *(
        "dropout_",
        "expand",
        "feature_dropout",
        "flatten",
        "max_pool1d",
        "max_pool2d",
        "movedim",
        "narrow",
        "permute",
    ),
    *(
        "pixel_shuffle",
        "pixel_unshuffle",
        "repeat",
        "reshape",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
    ),
    *("stack", "t", "transpose", "unbind", "unflatten", "unsqueeze", "upsample_nearest2d", "view"),
)


def name_of(node: Traced) -> str:
    """ATen's name of the operator without overload: "relu"; "" for anything else."""
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return ""
    space, _, name = target._schema.name.partition("::")
    return name if space == "aten" else ""


def argument(node: Traced, name: str, default: Any = None) -> Any:
    """An argument of an ATen operator by its name in the schema."""
    for at, entry in enumerate(node.target._schema.arguments):
        if entry.name == name:
            return node.args[at] if at < len(node.args) else node.kwargs.get(name, default)
    return default


def is_real(node: object) -> bool:
    """Whether it is a node whose value is a tensor of f32."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def rank(node: Traced) -> int:
    """The number of dimensions of a node's value."""
    return int(node.meta["val"].dim())


def is_constant(node: object) -> bool:
    """Whether it depends on nothing but parameters, buffers and numbers."""
    if not isinstance(node, Node):
        return True
    if node.op == "get_attr":
        return True
    return (
        node.op == "call_function"
        and bool(node.all_input_nodes)
        and all(map(is_constant, node.all_input_nodes))
    )


def weight_axis(node: Traced) -> int | None:
    """The axis of the result's channels in the weight of a product that integers compute, None for other
    nodes.
    """
    if node.target not in (*CONVOLUTIONS, *TRANSPOSED, _LINEAR) or not is_real(node):
        return None
    weight = node.args[1]
    if not isinstance(weight, Node) or not is_constant(weight) or is_constant(node.args[0]):
        return None
    if node.target not in TRANSPOSED:
        return 0
    dilation = argument(node, "dilation", [1])
    plain = (
        argument(node, "groups", 1) == 1
        and max(dilation if isinstance(dilation, (list, tuple)) else [dilation]) == 1
    )
    return 1 if plain else None


def has_limits(node: Traced) -> bool:
    """Whether it only narrows the range of its input: relu, or a clip by numbers."""
    return node.target in _LIMITS and all(not isinstance(item, Node) for item in node.args[1:])


def is_average(node: Traced) -> bool:
    """Whether it averages height and width of images, whole or in windows."""
    if not node.args or not is_real(node) or not is_real(node.args[0]) or rank(node.args[0]) != 4:
        return False
    if node.target is _aten.adaptive_avg_pool2d.default:
        return list(node.args[1]) == [1, 1]
    if node.target is _aten.mean.dim:
        return sorted(axis % 4 for axis in node.args[1]) == [2, 3]
    return node.target is _aten.avg_pool2d.default and argument(node, "divisor_override") is None


def is_interpolation(node: Traced) -> bool:
    """Whether its results are means of neighbours, so within the range of what it reads."""
    return node.target in _INTERPOLATIONS


def is_elementwise(node: Traced) -> bool:
    """Whether it is a function of each element, with constants that differ along one axis at most."""
    if node.target is _aten.batch_norm.default:
        return node.args[3] is not None and not node.args[5]
    if name_of(node) not in _ELEMENTWISE or not is_real(node) or node.kwargs.get("alpha", 1) != 1:
        return False
    constants = [item for item in node.args if isinstance(item, Node) and is_constant(item)]
    axes = set()
    for item in constants:
        value = item.meta.get("val")
        dims = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
        if name_of(node) == "prelu":
            axes |= {1} if dims != (1,) else set()
        else:
            axes |= {rank(node) - len(dims) + at for at, dim in enumerate(dims) if dim != 1}
    return len(axes) <= 1


def moved_values(node: Traced) -> list[Traced] | None:
    """What a node moves that only moves elements, None for other nodes."""
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem":
        return [node.args[0]] if isinstance(node.args[0], Node) and moved_values(node.args[0]) else None
    name = name_of(node)
    if not node.args:
        return None
    if name in ("pad", "constant_pad_nd"):
        fill = argument(node, "value", 0)
        return [node.args[0]] if not fill else None
    if name not in _MOVERS:
        return None
    pieces = node.args[0] if isinstance(node.args[0], (list, tuple)) else [node.args[0]]
    return [piece for piece in pieces if isinstance(piece, Node)] or None
