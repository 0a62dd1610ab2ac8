"""Packing of a GEMM's right-hand side into panels: the format of kernels/simd/panels.h."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tiercast.kernel import Row


@dataclass(frozen=True)
class Panels:
    """Columns, padded to granule, are cut greedily: the widest of panel, panel/2, ... granule that fits.

    dtype: of the packed elements.
    """

    panel: int
    granule: int
    dtype: type[np.generic] = np.float32

    def padded(self, columns: int) -> int:
        """Packed columns of `columns` real ones."""
        return -(-columns // self.granule) * self.granule

    def widths(self, columns: int) -> list[int]:
        """Width of each panel in order."""
        left, found = self.padded(columns), []
        while left:
            width = self.panel
            while width > left:
                width //= 2
            found.append(width)
            left -= width
        return found

    def gated(self, matrix: np.ndarray) -> np.ndarray:
        """[..., 2 N], features and then gates -> [..., padded columns], panel by panel features and gates."""
        count = matrix.shape[-1] // 2
        out = np.zeros((*matrix.shape[:-1], self.padded(2 * count)), matrix.dtype)
        start = 0
        for width in self.widths(2 * count):
            first, half = start // 2, width // 2
            features = min(half, count - first)
            for column, source in ((start, first), (start + half, count + first)):
                out[..., column : column + features] = matrix[..., source : source + features]
            start += width
        return out

    def pack(self, matrix: np.ndarray) -> np.ndarray:
        """[..., K, N] f32 -> flat: each matrix's panels in order, each [K, width], zeros beyond N."""
        *outer, rows, columns = matrix.shape
        stacked = np.zeros((int(np.prod(outer)), rows, self.padded(columns)), self.dtype)
        stacked[:, :, :columns] = matrix.reshape(-1, rows, columns)
        starts = np.cumsum([0, *self.widths(columns)])
        panels = [stacked[:, :, a:b].reshape(len(stacked), -1) for a, b in pairwise(starts)]
        return np.concatenate(panels, axis=1).reshape(-1)

    def pad(self, vector: np.ndarray) -> np.ndarray:
        """[..., N] f32 -> flat, each row padded with zeros to the packed columns."""
        columns = vector.shape[-1]
        padded = np.zeros((vector.size // columns, self.padded(columns)), self.dtype)
        padded[:, :columns] = vector.reshape(-1, columns)
        return padded.reshape(-1)


_GRANULES = {"avx512": 8, "avx2": 8, "neonfp16": 8, "neon": 4, "portable": 4}
_REALS: dict[str, type[np.floating]] = {"f32": np.float32, "f16": np.float16}


def panels_for(row: Row) -> Panels:
    """The panels a row is fastest on: as wide as its tile, as fine as its vectors allow."""
    return Panels(row.tile.get("nr", 8), _GRANULES[row.isa], _REALS[row.in_dtype])
