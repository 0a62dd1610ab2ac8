"""Winograd algorithms F(m x m, r x r) for Conv2d: what a layer may take, how long it takes, its lowering.

S. Winograd, "Arithmetic complexity of computations", 1980; A. Lavin, S. Gray, arXiv:1509.09308.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import onnx_ir as ir

from tiercast.kernel import Row
from tiercast.ops.convolution import channel_vector, gate_params, residual_of, weight_of
from tiercast.ops.lowering import Lowering
from tiercast.ops.panels import panels_for
from tiercast.ops.registry import attr, dtype, shape

# Of the largest output. Nets that amplify rounding (deep, residual, random weights) err by ten times that.
ERROR_BUDGET = 5e-6

# As in kernels/winograd_conv2d/winograd.h: what scratch holds besides transformed inputs and products.
_STRIP_TILES, _STRIP_LANES, _POINT_GAP, _SPARE_TILES = 8, 16, 16, 15
THIN_COLUMNS = 3  # as in kernels/conv2d/conv2d.h: so few are summed along the taps,
THIN_RATE = 0.33  # at a third of the rate of a GEMM (measured at 1 and 3 channels of 72 and 144 taps)
# attributes that are params
_KEPT = ("dilations", "pads", "pad_mode", "upsample", "activation", "alpha", "beta")
_POINTS = {4: (1.0,), 6: (0.75, 1.5), 8: (0.5, 1.0, 2.0)}  # as in kernels/winograd_conv2d/points.h


@dataclass(frozen=True)
class Tile:
    """F(m x m, r x r): m x m outputs of a filter of r x r taps."""

    m: int
    r: int

    @property
    def reach(self) -> int:
        """Rows and columns of inputs that a tile reads."""
        return self.m + self.r - 1

    @property
    def points(self) -> int:
        """Products of a tile and pair of channels."""
        return self.reach**2

    @property
    def op(self) -> str:
        """The kernel op."""
        size = str(self.m) if self.r == 3 else f"{self.m}x{self.r}"
        return f"winograd{size}_conv2d_f32f32"


TILES = (Tile(2, 3), Tile(4, 3), Tile(6, 3), Tile(4, 5), Tile(2, 7))


@dataclass(frozen=True)
class Rates:
    """What an instruction set's rows reach, for predictions, and the cache that a block fills.

    gemm: multiply-accumulates a nanosecond; values: transformed inputs and products a nanosecond;
    block_floats: of transformed inputs and products, most of the second-level cache.
    """

    gemm: float
    values: float
    block_floats: int


# x86 measured on a Zen 4 core at 3.7 GHz; NEON scaled to a core of 2.4 GHz by counted instructions.
RATES = {
    "avx512": Rates(55.0, 5.0, 163840),
    "avx2": Rates(52.0, 4.0, 163840),
    "neon": Rates(16.0, 2.0, 65536),
    "neonfp16": Rates(32.0, 4.0, 65536),
    "portable": Rates(1.0, 0.5, 4096),
}


def tiles_for(node: ir.Node) -> tuple[Tile, ...]:
    """The algorithms that compute a Conv2d: of f32, stride 1, one group and a square filter that has some."""
    plain = attr(node, "strides") == [1, 1] and attr(node, "group") == 1
    if not plain or dtype(node.outputs[0]) != ir.DataType.FLOAT:
        return ()
    return tuple(tile for tile in TILES if weight_of(node).shape[2:] == (tile.r, tile.r))


def refusal(node: ir.Node, tile: Tile) -> str | None:
    """Why one of `tiles_for` a Conv2d may not compute it, None when it may."""
    reaches = [step * (tile.r - 1) for step in attr(node, "dilations")] * 2
    if any(pad > reach for pad, reach in zip(attr(node, "pads"), reaches, strict=True)):
        return "some windows lie in the padding alone; what is exactly 0 there would be rounding"
    error = _error(_Weight(weight_of(node)), tile)
    if error > ERROR_BUDGET:
        return f"error {error:.2g} of the largest output is above {ERROR_BUDGET:.2g}"
    return None


def direct_us(node: ir.Node, row: Row) -> float:
    """Predicted time of the direct kernel's row."""
    taps = math.prod(weight_of(node).shape[1:])
    batch, height, width, _ = shape(node.outputs[0])
    columns, rate = weight_of(node).shape[0] // attr(node, "group"), RATES[row.isa].gemm
    if columns <= THIN_COLUMNS and not attr(node, "gated"):
        rate *= THIN_RATE
    else:
        columns = panels_for(row).padded(columns)
    return float(batch * height * width * attr(node, "group") * columns * taps / rate / 1e3)


def predicted_us(node: ir.Node, row: Row, tile: Tile) -> float:
    """Predicted time of `tile` by `row`: products, and transforms of inputs and products."""
    out_channels, channels = weight_of(node).shape[:2]
    values, rates = tile_count(node, tile.m) * tile.points, RATES[row.isa]
    columns = panels_for(row).padded(out_channels)
    moved = (_pitch(channels) + columns) / rates.values
    return float(values * (channels * columns / rates.gemm + moved) / 1e3)


def tile_count(node: ir.Node, m: int) -> int:
    """Tiles of m x m outputs, in all images and phases of a dilated convolution."""
    batch, *size, _ = shape(node.outputs[0])
    phases = [min(step, extent) for step, extent in zip(attr(node, "dilations"), size, strict=True)]
    longest = [-(-extent // count) for extent, count in zip(size, phases, strict=True)]
    return int(batch * math.prod(phases) * math.prod(-(-length // m) for length in longest))


def lower_winograd(node: ir.Node, low: Lowering, tile: Tile, refused: tuple[str, ...]) -> None:
    """One call, and one that transforms the weight when a session opens."""
    weight = weight_of(node)
    out_channels, channels = weight.shape[:2]
    row = low.choose(tile.op)
    panels = panels_for(row)
    packing = {"panel": panels.panel, "granule": panels.granule}
    bias, gate = channel_vector(node, 2, out_channels, default=0.0), gate_params(node)
    matrices_of_taps = weight.transpose(2, 3, 1, 0)
    if gate["gated"]:
        matrices_of_taps, bias = panels.gated(matrices_of_taps), panels.gated(bias)
    columns = matrices_of_taps.shape[-1]  # a scale for each of them, for all of its taps
    plain = low.weight(matrices_of_taps.reshape(-1, columns), "weight", dims=matrices_of_taps.shape)
    size = tile.points * channels * panels.padded(out_channels)
    maker = low.choose("winograd_weights_f32f32")
    transformed = low.prepare(node, maker, [plain], (size,), "transformed weight", {"m": tile.m, **packing})
    slope = channel_vector(node, 3, out_channels)
    residual, residual_mode = residual_of(node, 4)
    width = min(panels.padded(out_channels), panels.panel)
    block = block_tiles(row, tile, _pitch(channels) + width, tile_count(node, tile.m))
    low.call(
        node,
        row,
        inputs=[
            node.inputs[0],
            transformed,
            low.const(panels.pad(bias), "bias"),
            None if slope is None else low.const(panels.pad(slope), "slope"),
            residual,
        ],
        outputs=list(node.outputs),
        params={
            "kernel": [tile.r, tile.r],
            "strides": [1, 1],
            **{name: attr(node, name) for name in _KEPT},
            "residual_mode": residual_mode,
            **gate,
            **packing,
            "block": block,
        },
        scratch_bytes=_scratch_bytes(tile, _pitch(channels), width, block),
        refused=refused,
    )


def block_tiles(row: Row, tile: Tile, width: int, tiles: int) -> int:
    """Tiles of one block: what the cache holds, in whole micro-kernel tiles, and no more than there are.

    width: floats a point and tile take, of transformed inputs and of products.
    """
    rows = row.tile.get("mr", 1)
    fit = RATES[row.isa].block_floats // (tile.points * width)
    return max(1, min(max(fit // rows, 1) * rows, 96, tiles))


def _pitch(channels: int) -> int:
    return -(-channels // _STRIP_LANES) * _STRIP_LANES


def _scratch_bytes(tile: Tile, pitch: int, width: int, block: int) -> int:
    strip = tile.reach * (_STRIP_TILES * tile.m + tile.r - 1) * _STRIP_LANES
    inputs, products = (block + _SPARE_TILES) * pitch + _POINT_GAP, block * width + _POINT_GAP
    return (tile.points * (inputs + products) + strip) * 4


class _Weight:
    """A weight [OC,C,r,r] that hashes by its values, for the cache."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self._digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weight) and self._digest == other._digest


@lru_cache(maxsize=1024)
def _error(weight: _Weight, tile: Tile) -> float:
    """Largest error of `tile` in f32 against float64, over the largest output.

    On the layer's weight and rectified normal inputs, which like most activations have a mean: what is
    amplified most.
    """
    w = weight.array[:64]
    random = np.random.default_rng(0)
    x = np.maximum(random.standard_normal((24, w.shape[1], tile.reach, tile.reach)), 0).astype(np.float32)
    b, g, a = matrices(tile)
    filters = np.einsum("ik,ockl,jl->ijco", g, w.astype(np.float64), g).astype(np.float32)
    half = np.einsum("ik,tckl->tcil", b.astype(np.float32), x)
    inputs = np.einsum("tcil,jl->ijtc", half, b.astype(np.float32))
    products = np.matmul(inputs, filters)
    half = np.einsum("ki,ijto->kjto", a.astype(np.float32), products)
    found = np.einsum("kjto,lj->tokl", half, a.astype(np.float32))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3)).astype(np.float64)
    wanted = np.tensordot(windows, w.astype(np.float64), ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def matrices(tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B^T [a,a], G [a,r] and A^T [m,a] of F(m, r) as float64, as the kernels have them; a: its reach."""
    m, r, last = tile.m, tile.r, tile.reach - 1
    points = [0.0, *(sign * s for s in _POINTS[tile.reach] for sign in (1.0, -1.0))]
    b, g, a = np.zeros((last + 1, last + 1)), np.zeros((last + 1, r)), np.zeros((m, last + 1))
    for i, point in enumerate(points):
        others = np.poly1d(points[:i] + points[i + 1 :], True)
        b[i, :last] = others.coeffs[::-1]
        g[i] = [point**k / others(point) for k in range(r)]
        a[:, i] = [point**k for k in range(m)]
    b[last] = np.poly1d(points, True).coeffs[::-1]
    g[last, r - 1] = a[m - 1, last] = 1.0
    return b, g, a
