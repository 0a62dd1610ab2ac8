"""Batch norms behind convolutions become part of their weights, statistics frozen, scale and shift still
trained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from tiercast.quantize.qat.capture import Traced

_aten = torch.ops.aten
CONVOLUTIONS = (_aten.conv1d.default, _aten.conv2d.default)
TRANSPOSED = (_aten.conv_transpose1d.default, _aten.conv_transpose2d.input)
_GROUPS = 6  # argument of the transposed ones


def fold_batch_norms(net: GraphModule) -> int:
    """conv(x, w, b) -> batch_norm becomes conv(x, w * f, (b - mean) * f + shift), in place, with
    f = scale / sqrt(var + eps), computed in the graph. The number that were folded.

    What training sees is then what integers compute: one weight, one bias ("static folding", Nagel et al.,
    "A White Paper on Neural Network Quantization", 2021). Batch norms behind something else, or without
    statistics of their own, stay.
    """
    folded = 0
    for node in list(net.graph.nodes):
        if node.target is _aten.batch_norm.default and _follows_product(node):
            _fold(net.graph, node.args[0], node)
            folded += 1
    net.graph.lint()
    net.recompile()
    return folded


def _follows_product(norm: Traced) -> bool:
    product, mean, training = norm.args[0], norm.args[3], norm.args[5]
    if training or mean is None or not isinstance(product, Node) or len(product.users) > 1:
        return False
    if product.target in TRANSPOSED:
        return len(product.args) <= _GROUPS or bool(product.args[_GROUPS] == 1)
    if product.target is _aten.linear.default:
        return int(product.meta["val"].dim()) == 2
    return product.target in CONVOLUTIONS


def _fold(graph: Any, product: Traced, norm: Traced) -> None:
    _, scale, shift, mean, variance, _, _, epsilon, *_ = norm.args
    weight = product.args[1]
    along = [1] * weight.meta["val"].dim()
    along[1 if product.target in TRANSPOSED else 0] = -1
    bias = product.args[2] if len(product.args) > 2 else None

    def put(target: Any, *arguments: Any) -> Traced:
        made: Traced = graph.call_function(target, arguments)
        return made

    with graph.inserting_before(product):
        factor = put(_aten.rsqrt.default, put(_aten.add.Tensor, variance, epsilon))
        if scale is not None:
            factor = put(_aten.mul.Tensor, factor, scale)
        scaled = put(_aten.mul.Tensor, weight, put(_aten.reshape.default, factor, along))
        centred = put(_aten.neg.default, mean) if bias is None else put(_aten.sub.Tensor, bias, mean)
        moved = put(_aten.mul.Tensor, centred, factor)
        if shift is not None:
            moved = put(_aten.add.Tensor, moved, shift)
    scaled.meta["val"] = weight.meta["val"]
    product.args = (product.args[0], scaled, moved, *product.args[3:])
    norm.replace_all_uses_with(product)
    graph.erase_node(norm)
