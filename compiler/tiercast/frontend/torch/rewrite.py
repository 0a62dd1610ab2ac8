"""Says in other operators what PyTorch 2.13's ONNX exporter refuses, or loses without a word."""

from __future__ import annotations

import copy
from typing import Any

import torch

_aten = torch.ops.aten


def rewrite_program(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """A program of the same meaning that the exporter takes; the given one stays as it is."""
    made = program
    if any(node.target in _TABLE for node in program.graph.nodes):
        made = program.run_decompositions(dict(_TABLE))
    if all(symbol.is_symbol for symbol in made.range_constraints):
        return made
    made = copy.copy(made)  # it takes the range of a dimension like 2 * height for a symbol's
    made._range_constraints = {
        symbol: values for symbol, values in made.range_constraints.items() if symbol.is_symbol
    }
    return made


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    *others: Any,
    **options: Any,
) -> Any:
    """Attention over more dimensions than [N, H, L, E]: those before H are batch."""
    if query.dim() <= 4 or key.dim() != query.dim() or value.dim() != query.dim():
        return NotImplemented
    batch = torch.broadcast_shapes(query.shape[:-3], key.shape[:-3], value.shape[:-3])  # type: ignore[no-untyped-call]

    def flat(x: torch.Tensor) -> torch.Tensor:
        return x.expand(*batch, *x.shape[-3:]).reshape(-1, *x.shape[-3:])

    if mask is not None and mask.dim() > 3:
        mask = flat(mask)
    result = torch.nn.functional.scaled_dot_product_attention(
        flat(query), flat(key), flat(value), mask, *others, **options
    )
    return result.reshape(*batch, *result.shape[-3:])


def _average_pool(
    x: torch.Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The exporter loses divisor_override: the mean over whole windows, zeros around it included, scaled."""
    if divisor_override is None:
        return NotImplemented
    kernel, zeros = _pair(kernel_size), _pair(padding)
    steps = _pair(stride) if stride else kernel
    missing = [
        _missing(x.shape[axis - 2], kernel[axis], steps[axis], zeros[axis]) if ceil_mode else 0
        for axis in (0, 1)
    ]
    around = [zeros[1], zeros[1] + missing[1], zeros[0], zeros[0] + missing[0]]
    mean = _aten.avg_pool2d.default(torch.nn.functional.pad(x, around), kernel, steps)
    return mean * (kernel[0] * kernel[1] / divisor_override)


def _missing(size: int, kernel: int, step: int, zeros: int) -> int:
    """What the last window of ceil_mode, which must begin before the zeros behind the picture, lacks."""
    windows = -(-(size + 2 * zeros - kernel) // step) + 1
    if (windows - 1) * step >= size + zeros:
        windows -= 1
    return max((windows - 1) * step + kernel - size - 2 * zeros, 0)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else [value[0], value[-1]]


def _convolution(*arguments: Any) -> torch.Tensor:
    """What tracing leaves: `convolution` and switches of cuDNN."""
    result: torch.Tensor = _aten.convolution.default(*arguments[:9])
    return result


_TABLE = {
    _aten.scaled_dot_product_attention.default: _attention,
    _aten.avg_pool2d.default: _average_pool,
    _aten._convolution.default: _convolution,
    _aten._convolution.deprecated: _convolution,
}
