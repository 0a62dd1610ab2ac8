"""A conversion counts as good when it computes what PyTorch computes, at every size that it promises.

PyTorch's exporter has lost operands and frozen dimensions without a word, so what it wrote is run
(onnxruntime, no optimisations) beside eager PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import sympy  # type: ignore[import-untyped]
import torch
from torch.utils import _pytree

from tiercast.errors import ModelError
from tiercast.frontend import onnx as onnx_format
from tiercast.frontend.torch.exporter import cause_of
from tiercast.frontend.torch.sources import Opened
from tiercast.ir.edit import array, static_shape
from tiercast.progress import report_progress

# Losses are far above this, and what two implementations of a deep f32 net differ by is far below.
TOLERANCES = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-3, np.dtype(np.float16): 5e-2}
# Of quantized programs: sums in another order move some values by a step, and all that depends on them; in a
# deep net that comes to as much as quantizing itself has changed.
_QUANTIZED_TOLERANCE = 0.1
_SMALLEST_SCALE = 1e-6
_MOST_FLIPPED = 1e-3  # of integers and booleans: comparisons of rounded numbers may go either way
_SWITCH = "--no-check-import (check_import=False) takes the conversion unproven"

Inputs = dict[str, np.ndarray]
Sizes = dict[sympy.Symbol, int]


def check_conversion(opened: Opened, exported: ir.Model, hub: ir.Model) -> None:
    """Compares the program with the hub model at its sizes, and with `exported` at a second size of each
    dynamic dimension.

    Raises ModelError that names the outputs, the error, the dimension and the sizes where they differ.
    """
    example = _example_inputs(opened, hub)
    steps = _quantization_steps(hub)
    if _dynamic(opened):
        report_progress("checking every dynamic dimension at a second size")
        run = onnx_format.reference(exported)
        for symbol, where, sizes in _second_sizes(opened, example):
            _check_second_size(opened, run, symbol, where, sizes, example, steps)
    report_progress("comparing the conversion with eager PyTorch")
    shapes = {value.name or "": tuple(static_shape(value) or ()) for value in hub.graph.inputs}
    given = {name: _resized(array, shapes[name]) for name, array in example.items()}
    expected = _run_eager(opened, given)
    wrong = _compare(onnx_format.reference(hub), given, expected, steps)
    if wrong:
        raise ModelError(
            f"{opened.origin}: PyTorch's exporter changes what the program computes: at inputs "
            f"{_sizes_text(given)} {wrong}. Report it to PyTorch, or rewrite the part; {_SWITCH}"
        )


def _example_inputs(opened: Opened, hub: ir.Model) -> Inputs:
    """The tensors that the program was exported with, by the names of the hub's inputs; where one says little
    (all elements equal), random numbers instead."""
    args, kwargs = opened.arguments
    tensors = [leaf for leaf in _pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    names = [value.name or "" for value in hub.graph.inputs]
    if len(names) != len(tensors):
        raise ModelError(
            f"{opened.origin}: the program takes {len(tensors)} tensors, its conversion {len(names)} "
            f"({', '.join(names)}); {_SWITCH}"
        )
    random = np.random.default_rng(0)
    return {
        name: _telling(tensor.detach().numpy(force=True), random)
        for name, tensor in zip(names, tensors, strict=True)
    }


def _telling(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f" or (array.size and np.ptp(array.astype(np.float64)) > 0):
        return array
    return random.uniform(0, 1, array.shape).astype(array.dtype)


def _resized(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of the shape with the values of another: integers stay in the range that the model takes."""
    if array.shape == shape:
        return array
    random = np.random.default_rng(len(shape))
    if array.dtype.kind == "f" and array.size:
        drawn: np.ndarray = random.uniform(array.min(), array.max(), shape).astype(array.dtype)
        return drawn
    return random.choice(array.ravel(), shape) if array.size else np.zeros(shape, array.dtype)


def _dynamic(opened: Opened) -> dict[sympy.Symbol, tuple[str, int]]:
    """The symbols in the program's input shapes, each with a place (input, axis) where it is the only one."""
    found: dict[sympy.Symbol, tuple[str, int]] = {}
    for name, dims in _symbolic_shapes(opened).items():
        for axis, dim in enumerate(dims):
            for symbol in getattr(dim, "free_symbols", ()):
                if len(dim.free_symbols) == 1:
                    found.setdefault(symbol, (name, axis))
    return found


def _symbolic_shapes(opened: Opened) -> dict[str, list[Any]]:
    program = opened.program
    shapes = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor):
                shapes[node.name] = [
                    dim.node.expr if isinstance(dim, torch.SymInt) else int(dim) for dim in value.shape
                ]
    return shapes


def _second_sizes(opened: Opened, example: Inputs) -> Iterator[tuple[sympy.Symbol, str, list[Sizes]]]:
    """Each dynamic symbol, how a user knows it, and sizes of all symbols to try, in which it alone differs
    from the example's."""
    shapes = _symbolic_shapes(opened)
    arrays = dict(zip(shapes, example.values(), strict=True))
    places = _dynamic(opened)
    first: Sizes = {}
    for symbol, (name, axis) in places.items():
        solved = sympy.solve(shapes[name][axis] - arrays[name].shape[axis], symbol)
        first[symbol] = int(solved[0])
    for symbol, (name, axis) in places.items():
        size = first[symbol]
        known = opened.program.range_constraints.get(symbol)
        low, high = (int(known.lower), known.upper) if known is not None else (1, sympy.oo)
        wanted = [size + 1, size - 1, size * 2, size + 2, size + 8, size + 32, size + 64, low]
        allowed = [item for item in wanted if item != size and item >= max(low, 1) and item <= high]
        where = f"dimension {axis} of input {name!r}"
        yield symbol, where, [{**first, symbol: item} for item in dict.fromkeys(allowed)]


def _check_second_size(
    opened: Opened,
    run: Any,
    symbol: sympy.Symbol,
    where: str,
    sizes: list[Sizes],
    example: Inputs,
    steps: list[float] | None,
) -> None:
    failure: Exception | None = None
    for size in sizes:
        shapes = _shapes_at(opened, size)
        given = {
            name: _resized(array, shape) for (name, array), shape in zip(example.items(), shapes, strict=True)
        }
        try:
            expected = opened.judge(given)
        except Exception as error:  # whatever PyTorch's guards say of a size
            failure = error
            continue
        wrong = _compare(run, given, expected, steps)
        if wrong:
            raise ModelError(
                f"{opened.origin}: {where} is dynamic, but PyTorch's exporter does not keep it so: at "
                f"{_sizes_text(given)} (exported at {_sizes_text(example)}) {wrong}. Export the program with "
                f"this dimension fixed; {_SWITCH}"
            )
        return
    if failure is not None:
        raise ModelError(
            f"{opened.origin}: {where} is dynamic, but PyTorch itself runs the program at no second size: "
            f"{cause_of(failure)}. Export it with this dimension fixed; {_SWITCH}"
        )


def _shapes_at(opened: Opened, sizes: Sizes) -> list[tuple[int, ...]]:
    return [
        tuple(int(dim.subs(sizes)) if hasattr(dim, "subs") else dim for dim in dims)
        for dims in _symbolic_shapes(opened).values()
    ]


def _run_eager(opened: Opened, given: Inputs) -> list[np.ndarray]:
    try:
        return opened.judge(given)
    except Exception as error:
        raise ModelError(
            f"{opened.origin}: PyTorch can't run the program at {_sizes_text(given)}: {cause_of(error)}"
        ) from error


def _quantization_steps(hub: ir.Model) -> list[float] | None:
    """Of a program that quantizes what it computes, the step of each output (0 where it is not quantized
    itself); None for all others.
    """
    if all(node.op_type != "QuantizeLinear" or array(node.inputs[0]) is not None for node in hub.graph):
        return None
    return [_step_of(value) for value in hub.graph.outputs]


def _step_of(output: ir.Value) -> float:
    node = output.producer()
    if node is None or node.op_type != "DequantizeLinear":
        return 1.0 if output.dtype in (ir.DataType.INT8, ir.DataType.UINT8) else 0.0
    scale = array(node.inputs[1])
    return float(scale.max()) if scale is not None and scale.size else 0.0


def _compare(run: Any, given: Inputs, expected: list[np.ndarray], steps: list[float] | None) -> str:
    """How the conversion differs, in words; "" when it does not."""
    try:
        got = run(given)
    except Exception as error:  # onnxruntime's errors share no base class
        return f"it can't be run: {cause_of(error)}"
    if len(got) != len(expected):
        return f"it has {len(got)} outputs, PyTorch {len(expected)}"
    for index, (left, right) in enumerate(zip(got, expected, strict=True)):
        text = _difference(left, right) if steps is None else _spread(left, right, steps[index])
        if text:
            return f"output {index} {text}"
    return ""


def _difference(got: np.ndarray, expected: np.ndarray) -> str:
    if got.shape != expected.shape:
        return f"has shape {got.shape}, PyTorch's {expected.shape}"
    if expected.dtype.kind not in "f":
        flipped = int(np.count_nonzero(got != expected))
        return "" if flipped <= _MOST_FLIPPED * got.size else f"differs in {flipped} of {got.size} elements"
    left, right = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(right)
    if not np.array_equal(np.where(finite, 0, right), np.where(finite, 0, left), equal_nan=True):
        return "has NaN or infinity in other places than PyTorch's"
    scale = max(float(np.max(np.abs(right), initial=0, where=finite)), _SMALLEST_SCALE)
    gap = np.subtract(left, right, out=np.zeros_like(left), where=finite)
    error = float(np.max(np.abs(gap), initial=0)) / scale
    tolerance = TOLERANCES.get(expected.dtype, 1e-3)
    return "" if error <= tolerance else f"has relative error {error:.3g} (more than {tolerance:g})"


def _spread(got: np.ndarray, expected: np.ndarray, step: float) -> str:
    """As `_difference`, of an output of a quantized program: by the root mean square, which may be a step."""
    if got.shape != expected.shape:
        return f"has shape {got.shape}, PyTorch's {expected.shape}"
    left, right = got.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return "has NaN or infinity in other places than PyTorch's"
    error, size = (
        float(np.sqrt(np.mean(np.nan_to_num(item, posinf=0, neginf=0) ** 2))) if right.size else 0.0
        for item in (left - right, right)
    )
    allowed = max(step, _QUANTIZED_TOLERANCE * size, _SMALLEST_SCALE)
    return "" if error <= allowed else f"has an error of {error:.3g} (more than {allowed:.3g})"


def _sizes_text(inputs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(
        f"{name}:{'x'.join(map(str, array.shape)) or 'scalar'}" for name, array in inputs.items()
    )
