"""A `[[sample]]` or `[[bench]]` of a kernels.toml as a physical model of one node, for tests and benchmarks
of kernels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tiercast.errors import UsageError
from tiercast.kernel import Case
from tiercast.lower.plan import NUMPY_DTYPES
from tiercast.ops.layouter import Layouter
from tiercast.ops.registry import DOMAIN, ops

_INPUT = re.compile(
    r"(?P<const>const\s+)?(?P<dims>\d+(?:x\d+)*|scalar)(?::(?P<dtype>\w+))?(?:\s+range\((?P<low>[^,]+),(?P<high>[^)]+)\))?"
)


def case_model(case: Case, seed: int = 0, half: bool = False) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """The one-node physical model of a case, and seeded arrays for its graph inputs (`i<k>` is operand k).

    half: real graph inputs are f16 instead of f32; constants stay f32, as `lower` takes them.
    Raises UsageError when an input's text or the op is unknown, GraphError when the op's `infer` refuses the
    shapes.
    """
    random = np.random.default_rng(seed)
    layout = Layouter()
    graph_inputs: dict[str, np.ndarray] = {}
    operands = [
        _operand(index, text, random, layout, graph_inputs, half) for index, text in enumerate(case.inputs)
    ]
    outputs = layout.emit(case.op, operands, case.attributes, _output_count(case, operands))
    inputs = [value for value in operands if value is not None and value.const_value is None]
    return layout_model(layout, case.op, inputs, outputs), graph_inputs


def layout_model(
    layout: Layouter, name: str, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]
) -> ir.Model:
    """The physical model of all nodes that a layouter has emitted."""
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=layout.nodes,
        initializers=list(layout.initializers.values()),
        opset_imports={"": 23, DOMAIN: 1},
        name=name,
    )
    return ir.Model(graph, ir_version=10)


def _operand(
    index: int,
    text: str,
    random: np.random.Generator,
    layout: Layouter,
    graph_inputs: dict[str, np.ndarray],
    half: bool,
) -> ir.Value | None:
    if text.strip() == "-":
        return None
    found = _INPUT.fullmatch(text.strip())
    if found is None or (found["dtype"] or "f32") not in NUMPY_DTYPES:
        raise UsageError(
            f"kernels.toml: input {text!r} is not understood; write '-', '1x13x17x19', 'const 33x19x3x3' "
            "or '4x9:s64 range(0,5)'"
        )
    dims = () if found["dims"] == "scalar" else tuple(int(dim) for dim in found["dims"].split("x"))
    bounds = (float(found["low"]), float(found["high"])) if found["low"] else None
    array = _array(random, dims, found["dtype"] or "f32", bounds)
    if found["const"]:
        return layout.constant(array, f"i{index}")
    if half and array.dtype == np.float32:
        array = array.astype(np.float16)
    graph_inputs[f"i{index}"] = array
    kind = ir.DataType.from_numpy(array.dtype)
    return ir.Value(name=f"i{index}", shape=ir.Shape(dims), type=ir.TensorType(kind))


def _array(
    random: np.random.Generator, dims: tuple[int, ...], dtype: str, bounds: tuple[float, float] | None
) -> np.ndarray:
    kind = NUMPY_DTYPES[dtype]
    if dtype == "bool":
        return random.integers(0, 2, dims).astype(kind)
    if dtype in ("f32", "f16"):
        values = random.uniform(*bounds, dims) if bounds else random.standard_normal(dims)
        return np.asarray(values, kind)
    low, high = bounds or (0, 8)
    return random.integers(int(low), int(high), dims).astype(kind)


def _output_count(case: Case, operands: Sequence[ir.Value | None]) -> int:
    op = ops().get(case.op)
    if op is None:
        raise UsageError(f"kernels.toml: physical op {case.op!r} does not exist")
    attributes = [ir.convenience.convert_attribute(key, value) for key, value in case.attributes.items()]
    return len(op.infer(ir.Node(DOMAIN, case.op, list(operands), attributes=attributes)))
