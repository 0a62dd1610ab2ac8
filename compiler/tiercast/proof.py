"""Proof of an emitted kernel: each of its rows that this machine can run, on random inputs, against ONNX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tiercast.codegen.emit import EmittedKernel, Operand, isas
from tiercast.codegen.library import compile_host_library, with_table
from tiercast.errors import GraphError
from tiercast.extras import folder_beside, write_extras
from tiercast.ir import domain
from tiercast.lower.lowering import lower_graph
from tiercast.lower.plan import NUMPY_DTYPES
from tiercast.ops.layouter import Layouter
from tiercast.ops.registry import DOMAIN
from tiercast.package.file import write_package
from tiercast.target import find_target
from tiercast.text import shape_text

# Of the largest element of the reference: C constants have seven digits, and sums another order.
TOLERANCE = 2e-5


def expected(model: bytes, inputs: Sequence[Operand]) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Seeded inputs, and what the model makes of them; GraphError when nothing can be the judge."""
    import onnxruntime

    random = np.random.default_rng(0)

    def draw(item: Operand) -> np.ndarray:
        kind = NUMPY_DTYPES[item.dtype]
        if kind.kind == "f":
            return random.standard_normal(item.dims).astype(kind)
        return random.integers(0, 2 if kind.kind == "b" else 8, item.dims).astype(kind)

    feed = {f"i{index}": draw(item) for index, item in enumerate(inputs)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return feed, [np.asarray(array) for array in session.run(None, feed)]
    except Exception as error:  # onnxruntime's errors share no base class
        return feed, _by_onnx(model, feed, str(error))


def _by_onnx(model: bytes, feed: Mapping[str, np.ndarray], reason: str) -> list[np.ndarray]:
    """The results by onnx's own reference implementation, where onnxruntime has none."""
    from onnx.reference import ReferenceEvaluator

    try:
        return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, dict(feed))]
    except Exception as error:  # numpy's and onnx's
        raise GraphError(f"nothing can judge TVM's kernel: {reason}; onnx.reference: {error}") from error


def run_rows(
    made: EmittedKernel,
    inputs: Sequence[Operand],
    outputs: Sequence[Operand],
    feed: Mapping[str, np.ndarray],
    folder: Path,
) -> dict[str, list[np.ndarray]]:
    """What each row that this machine has makes of the inputs."""
    from tiercast import _native  # here: a cross compilation without TVM needs no native build
    from tiercast.session import Session

    has = frozenset(_native.cpu_features())
    host = dataclasses.replace(find_target("host"), has=has)
    extras = with_table(made.extras(host))
    shared = write_extras(extras, folder / "all.kernels", compile_host_library(extras, folder / "build"))
    model = _one_call(made, inputs, outputs)
    found: dict[str, list[np.ndarray]] = {}
    for row in made.family.rows:
        if row.isa not in isas(host) or row.needs - has:
            continue
        plan = lower_graph(model, dataclasses.replace(host, has=row.needs), prefer=row.name)
        plan.facts |= extras.facts([row.name])
        package = write_package(plan, folder / f"{row.isa}.tcpkg")
        folder_beside(package).symlink_to(shared)
        found[row.name] = list(Session(package, features=sorted(row.needs)).run(dict(feed)).values())
    return found


def _one_call(made: EmittedKernel, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> ir.Model:
    layout = Layouter()

    def kind(item: Operand) -> ir.DataType:
        return ir.DataType.from_numpy(NUMPY_DTYPES[item.dtype])

    values = [
        ir.Value(name=f"i{index}", shape=ir.Shape(item.dims), type=ir.TensorType(kind(item)))
        for index, item in enumerate(inputs)
    ]
    facts = attributes(made, [(kind(item), item.dims) for item in outputs])
    results = layout.emit("Emitted", values, facts, len(outputs))
    imports = {"": 23, DOMAIN: domain.VERSION}
    graph = ir.Graph(values, results, nodes=layout.nodes, opset_imports=imports, name="emitted")
    return ir.Model(graph, ir_version=10)


def attributes(
    made: EmittedKernel, results: Sequence[tuple[ir.DataType, tuple[int, ...]]]
) -> dict[str, str | int]:
    """Of an `Emitted` that calls the kernel."""
    text = ",".join(f"{kind.name}:{shape_text(dims) or 'scalar'}" for kind, dims in results)
    return {"kernel": made.op, "results": text, "scratch": made.scratch_bytes}


def difference(got: np.ndarray, want: np.ndarray) -> str | None:
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        return f"{got.dtype} {got.shape} instead of {want.dtype} {want.shape}"
    if want.dtype.kind != "f":
        wrong = int(np.count_nonzero(got != want))
        return f"{wrong} of {want.size} elements" if wrong else None
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return "infinities or NaNs"
    scale = max(float(np.abs(want[finite]).max(initial=0.0)), 1e-6)
    error = float(np.abs(got[finite].astype(np.float64) - want[finite]).max(initial=0.0)) / scale
    return None if error <= TOLERANCE else f"relative error {error:.3g}"
