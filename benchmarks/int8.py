"""Our int8 beside our f32 on this machine: python -m benchmarks.int8 [--models a,b] [--steps].

Whole nets, quantized by `tiercast.quantize` (one example as calibration data, which is enough for speed, not
for accuracy), and single layers. Both of a pair are visited in turn, one thread; times are the least CPU
times of all visits.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from onnx import TensorProto, helper
from rich.console import Console
from rich.table import Table

from benchmarks.models import zoo
from benchmarks.models.export_onnx import CACHE, onnx_path, sources_key
from tiercast.inputs import random_inputs
from tiercast.package.file import read_plans, write_package
from tiercast.pipeline import compile_plan
from tiercast.quantize import post_training
from tiercast.session import Session

MODELS = ("mobilenet_v2", "stories_seg_256", "portrait_seg", "landmark", "face_embed")
PACKAGES = CACHE.parent / "int8"
_FIGURES = CACHE.parent / "bench" / "int8.json"
_ROUNDS = 25
_PLAIN: dict[str, Any] = {"method": "minmax", "equalize": False, "correct_bias": False}


@dataclass(frozen=True)
class Layer:
    """A convolution on [1, channels, size, size] with "same" padding; results of 0: depthwise."""

    size: int
    channels: int
    results: int
    kernel: int = 3
    stride: int = 1

    @property
    def text(self) -> str:
        """In a table."""
        kind = "depthwise" if self.results == 0 else f"-> {self.results}"
        return f"{self.size}x{self.size}x{self.channels} {kind} {self.kernel}x{self.kernel} s{self.stride}"


LAYERS = (
    Layer(56, 64, 64), Layer(28, 128, 128), Layer(64, 192, 32), Layer(256, 28, 8), Layer(224, 3, 32, 3, 2),
    Layer(16, 64, 64), Layer(56, 24, 144, 1), Layer(14, 576, 96, 1), Layer(7, 320, 1280, 1),
    Layer(112, 32, 16, 1), Layer(64, 64, 4, 1), Layer(1, 1280, 1000, 1),
    Layer(112, 32, 0), Layer(112, 96, 0, 3, 2), Layer(56, 144, 0), Layer(128, 24, 0), Layer(28, 192, 0),
    Layer(14, 576, 0), Layer(7, 960, 0), Layer(14, 12, 0), Layer(28, 120, 0, 5), Layer(14, 672, 0, 5, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """What both took, in microseconds, and, of nets, the bytes of the packages."""

    name: str
    f32_us: float
    int8_us: float
    f32_bytes: int = 0
    int8_bytes: int = 0

    @property
    def ratio(self) -> float:
        """How many times as fast as f32 int8 is."""
        return self.f32_us / self.int8_us


class Runner:
    """A package, its inputs, and the least CPU time of a run, or of its first step of a kernel family."""

    def __init__(self, path: Path, family: str = "") -> None:
        self.path, self.least_us = path, math.inf
        self.session, self.plan = Session(path), read_plans(path)[0]
        self.inputs = random_inputs(self.plan.inputs, 0)
        kernels = [step["kernel"] for step in self.session.steps]
        self.step = next((at for at, name in enumerate(kernels) if family and family in name), None)
        for _ in range(3):
            self.session.run(self.inputs)

    def visit(self) -> None:
        """Runs it, or its step, for some milliseconds."""
        if self.step is not None:
            self.least_us = min(self.least_us, self.session.time_step(self.inputs, self.step, 0.008)[0])
            return
        ends = time.perf_counter() + 0.04
        while time.perf_counter() < ends:
            began = time.thread_time_ns()
            self.session.run(self.inputs)
            self.least_us = min(self.least_us, (time.thread_time_ns() - began) / 1e3)


def compare(name: str, f32: Runner, int8: Runner) -> Pair:
    """Visits both in turn."""
    for _ in range(_ROUNDS):
        f32.visit()
        int8.visit()
    sizes = (f32.path.stat().st_size, int8.path.stat().st_size) if f32.step is None else (0, 0)
    return Pair(name, f32.least_us, int8.least_us, *sizes)


def quantized_path(name: str) -> Path:
    """The quantized reference model, made once for each state of its sources (remove it when the quantizer
    has changed)."""
    path = CACHE / f"{name}.{sources_key(name)[:12]}.int8.onnx"
    if not path.exists():
        example = {key: value.detach().numpy() for key, value in zoo.build(name)[1].items()}
        post_training(str(onnx_path(name)), [example], path, **_PLAIN)
    return path


def package(source: str | Path, name: str) -> Path:
    """Compiles a model for this machine."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    return write_package(compile_plan(str(source)).plan, PACKAGES / f"{name}.tcpkg")


def compare_net(name: str) -> tuple[Pair, list[Runner]]:
    """A reference model in f32 and in int8."""
    runners = [
        Runner(package(onnx_path(name), name)), Runner(package(quantized_path(name), f"{name}.int8"))
    ]  # fmt: skip
    return compare(name, *runners), runners


def write_layer(layer: Layer, path: Path) -> Path:
    """A model of a convolution with a relu, and of another one, so that the first hands on integers."""
    random = np.random.default_rng(0)
    results, group = (layer.results, 1) if layer.results else (layer.channels, layer.channels)
    weight = random.normal(0, 0.1, (results, layer.channels // group, layer.kernel, layer.kernel))
    pad, size = layer.kernel // 2, (layer.size + layer.stride - 1) // layer.stride
    tail = random.normal(0, 0.1, (1, results, 3, 3))
    constants = [("w", weight), ("b", random.normal(0, 0.1, results)), ("t", tail)]
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["c"], pads=[pad] * 4, strides=[layer.stride] * 2, group=group
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "t"], ["y"], pads=[1] * 4),
    ]
    graph = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, layer.channels, layer.size, layer.size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, size, size])],
        [helper.make_tensor(key, TensorProto.FLOAT, data.shape, data.reshape(-1)) for key, data in constants],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), path)
    return path


def compare_layer(layer: Layer) -> Pair:
    """The kernel call that computes a layer, without what quantizes or moves."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    source = write_layer(layer, PACKAGES / "layer.onnx")
    dims = (1, layer.channels, layer.size, layer.size)
    sample = {"x": np.random.default_rng(1).normal(size=dims).astype(np.float32)}
    made = PACKAGES / "layer.int8.onnx"
    post_training(str(source), [sample], made, **_PLAIN)
    runners = [Runner(package(source, "layer"), "conv2d"), Runner(package(made, "layer.int8"), "conv2d")]
    return compare(layer.text, *runners)


def mean_ratio(pairs: Sequence[Pair]) -> float:
    """Geometric mean of the ratios."""
    return math.exp(sum(math.log(pair.ratio) for pair in pairs) / len(pairs))


def show(console: Console, title: str, pairs: Sequence[Pair]) -> None:
    """A table of pairs with the mean below."""
    table = Table("", "f32 us", "int8 us", "x", "x bytes", title=title, title_justify="left")
    for pair in pairs:
        size = f"{pair.int8_bytes / pair.f32_bytes:.3f}" if pair.f32_bytes else ""
        table.add_row(pair.name, f"{pair.f32_us:.1f}", f"{pair.int8_us:.1f}", f"{pair.ratio:.2f}", size)
    table.add_row("geometric mean", "", "", f"{mean_ratio(pairs):.2f}", "")
    console.print(table)


def show_steps(console: Console, runners: Sequence[Runner], limit: int = 40) -> None:
    """The steps of each package that take the most, by wall time."""
    for runner in runners:
        times = np.min([runner.session.run_timed(runner.inputs)[1] for _ in range(100)], 0)
        console.print(f"{runner.path.name}: {times.sum():.0f} us in {len(times)} steps")
        for at in np.argsort(-times)[:limit]:
            step = runner.plan.steps[at]
            first, last = (runner.plan.tensors[operands[0]].dims for operands in (step.inputs, step.outputs))
            shapes = f"{'x'.join(map(str, first))} -> {'x'.join(map(str, last))}"
            kernel = runner.session.steps[at]["kernel"]
            console.print(f"  {times[at]:8.1f} {kernel:48} {shapes:34} {step.name}")


def main(
    models: Annotated[str, typer.Option(help="comma-separated; none: an empty text")] = ",".join(MODELS),
    layers: Annotated[bool, typer.Option(help="also single layers")] = True,
    steps: Annotated[bool, typer.Option(help="also the steps of each net that take the most")] = False,
    output: Annotated[Path, typer.Option(help="where the figures go as JSON")] = _FIGURES,
) -> None:
    """Times int8 beside f32."""
    console = Console(width=150, highlight=False)
    nets = []
    for name in [name for name in models.split(",") if name]:
        pair, runners = compare_net(name)
        nets.append(pair)
        if steps:
            show_steps(console, runners)
    if nets:
        show(console, "nets", nets)
    found = [compare_layer(layer) for layer in LAYERS] if layers else []
    for title, some in (("dense layers", 1), ("depthwise layers", 0)):
        kind = [pair for pair, layer in zip(found, LAYERS, strict=False) if bool(layer.results) == bool(some)]
        if kind:
            show(console, title, kind)
    output.parent.mkdir(parents=True, exist_ok=True)
    figures = {"nets": [asdict(pair) for pair in nets], "layers": [asdict(pair) for pair in found]}
    output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    typer.run(main)
