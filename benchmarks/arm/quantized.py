"""AArch64 instructions of one inference in s8 over those in f32, both ours, under qemu.

`make bench-arm-int8` prints the kernels of both for each model and mode, then all ratios, and writes
`build/bench/arm_int8.json`. Modes: ARMv8.0, ARMv8.2 with dot products, ARMv8.6 with matrix products of bytes.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.models.export_onnx import REPOSITORY, onnx_path
from benchmarks.models.quantized import MODELS, quantized_path
from tiercast.counting import TARGET, StepCounts, count_package

OUTPUT = REPOSITORY / "build" / "bench" / "arm_int8.json"
TIMEOUT_S = 3600.0
SHOWN = 8  # kernels of each side


@dataclass(frozen=True)
class Mode:
    """Our target and qemu's CPU model; both sides run on the same."""

    target: str
    cpu: str
    most: float  # what the ratio should be at most


MODES = {
    "v8.0": Mode(TARGET, "cortex-a53", 0.75),
    "v8.2-dot": Mode("linux-arm64-v82", "cortex-a76", 0.4),
    "v8.6-i8mm": Mode("linux-arm64-v82", "max", 0.4),
}


@dataclass(frozen=True)
class Sum:
    """All steps of one kernel: how many, instructions, planned multiply-accumulates."""

    steps: int
    instructions: int
    macs: int


def count(path: Path, mode: Mode) -> list[StepCounts]:
    """Compiles and runs one model; its steps."""
    import tiercast

    with tempfile.TemporaryDirectory() as folder:
        package = tiercast.compile(path, target=mode.target, output=Path(folder) / "model.tcpkg")
        return count_package(Path(package), mode.cpu, TIMEOUT_S)[0]


def total(steps: Sequence[StepCounts]) -> int:
    """Instructions of all steps."""
    return sum(step.counted.instructions for step in steps)


def by_kernel(steps: Sequence[StepCounts]) -> dict[str, Sum]:
    """Kernel -> its steps together, most instructions first."""
    found: dict[str, list[StepCounts]] = defaultdict(list)
    for step in steps:
        found[step.kernel].append(step)
    sums = {name: Sum(len(of), total(of), sum(step.macs for step in of)) for name, of in found.items()}
    return dict(sorted(sums.items(), key=lambda item: -item[1].instructions))


def paired(real: Sequence[StepCounts], quantized: Sequence[StepCounts]) -> list[dict[str, Any]]:
    """Steps of one name on both sides, with their instructions and the ratio; fused ones have no partner."""
    partners = {step.name: step for step in real}
    return [
        {
            "name": step.name,
            "kernels": [partners[step.name].kernel, step.kernel],
            "instructions": [partners[step.name].counted.instructions, step.counted.instructions],
            "ratio": step.counted.instructions / max(1, partners[step.name].counted.instructions),
        }
        for step in quantized
        if step.name in partners
    ]


def kernels_table(title: str, sides: dict[str, dict[str, Sum]]) -> Table:
    """The kernels of both sides by what they cost."""
    made = Table("precision", "kernel", title=title)
    for column in ("steps", "M instructions", "M MACs", "instructions/MAC"):
        made.add_column(column, justify="right")
    for side, kernels in sides.items():
        for name, of in list(kernels.items())[:SHOWN]:
            per = f"{of.instructions / of.macs:.3f}" if of.macs else ""
            made.add_row(
                side, name, str(of.steps), f"{of.instructions / 1e6:.2f}", f"{of.macs / 1e6:.1f}", per
            )
    return made


def main(
    models: Annotated[str, typer.Option(help="comma-separated")] = ",".join(MODELS),
    modes: Annotated[str, typer.Option(help="comma-separated")] = ",".join(MODES),
    steps: Annotated[bool, typer.Option("--steps", help="print every step that both sides have")] = False,
) -> None:
    """Counts every model in every mode, in f32 and in s8."""
    console = Console(width=150, highlight=False)
    document: dict[str, Any] = {}
    ratios: dict[str, dict[str, float]] = defaultdict(dict)
    for name in modes.split(","):
        mode, document[name] = MODES[name], {}
        for model in models.split(","):
            console.print(f"{name}: {model}", style="dim")
            real, quantized = count(onnx_path(model), mode), count(quantized_path(model), mode)
            ratios[name][model] = total(quantized) / total(real)
            sides = {"f32": by_kernel(real), "s8": by_kernel(quantized)}
            pairs = paired(real, quantized)
            document[name][model] = {
                "f32": total(real), "s8": total(quantized), "ratio": ratios[name][model], "steps": pairs,
                "kernels": {side: {k: asdict(v) for k, v in of.items()} for side, of in sides.items()},
            }  # fmt: skip
            console.print(kernels_table(f"{model}, {name}: s8/f32 {ratios[name][model]:.3f}", sides))
            if steps:
                for pair in pairs:
                    console.print(f"  {pair['ratio']:6.2f}  {pair['name']}  {' -> '.join(pair['kernels'])}")
    summary = Table("mode", *models.split(","), "geometric mean", "asked", title="s8/f32 instructions")
    for name, of in ratios.items():
        mean = math.exp(sum(map(math.log, of.values())) / len(of))
        summary.add_row(
            name, *(f"{value:.3f}" for value in of.values()), f"{mean:.3f}", f"{MODES[name].most}"
        )
    console.print(summary)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    typer.run(main)
