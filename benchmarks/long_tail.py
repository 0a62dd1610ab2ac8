"""TVM's kernels beside ours, op by op: `python -m benchmarks.long_tail` (make bench-tvm).

One thread, CPU time of the process, both packages in turn; minima. They are noisy where others use it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from tiercast.bench.packages import time_packages
from tiercast.errors import TiercastError
from tiercast.parity import verify
from tiercast.pipeline import compile_plan, write_compilation

Node = onnx.NodeProto


def cases() -> dict[str, tuple[list[Node], tuple[int, ...], dict[str, np.ndarray]]]:
    """Name -> nodes from "x" to "y", shape of x, constants."""
    node = helper.make_node
    weights = np.random.default_rng(0).standard_normal((32, 1, 3, 3)).astype(np.float32)
    scalars = {"a": np.float32(0.7), "b": np.float32(0.1)}
    constants = {name: np.asarray(value) for name, value in scalars.items()}
    chain = [
        node("Mul", ["x", "a"], ["t0"]),
        node("Add", ["t0", "b"], ["t1"]),
        node("Clip", ["t1", "", "a"], ["t2"]),
    ]
    return {
        "softmax over 2 channels": ([node("Softmax", ["x"], ["y"], axis=1)], (1, 2, 256, 256), {}),
        "softmax over rows": ([node("Softmax", ["x"], ["y"], axis=-1)], (1, 8, 64, 64), {}),
        "max pool 2x2": (
            [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])],
            (1, 32, 128, 128),
            {},
        ),
        "average pool 3x3": (
            [node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
            (1, 32, 64, 64),
            {},
        ),
        "pixel shuffle x2": (
            [node("DepthToSpace", ["x"], ["y"], blocksize=2, mode="CRD")],
            (1, 16, 128, 128),
            {},
        ),
        "scale, shift, clip, square root": (
            [*chain, node("Abs", ["t2"], ["t3"]), node("Sqrt", ["t3"], ["y"])],
            (1, 3, 256, 256),
            constants,
        ),
        "x sigmoid(x) + tanh": (
            [
                node("Sigmoid", ["x"], ["s"]),
                node("Mul", ["x", "s"], ["m"]),
                node("Tanh", ["m"], ["h"]),
                node("Add", ["m", "h"], ["y"]),
            ],
            (1, 16, 64, 64),
            {},
        ),
        "mean over the picture": ([node("GlobalAveragePool", ["x"], ["y"])], (1, 64, 64, 64), {}),
        "bilinear x2": (
            [node("Resize", ["x", "", "scales"], ["y"], mode="linear")],
            (1, 16, 64, 64),
            {"scales": np.array([1, 1, 2, 2], np.float32)},
        ),
        "depthwise 3x3": (
            [node("Conv", ["x", "w"], ["y"], group=32, pads=[1, 1, 1, 1])],
            (1, 32, 64, 64),
            {"w": weights},
        ),
    }


def main() -> int:
    """Compiles, proves and times each case both ways; prints a table, or JSON with --json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_tail", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each package")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="tiercast-long-tail-") as folder:
        for name, case in cases().items():
            print(name, file=sys.stderr)
            found.append(_compare(name, case, Path(folder), options.seconds))
    if options.json:
        print(json.dumps({"cases": found}))
        return 0
    table = Table("case", "ours ms", "TVM ms", "TVM / ours", title="one thread, CPU time, minima")
    for item in found:
        if "refused" in item:
            table.add_row(item["case"], "", "", item["refused"])
        else:
            numbers = (item["ours_ms"], item["tvm_ms"], item["ratio"])
            table.add_row(item["case"], *(f"{number:.3f}" for number in numbers))
    Console().print(table)
    return 0


def _compare(
    name: str, case: tuple[list[Node], tuple[int, ...], dict[str, np.ndarray]], folder: Path, seconds: float
) -> dict[str, object]:
    nodes, dims, constants = case
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    packages = []
    for mode in (None, "prefer"):
        try:
            done = compile_plan(model, "host", tvm=mode)
        except TiercastError as error:
            return {"case": name, "refused": str(error)}
        if mode is not None and done.extras is None:
            refused = [
                why for report in done.reports for _, why in report.refused if report.name == "take_regions"
            ]
            return {"case": name, "refused": "; ".join(refused) or "TVM was not asked"}
        packages.append(write_compilation(done, folder / f"{mode or 'ours'}.tcpkg"))
        if not verify(model, packages[-1]).ok:
            return {"case": name, "refused": f"{mode or 'ours'} is wrong"}
    ours, tvm = time_packages(packages, 1, seconds)
    ratio = tvm.cpu_min_ms / ours.cpu_min_ms
    return {"case": name, "ours_ms": ours.cpu_min_ms, "tvm_ms": tvm.cpu_min_ms, "ratio": ratio}


if __name__ == "__main__":
    raise SystemExit(main())
