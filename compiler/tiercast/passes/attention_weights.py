"""What values are weighed with in attention: a softmax of all scores, or of each query's largest only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, only_user
from tiercast.ops.registry import DOMAIN, attr


@dataclass(frozen=True)
class Weights:
    """`value` is the softmax of `scores` along `axis`.

    With top_k > 0 it is that of as many largest ones, and zeros elsewhere.
    """

    value: ir.Value
    scores: ir.Value
    axis: int
    top_k: int


def find_weights(softmax: ir.Node) -> Weights | str | None:
    """The weights that a Softmax node makes.

    By itself, or with the TopK before and the ScatterElements behind it. Text says why a node between these
    two makes none, None that it is no softmax.
    """
    if softmax.domain != DOMAIN or softmax.op_type != "Softmax" or attr(softmax, "log"):
        return None
    source = softmax.inputs[0]
    assert source is not None
    picked, scatter = source.producer(), only_user(softmax.outputs[0])
    if not _is(picked, "TopK") or not _is(scatter, "ScatterElements"):
        return Weights(softmax.outputs[0], source, int(attr(softmax, "axis")), 0)
    assert picked is not None and scatter is not None
    refusal = _refusal(picked, softmax, scatter)
    scores = picked.inputs[0]
    assert scores is not None
    return refusal or Weights(scatter.outputs[0], scores, int(attr(softmax, "axis")), int(attr(picked, "k")))


def _refusal(picked: ir.Node, softmax: ir.Node, scatter: ir.Node) -> str | None:
    base, indices, updates = scatter.inputs
    if updates is not softmax.outputs[0] or indices is not picked.outputs[1]:
        return "the softmax of the largest scores is not scattered to where they stood"
    if not attr(picked, "largest"):
        return "the smallest scores are picked"
    if not int(attr(picked, "axis")) == int(attr(softmax, "axis")) == int(attr(scatter, "axis")):
        return "scores are picked, weighed and scattered along different axes"
    if attr(scatter, "reduction") != "none" or not _is_zeros(base):
        return "weights are scattered into something else than zeros"
    if any(only_user(value) is None for value in picked.outputs):
        return "the largest scores or their positions are read elsewhere too"
    return None


def _is(node: ir.Node | None, op_type: str) -> bool:
    return node is not None and node.domain == DOMAIN and node.op_type == op_type


def _is_zeros(value: ir.Value | None) -> bool:
    data = array(value)
    return data is not None and not np.any(data)
