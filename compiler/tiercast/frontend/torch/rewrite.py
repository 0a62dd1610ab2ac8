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
    """Attention over other dimensions than [N, H, L, E]: those before H are batch, and broadcast."""
    ranks = {query.dim(), key.dim(), value.dim()}
    if ranks == {4} or min(ranks) < 3:
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


def _adaptive_max_pool(x: torch.Tensor, size: Any) -> Any:
    """Maxima of the parts that a picture falls into, and where in the picture they stand."""
    height, width = x.shape[-2:]
    rows, columns = _pair(size)
    values, places = [], []
    for row in range(rows):
        top, bottom = row * height // rows, -(-(row + 1) * height // rows)
        for column in range(columns):
            left, right = column * width // columns, -(-(column + 1) * width // columns)
            most, at = x[..., top:bottom, left:right].flatten(-2).max(-1)
            inside = torch.div(at, right - left, rounding_mode="floor")
            values.append(most)
            places.append((top + inside) * width + left + at % (right - left))
    shape = [*x.shape[:-2], rows, columns]
    return torch.stack(values, -1).reshape(shape), torch.stack(places, -1).reshape(shape)


def _over_all(reduce: Any) -> Any:
    """amax and amin over all axes, which the exporter wants named."""

    def reduced(x: torch.Tensor, dim: Any = (), keepdim: bool = False) -> Any:
        return NotImplemented if dim else reduce(x, list(range(x.dim())), keepdim)

    return reduced


def _both_ends(x: torch.Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    axes = list(range(x.dim())) if dim is None else [dim]
    return _aten.amin.default(x, axes, keepdim), _aten.amax.default(x, axes, keepdim)


def _stacked(axis: int) -> Any:
    """hstack (axis 1) and vstack (axis 0), without the exporter's sequences."""

    def joined(tensors: Any) -> Any:
        items = [torch.atleast_2d(item) if axis == 0 else torch.atleast_1d(item) for item in tensors]  # type: ignore[no-untyped-call]
        return torch.cat(items, 0 if items[0].dim() == 1 else axis)

    return joined


def _stable_sort(x: torch.Tensor, *, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
    """ONNX's TopK, which it becomes, keeps the order of equals."""
    return _aten.sort.default(x, dim, descending)


def _scatter(x: torch.Tensor, dim: int, index: torch.Tensor, new: torch.Tensor, *, reduce: str) -> Any:
    """The newer name of a scatter that adds or multiplies, of as many values as there are indices."""
    new = new[tuple(slice(size) for size in index.shape)]
    return _aten.scatter_reduce.two(x, dim, index, new, {"add": "sum", "multiply": "prod"}[reduce])


def _hypotenuse(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(x * x + y * y)


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
    _aten.adaptive_max_pool2d.default: _adaptive_max_pool,
    _aten.amax.default: _over_all(_aten.amax.default),
    _aten.amin.default: _over_all(_aten.amin.default),
    _aten.aminmax.default: _both_ends,
    _aten.hstack.default: _stacked(1),
    _aten.vstack.default: _stacked(0),
    _aten.sort.stable: _stable_sort,
    _aten.scatter.reduce: _scatter,
    _aten.hypot.default: _hypotenuse,
    _aten._convolution.default: _convolution,
    _aten._convolution.deprecated: _convolution,
}
