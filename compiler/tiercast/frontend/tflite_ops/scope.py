"""One subgraph under translation: which ONNX values hold each TFLite tensor, in which order of axes.

TFLite's images are N,H,W,C and ONNX's N,C,H,W. A tensor may be held in several orders (`perm`: axis k of the
value is axis perm[k] of the tensor); Transposes appear only where an order is wanted that does not exist yet,
so the body of a vision model is plain N,C,H,W. A quantized tensor is held as its integers; its real value is
a DequantizeLinear of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Builder, Value
from tiercast.frontend.tflite_ops.file import NUMPY, Operator, Quantization, Subgraph, Tensor, TfliteModel

Perm = tuple[int, ...]
CHANNELS_FIRST: Perm = (0, 3, 1, 2)
_LIMITS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}


class Scope:
    """Tensors of a subgraph by index, and the ONNX values that hold them."""

    def __init__(self, model: TfliteModel, graph: Subgraph, builder: Builder, depth: int = 0) -> None:
        self.model = model
        self.graph = graph
        self.builder = builder
        self.depth = depth  # of subgraphs that call each other
        self._forms: dict[int, dict[Perm, Value]] = {}
        self._reals: dict[tuple[int, Perm], Value] = {}

    # -- facts
    def tensor(self, index: int) -> Tensor:
        """The tensor as the file has it."""
        return self.graph.tensors[index]

    def given(self, op: Operator, at: int) -> int | None:
        """The tensor that is input `at`; None where it is left out."""
        return op.inputs[at] if at < len(op.inputs) and op.inputs[at] >= 0 else None

    def shape(self, index: int) -> tuple[int, ...]:
        """The tensor's shape in TFLite's order of axes: what was computed, not what the file claims."""
        perm, value = self._first(index)
        dims = [0] * len(perm)
        for axis, dim in zip(perm, value.shape, strict=True):
            dims[axis] = dim
        return tuple(dims)

    def array(self, index: int) -> np.ndarray | None:
        """A constant's elements (integers, if it is quantized) in TFLite's order; None for a computed one."""
        perm, value = self._first(index)
        return None if value.array is None else np.transpose(value.array, np.argsort(perm))

    def constant(self, index: int, what: str) -> np.ndarray:
        """Like `array`; ModelError that names `what` where it is computed at run time."""
        found = self.array(index)
        if found is None:
            raise ModelError(
                f"{what} (tensor {self.tensor(index).name!r}) is computed at run time; it must be constant"
            )
        return found

    def numbers(self, index: int, what: str) -> list[int]:
        """A constant's elements as integers."""
        array = self.constant(index, what)
        if array.dtype.kind not in "iub":
            raise ModelError(f"{what} (tensor {self.tensor(index).name!r}) is {array.dtype}, not integer")
        return [int(item) for item in array.reshape(-1)]

    def is_real(self, index: int) -> bool:
        """Whether the tensor holds reals: floats, or integers with a scale."""
        return self.tensor(index).kind.startswith("FLOAT") or self.quantized(index) is not None

    def quantized(self, index: int) -> Quantization | None:
        """How the tensor's integers stand for reals; None for one that is not quantized.

        Raises ModelError for 16-bit ones.
        """
        tensor = self.tensor(index)
        if tensor.quantization is None or tensor.kind not in ("INT4", "INT8", "UINT8", "INT16", "INT32"):
            return None
        if tensor.kind == "INT32":  # biases; run-time integers that carry a scale are meant as integers
            return tensor.quantization if tensor.data is not None else None
        if tensor.kind == "INT16":
            raise ModelError(
                f"tensor {tensor.name!r} is quantized to 16 bits; convert the model with 8-bit activations"
            )
        return tensor.quantization

    def same_scale(self, first: int, second: int) -> bool:
        """Whether equal stored elements of the two mean equal values."""
        a, b = self.quantized(first), self.quantized(second)
        if a is None or b is None:
            return a is b
        same = np.array_equal(a.scales, b.scales) and np.array_equal(a.zeros, b.zeros)
        return same and self.tensor(first).kind == self.tensor(second).kind

    # -- values
    def perm(self, index: int) -> Perm:
        """The order in which the tensor is held first."""
        return self._first(index)[0]

    def common_perm(self, indices: Sequence[int], rank: int) -> Perm:
        """The order that most computed tensors of that rank have already; channels first among equals."""
        plain = tuple(range(rank))
        for index in indices:
            self._first(index)
        held = [
            self._forms[index]
            for index in indices
            if len(self.perm(index)) == rank and self.array(index) is None
        ]
        votes = {perm: sum(perm in forms for forms in held) for forms in held for perm in forms}
        return max(votes, key=lambda perm: (votes[perm], perm != plain), default=plain)

    def raw(self, index: int, perm: Sequence[int] | None = None) -> Value:
        """The tensor's stored elements, in `perm` (default: TFLite's order)."""
        have, first = self._first(index)
        wanted = tuple(perm) if perm is not None else tuple(range(len(have)))
        forms = self._forms[index]
        if len(wanted) != len(have):
            name = self.tensor(index).name
            raise ModelError(f"tensor {name!r} has {len(have)} dimensions; {len(wanted)} are needed here")
        if wanted not in forms:
            forms[wanted] = self.turned(first, [have.index(axis) for axis in wanted])
        return forms[wanted]

    def real(self, index: int, perm: Sequence[int] | None = None) -> Value:
        """The tensor's real value in `perm`: a DequantizeLinear, where it is quantized."""
        wanted = tuple(perm) if perm is not None else tuple(range(len(self.perm(index))))
        key = (index, wanted)
        if key not in self._reals:
            self._reals[key] = self.dequantized(index, self.raw(index, wanted), wanted)
        return self._reals[key]

    def aligned(self, index: int, perm: Perm) -> Value:
        """The real value for broadcasting against values in `perm`, from a tensor of that rank or lower."""
        own = self.shape(index)
        if len(own) == len(perm):
            return self.real(index, perm)
        key = (index, perm)
        if key not in self._reals:
            dims = (1,) * (len(perm) - len(own)) + own
            wide = self.turned(self.reshaped(self.raw(index), dims), perm)
            self._reals[key] = self.dequantized(index, wide, None)
        return self._reals[key]

    def dequantized(self, index: int, stored: Value, perm: Perm | None) -> Value:
        """The real value of `stored`, the tensor's elements in `perm` (None: in no axis order of it)."""
        quantization = self.quantized(index)
        if quantization is None:
            return stored
        if quantization.per_tensor:
            operands = self._scale(quantization, stored.dtype)
            return self.builder.emit("DequantizeLinear", [stored, *operands])
        if perm is None:
            raise ModelError(f"tensor {self.tensor(index).name!r} is quantized per channel; here it can't be")
        operands = self._scale(quantization, stored.dtype)
        return self.builder.emit("DequantizeLinear", [stored, *operands], axis=perm.index(quantization.axis))

    def bind(self, index: int, value: Value, perm: Sequence[int] | None = None) -> None:
        """Declares that `value` holds the tensor's stored elements in `perm`."""
        order = tuple(perm) if perm is not None else tuple(range(len(value.shape)))
        self._forms.setdefault(index, {})[order] = value

    def put(
        self,
        index: int,
        value: Value,
        perm: Sequence[int] | None = None,
        activation: str = "NONE",
        dims: Sequence[int] | None = None,
    ) -> None:
        """Declares the tensor's real value: activated, quantized where the tensor is, reshaped to `dims`."""
        quantization = self.quantized(index)
        if activation != "NONE" and not (quantization and self._clamps_anyway(index, activation)):
            value = self.activated(value, activation)
        if quantization is not None:
            if not quantization.per_tensor:
                raise ModelError(f"tensor {self.tensor(index).name!r} is computed and quantized per channel")
            operands = self._scale(quantization, np.dtype(NUMPY[self.tensor(index).kind]))
            value = self.builder.emit("QuantizeLinear", [value, *operands])
        self.bind(index, value if dims is None else self.reshaped(value, dims), perm)

    def adopt(self, index: int, other: Scope, given: int) -> None:
        """Declares that a tensor is a tensor of another scope, as arguments and results of subgraphs are."""
        perm = other.perm(given)
        mine, theirs = self.quantized(index), other.quantized(given)
        if (mine is None) != (theirs is None):
            raise ModelError(
                f"{self.tensor(index).name!r} and {other.tensor(given).name!r} differ in quantization"
            )
        self._forms[index] = {perm: other.raw(given, perm)}

    # -- small pieces of graph
    def turned(self, value: Value, axes: Sequence[int]) -> Value:
        """transpose(value, axes)."""
        if list(axes) == sorted(axes):
            return value
        return self.builder.emit("Transpose", [value], perm=[int(axis) for axis in axes])

    def reshaped(self, value: Value, dims: Sequence[int]) -> Value:
        """The same elements under another shape."""
        return (
            value
            if value.shape == tuple(dims)
            else self.builder.emit("Reshape", [value, self.builder.ints(dims)])
        )

    def activated(self, value: Value, activation: str) -> Value:
        """The fused activation of an operator; ModelError for one that TFLite has no kernels for either."""
        if activation == "NONE":
            return value
        if activation == "RELU":
            return self.builder.emit("Relu", [value])
        if activation in _LIMITS:
            low, high = (self.builder.constant(limit, value.dtype) for limit in _LIMITS[activation])
            return self.builder.emit("Clip", [value, low, high])
        if activation == "TANH":
            return self.builder.emit("Tanh", [value])
        raise ModelError(f"the fused activation {activation} is not supported")

    def _clamps_anyway(self, index: int, activation: str) -> bool:
        """Whether the integers' own range already ends where the activation would cut."""
        quantization = self.quantized(index)
        if quantization is None or activation not in _LIMITS:
            return False
        info = np.iinfo(NUMPY[self.tensor(index).kind])
        low, high = _LIMITS[activation]
        scale, zero = float(quantization.scales[0]), int(quantization.zeros[0])
        if scale == 0.0:
            return False
        return zero + round(low / scale) <= info.min and (
            np.isinf(high) or zero + round(high / scale) >= info.max
        )

    def _scale(self, quantization: Quantization, dtype: np.dtype[Any]) -> list[Value]:
        scales, zeros = quantization.scales, quantization.zeros
        if quantization.per_tensor:
            scales, zeros = scales.reshape(()), zeros.reshape(())
        operands = [self.builder.constant(scales)]
        if dtype == np.int32:  # ONNX knows no zero point of 32 bits
            if np.any(zeros):
                raise ModelError("a 32-bit constant is quantized with a zero point that is not 0")
            return operands
        info = np.iinfo(dtype)
        if np.any((zeros < info.min) | (zeros > info.max)):
            raise ModelError(f"a zero point of {zeros.max()} or {zeros.min()} is no {dtype}")
        return [*operands, self.builder.constant(zeros.astype(dtype))]

    def _first(self, index: int) -> tuple[Perm, Value]:
        forms = self._forms.get(index)
        if forms is None:
            self._forms[index] = forms = self._from_file(index)
        return next(iter(forms.items()))

    def _from_file(self, index: int) -> dict[Perm, Value]:
        tensor = self.tensor(index)
        if tensor.is_sparse:
            raise ModelError(
                f"tensor {tensor.name!r} is stored sparsely; densify it before converting to TFLite"
            )
        if tensor.kind not in NUMPY:
            raise ModelError(
                f"tensor {tensor.name!r} is of type {tensor.kind}, which nothing here computes with"
            )
        if tensor.data is None and tensor.is_variable:
            data = np.zeros(tensor.shape, NUMPY[tensor.kind])  # a state starts at zero
        elif tensor.data is None and 0 in tensor.shape:
            data = np.zeros(tensor.shape, NUMPY[tensor.kind])
        elif tensor.data is None:
            raise ModelError(
                f"tensor {tensor.name!r} is read, but nothing computes it and its buffer is empty"
            )
        else:
            data = tensor.data
        value = self.builder.constant(data, name=tensor.name or None)
        return {tuple(range(data.ndim)): value}
