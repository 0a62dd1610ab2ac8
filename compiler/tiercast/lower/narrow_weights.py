"""In which integers a package keeps the weights of f32 arithmetic, and which bear none."""

from __future__ import annotations

import numpy as np

from tiercast.lower.int4_weights import Int4Weight, exact_int4, nearest_int4
from tiercast.lower.int8_weights import Int8Weight, exact_int8, nearest_int8

NarrowWeight = Int4Weight | Int8Weight
SMALLEST = 256  # elements: smaller weights stay as they are, the step that widens them costs as much
SMALLEST_EXACT = 1024  # where no others are narrowed


def narrow_weight(matrix: np.ndarray, stored: str) -> tuple[NarrowWeight | None, list[str]]:
    """The integer form of a weight f32 [..., K, N], or None, and why it is not the narrowest asked for.

    Weights that the model's file had in integers have theirs whatever is asked for; stored: "s8" or "s4" for
    all others, as far as they bear it.
    """
    if matrix.size < SMALLEST or matrix.ndim < 2:
        return None, []
    stacked = matrix.reshape(-1, *matrix.shape[-2:])
    exact: NarrowWeight | None = None
    if matrix.size >= SMALLEST_EXACT:
        exact = exact_int4(stacked) or exact_int8(stacked)
    if exact is not None and exact.packed.nbytes + exact.scales.nbytes < matrix.nbytes // 2:
        return exact, []
    refused: list[str] = []
    makers = {"s4": (nearest_int4, nearest_int8), "s8": (nearest_int8,)}.get(stored, ())
    for nearest in makers:
        found: NarrowWeight = nearest(stacked)
        if found.refusal is None:
            return found, refused
        refused.append(found.refusal)
    return None, refused
