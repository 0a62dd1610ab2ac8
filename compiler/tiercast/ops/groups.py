"""Groups of a Conv2d computed together: their filters side by side in one matrix, zeros where a filter does
not see a channel. Few filters leave most of a panel empty; together they fill it.

The zeros are multiplied, so an infinity or NaN reaches all filters of the groups that are together.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from tiercast.kernel import Row
from tiercast.ops import winograd
from tiercast.ops.convolution import weight_of
from tiercast.ops.lowering import Lowering
from tiercast.ops.panels import panels_for
from tiercast.ops.registry import attr, shape, shape_key

# What an output pixel of a panel, and one sum of a thin group, take besides products, in
# multiply-accumulates. Measured on a Zen 4 core: 2 and 6 ns.
_PANEL_MACS, _THIN_MACS = 110, 330


def decide_together(node: ir.Node, row: Row, low: Lowering) -> int:
    """How many groups of a Conv2d `row` computes together: a divisor of their number."""
    group = attr(node, "group")
    filters = weight_of(node).shape[0] // group
    counts = [
        n for n in range(1, group + 1) if group % n == 0 and (n == 1 or n * filters <= row.tile.get("nr", 8))
    ]
    times = {f"{count} of {group} groups": predicted_us(node, row, count) for count in counts}
    return counts[list(times).index(low.decide(shape_key(node), times))]


def predicted_us(node: ir.Node, row: Row, together: int) -> float:
    """Predicted time of the direct kernel's row with `together` of the node's groups in one."""
    weight, rate = weight_of(node), winograd.RATES[row.isa].gemm
    groups, taps = attr(node, "group") // together, together * math.prod(weight.shape[1:])
    columns = weight.shape[0] // groups
    if columns <= winograd.THIN_COLUMNS:
        macs = columns * (taps / winograd.THIN_RATE + _THIN_MACS)
    else:
        panels = panels_for(row)
        macs = panels.padded(columns) * taps + len(panels.widths(columns)) * _PANEL_MACS
    return float(math.prod(shape(node.outputs[0])[:3]) * groups * macs / rate / 1e3)


def join(weight: np.ndarray, group: int, together: int) -> np.ndarray:
    """Weight [OC,C,KH,KW] of `group` groups as [OC,C * together,KH,KW] of group / together groups."""
    filters, channels, *kernel = weight.shape
    joined = np.zeros(
        (group // together, together, filters // group, together, channels, *kernel), weight.dtype
    )
    own = np.arange(together)
    apart = weight.reshape(group // together, together, filters // group, channels, *kernel)
    joined[:, own, :, own] = apart.swapaxes(0, 1)
    return joined.reshape(filters, channels * together, *kernel)
