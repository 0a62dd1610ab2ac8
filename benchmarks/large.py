"""A model larger than protobuf's 2 GB, compiled and verified: python -m benchmarks.large [--megabytes 2200].

Makes a chain of matrix products with random weights as external data, and tells the peak memory of compiling
it as a multiple of the model. Needs twice the model's bytes of disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

_SIDE = 4096


def write_model(path: Path, megabytes: int) -> list[str]:
    """Writes the ONNX file at `path` and its weights beside it; the names of its weights."""
    count = -(-megabytes * 10**6 // (_SIDE * _SIDE * 4))
    random = np.random.default_rng(0)
    weights, nodes, last = [], [], "x"
    with path.with_suffix(".bin").open("wb") as file:
        for index in range(count):
            tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[_SIDE, _SIDE])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", f"{path.stem}.bin"), ("offset", str(file.tell()))):
                tensor.external_data.add(key=key, value=value)
            file.write((random.standard_normal((_SIDE, _SIDE), np.float32) / np.float32(_SIDE**0.5)).data)
            weights.append(tensor)
            nodes.append(
                helper.make_node("MatMul", [last, tensor.name], [f"y{index}"], name=f"product{index}")
            )
            last = f"y{index}"
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, _SIDE]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "large", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return [tensor.name for tensor in weights]


def run(folder: Path, megabytes: int) -> dict[str, object]:
    """Compiles and verifies the model by the command line; sizes, peak memory and the verdict."""
    path, package = folder / "large.onnx", folder / "large.tcpkg"
    write_model(path, megabytes)
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    started = time.perf_counter()
    command(["compile", str(path), "-o", str(package)])
    seconds, peak = (
        time.perf_counter() - started,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )
    verdict = command(["verify", str(path), str(package)])
    return {
        "model_bytes": size,
        "package_bytes": package.stat().st_size,
        "compile_seconds": round(seconds, 1),
        "compile_peak_bytes": peak,
        "peak_per_model": round(peak / size, 2),
        "max_rel_error": verdict["max_rel_error"],
        "ok": verdict["ok"],
    }


def command(words: list[str]) -> dict[str, object]:
    """The JSON of a `tiercast` command run in a process of its own."""
    code = "import sys; from tiercast.cli import call; sys.exit(call(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *words, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"tiercast {' '.join(words)}: {done.stderr.strip()}")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    """Prints the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2200)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(json.dumps(run(Path(folder), arguments.megabytes), indent=1))


if __name__ == "__main__":
    main()
