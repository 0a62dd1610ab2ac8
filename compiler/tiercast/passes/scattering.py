"""ScatterND of rows at known places, which `x[a:b] = y` becomes, as pieces joined, mostly without a copy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.expansion import Expansion, known_shape, option

_MOST_PIECES = 8


def is_joinable(node: ir.Node) -> bool:
    """Whether the result consists of few runs of rows of the data and of the updates."""
    if option(node, "reduction", "none") != "none" or array(node.inputs[1]) is None:
        return False
    try:
        return len(_pieces(node)) <= _MOST_PIECES
    except ValueError:
        return False


def join_scattered(node: ir.Node) -> str | None:
    """data [d1..dk, ...] with updates [U..., ...] at indices [U..., k]; of equal ones the last counts."""
    build, (data, indices, updates) = Expansion(node), node.inputs[:3]
    dims, depth = known_shape(data), known_shape(indices)[-1]
    inside, rows = dims[depth:], math.prod(dims[:depth])
    data = data if depth == 1 else build.reshape(data, rows, *inside)
    updates = updates if len(known_shape(indices)) == 2 else build.reshape(updates, -1, *inside)
    parts = []
    for start, length in _pieces(node):
        source, at = (data, start) if start < rows else (updates, start - rows)
        parts.append(
            build.op("Slice", source, *(np.array([item], np.int64) for item in (at, at + length, 0)))
        )
    joined = build.op("Concat", *parts, axis=0)
    build.finish(joined if depth == 1 else build.reshape(joined, *dims))
    return None


def _pieces(node: ir.Node) -> list[tuple[int, int]]:
    """Start and length of runs in the rows of data and then of updates; ValueError for indices that
    leave the data.
    """
    dims, index = known_shape(node.inputs[0]), array(node.inputs[1])
    assert index is not None
    sizes = np.array(dims[: index.shape[-1]])
    index = index.reshape(-1, len(sizes)).astype(np.int64)
    if not index.size or ((index < -sizes) | (index >= sizes)).any():
        raise ValueError("indices leave the data")
    places = np.ravel_multi_index(tuple(np.where(index < 0, index + sizes, index).T), tuple(sizes))
    rows = math.prod(sizes.tolist())
    taken = np.arange(rows)
    taken[places] = rows + np.arange(len(places))
    breaks = [0, *(np.flatnonzero(np.diff(taken) != 1) + 1).tolist(), rows]
    # Data and updates lie side by side only in this numbering.
    breaks = sorted({*breaks, *(int(at) for at in np.flatnonzero(taken == rows))})
    return [(int(taken[first]), last - first) for first, last in pairwise(breaks)]
