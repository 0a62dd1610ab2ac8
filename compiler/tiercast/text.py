"""Numbers and shapes as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def bytes_text(count: int) -> str:
    """A byte count: "812 B", "45.2 KB" (of 1000 bytes), "1.20 MB"."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} KB" if count < 1e6 else f"{count / 1e6:.2f} MB"


def shape_text(dims: Sequence[int]) -> str:
    """A shape as `--input` takes it: "1x3x256x256"; "scalar" for rank 0."""
    return "x".join(map(str, dims)) or "scalar"
