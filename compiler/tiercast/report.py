"""One self-contained HTML page about a compilation: graph, plan, kernels, times, memory and parity."""

from __future__ import annotations

import base64
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiercast.errors import UsageError
from tiercast.lower.memory_map import Block, memory_map
from tiercast.lower.plan import Plan, Step
from tiercast.package.file import write_atomically
from tiercast.page import page_templates
from tiercast.parity import VerifyReport
from tiercast.pipeline import Compilation
from tiercast.text import bytes_text, shape_text

_MIME = {".png": "image/png", ".jpg": "image/jpeg"}
_DRAWING_WIDTH, _DRAWING_HEIGHT = 1000.0, 360.0
_NARROWEST_LABEL = 48.0


@dataclass(frozen=True)
class ReportContent:
    """What a report tells.

    operators_before: ONNX operator -> count of the imported graph.
    step_us: each step's time on this machine in microseconds; empty when the plan is for another target.
    parity: one verdict for each place the package ran on.
    sizes: name -> bytes of further files (libraries, packages).
    pictures: caption -> .png or .jpg file, embedded into the page.
    """

    compilation: Compilation
    package: Path
    operators_before: Mapping[str, int] = field(default_factory=dict)
    step_us: Sequence[float] = ()
    parity: Sequence[VerifyReport] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    pictures: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Rectangle:
    """A block of the arena as drawn: time runs right, memory up to down."""

    x: float
    y: float
    width: float
    height: float
    hue: int
    label: str
    title: str


def write_report(path: Path, content: ReportContent) -> Path:
    """Writes the page, whole or not at all.

    Raises PackageError when it can't be written, UsageError for a picture that can't be read.
    """
    return write_atomically(path, render_report(content).encode())


def render_report(content: ReportContent) -> str:
    """The page's HTML; it refers to nothing outside itself."""
    environment = page_templates(__file__)
    environment.filters.update(bytes=bytes_text, shape=lambda dims: "-" if dims is None else shape_text(dims))
    done, plan = content.compilation, content.compilation.plan
    blocks = memory_map(plan)
    return environment.get_template("report.html.j2").render(
        content=content,
        done=done,
        plan=plan,
        package_bytes=content.package.stat().st_size,
        macs=sum(step.macs for step in plan.steps),
        operators_after=dict(Counter(node.op_type for node in done.model.graph).most_common()),
        kernels=_kernels(plan, content.step_us),
        steps=[_step(plan, index, content.step_us) for index in range(len(plan.steps))],
        rectangles=_draw(blocks, plan),
        drawing=(_DRAWING_WIDTH, _DRAWING_HEIGHT),
        unshared_bytes=sum(block.size_bytes for block in blocks),
        pictures={caption: _embedded(file) for caption, file in content.pictures.items()},
    )


def _kernels(plan: Plan, step_us: Sequence[float]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for index, step in enumerate(plan.steps):
        row = rows.setdefault(step.kernel, {"kernel": step.kernel, "steps": 0, "macs": 0, "us": 0.0})
        row["steps"] += 1
        row["macs"] += step.macs
        row["us"] += step_us[index] if step_us else 0.0
    return sorted(rows.values(), key=lambda row: (-row["us"], -row["macs"]))


def _step(plan: Plan, index: int, step_us: Sequence[float]) -> dict[str, Any]:
    step: Step = plan.steps[index]
    time_us = step_us[index] if step_us else None
    return {
        "index": index,
        "name": step.name,
        "kernel": step.kernel,
        "inputs": [plan.tensors[item].dims if item >= 0 else None for item in step.inputs],
        "outputs": [plan.tensors[item].dims for item in step.outputs],
        "macs": step.macs,
        "us": time_us,
        "share": 100 * time_us / (sum(step_us) or 1) if time_us is not None else 0,
        "gflops": 2 * step.macs / time_us / 1e3 if time_us and step.macs else None,
        "refused": step.refused,
    }


def _draw(blocks: Sequence[Block], plan: Plan) -> list[Rectangle]:
    across = _DRAWING_WIDTH / max(len(plan.steps), 1)
    down = _DRAWING_HEIGHT / max(plan.arena_bytes, 1)
    return [
        Rectangle(
            x=block.first * across,
            y=block.offset_bytes * down,
            width=(block.last - block.first + 1) * across,
            height=block.size_bytes * down,
            hue=number * 47 % 360,
            label=_label(block, (block.last - block.first + 1) * across, block.size_bytes * down),
            title=(
                f"{block.name}: {bytes_text(block.size_bytes)} at {block.offset_bytes}, "
                f"steps {block.first} to {block.last}"
            ),
        )
        for number, block in enumerate(blocks)
    ]


def _label(block: Block, width: float, height: float) -> str:
    if width < _NARROWEST_LABEL or height < 12:
        return ""
    return block.name[: int(width / 6)]


def _embedded(path: Path) -> str:
    if path.suffix not in _MIME:
        raise UsageError(f"{path}: a report takes .png and .jpg pictures")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
    return f"data:{_MIME[path.suffix]};base64,{base64.b64encode(data).decode()}"


def median_step_us(runs: Sequence[Sequence[float]]) -> list[float]:
    """Each step's median over several runs' times."""
    return [statistics.median(times) for times in zip(*runs, strict=True)]
