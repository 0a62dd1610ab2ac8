"""The demo: the trained stories segmentation effect on a real photo, on this machine and on 64-bit ARM.

Writes input.png, mask.png, composite.png, report.html and results.json, and fails when a target disagrees
with PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx_ir as ir
import skimage
from rich.console import Console

from tiercast import Session, run_on_target, verify
from tiercast.cli.build import build_library
from tiercast.errors import TiercastError, VerifyError
from tiercast.frontend import reference
from tiercast.inputs import to_picture, write_picture
from tiercast.package.file import write_package
from tiercast.parity import VerifyReport
from tiercast.pipeline import Compilation, compile_plan
from tiercast.report import ReportContent, median_step_us, write_report
from tiercast.text import bytes_text

ROOT = Path(__file__).resolve().parent.parent
EFFECT = "stories_segmentation"
SOURCE = f"{ROOT / 'effects' / EFFECT / 'model.py'}:export"
ARM = "linux-arm64"
ARM_CPUS = ("cortex-a53", "cortex-a76")
SIZE = 256
FRAMES = 3  # the mask of each frame goes into the next; the photo stands still
TOLERANCE = 1e-4
TIMED_RUNS = 30

T = TypeVar("T")
Effect = Callable[[dict[str, np.ndarray]], np.ndarray]
console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Built:
    """One target's package and how it came about."""

    done: Compilation
    package: Path
    operators_before: dict[str, int]


def main() -> None:
    """Runs the whole demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "demo", help="folder to write into")
    options = parser.parse_args()
    try:
        demo(options.output)
    except TiercastError as error:
        console.print(f"[red]error:[/red] {error}", markup=True)
        sys.exit(1)


def demo(folder: Path) -> None:
    """Compiles, runs, compares, reports into `folder`; VerifyError when a target disagrees with PyTorch."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    frame = photo()
    host = stage("compile for this machine", lambda: build_package("host", folder))
    arm = stage(f"compile for {ARM}", lambda: build_package(ARM, folder))
    libraries = stage(f"build runtime and kernels for {ARM}", lambda: build_library(ARM)[1])

    eager = stage("PyTorch", lambda: recurrent(torch_effect(), frame))
    session = Session(host.package)
    on_host = stage("run here", lambda: recurrent(lambda inputs: only(session.run(inputs)), frame))
    on_arm = {
        cpu: stage(f"run on {ARM} ({cpu}, emulated)", partial(recurrent, arm_effect(arm.package, cpu), frame))
        for cpu in ARM_CPUS
    }
    inputs = {"frame": frame, "previous_mask": eager[-2]}
    places = [(host.package, None), *((arm.package, cpu) for cpu in ARM_CPUS)]
    parity = [
        stage(
            f"compare {cpu or 'this machine'} with PyTorch",
            partial(verify, SOURCE, package, inputs, cpu=cpu, tolerance=TOLERANCE),
        )
        for package, cpu in places
    ]
    step_us = median_step_us([session.run_timed(inputs)[1] for _ in range(TIMED_RUNS)])

    pictures = write_pictures(folder, frame, on_host[-1])
    drift = {name: drift_of(masks, eager) for name, masks in {"host": on_host, **on_arm}.items()}
    sizes = {
        "package for this machine": host.package.stat().st_size,
        f"package for {ARM}": arm.package.stat().st_size,
        f"{ARM} runtime, stripped": libraries["runtime_bytes"],
        f"{ARM} runtime with every kernel, stripped": libraries["full_bytes"],
    }
    write_report(
        folder / "report.html",
        ReportContent(host.done, host.package, host.operators_before, step_us, parity, sizes, pictures),
    )
    results = {
        "photo": "skimage.data.astronaut",
        "frames": FRAMES,
        "host_ms": sum(step_us) / 1e3,
        "person_share": float(np.mean(on_host[-1] > 0.5)),
        "recurrent_max_abs_error": drift,
        "parity": [verdict.as_dict() for verdict in parity],
        "sizes_bytes": sizes,
        "seconds": time.perf_counter() - started,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    show(folder, parity, drift, sizes, sum(step_us) / 1e3)
    check(parity, drift)


def photo() -> np.ndarray:
    """scikit-image's astronaut as the effect's `frame`, f32 [1, 3, 256, 256] in -1..1."""
    picture = skimage.transform.resize(skimage.data.astronaut(), (SIZE, SIZE), anti_aliasing=True)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None].astype(np.float32) * 2 - 1)


def build_package(target: str, folder: Path) -> Built:
    """Compiles the effect for a target into `folder`."""
    before: dict[str, int] = {}

    def watch(name: str, model: ir.Model) -> None:
        if name == "load":
            before.update(Counter(node.op_type for node in model.graph).most_common())

    done = compile_plan(SOURCE, target, watch=watch)
    done.plan.facts["model"] = EFFECT
    return Built(done, write_package(done.plan, folder / f"{EFFECT}.{target}.tcpkg"), before)


def recurrent(effect: Effect, frame: np.ndarray) -> list[np.ndarray]:
    """The masks of FRAMES equal frames, the first with an empty previous mask."""
    masks = [np.zeros((1, 1, SIZE, SIZE), np.float32)]
    for _ in range(FRAMES):
        masks.append(effect({"frame": frame, "previous_mask": masks[-1]}))
    return masks[1:]


def torch_effect() -> Effect:
    """The effect in eager PyTorch."""
    _, run = reference(SOURCE)
    return lambda inputs: run(inputs)[0]


def arm_effect(package: Path, cpu: str) -> Effect:
    """The effect in the ARM runtime under qemu."""
    return lambda inputs: only(run_on_target(package, inputs, ARM, cpu))


def only(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """The effect's one output, the mask."""
    (mask,) = outputs.values()
    return mask


def write_pictures(folder: Path, frame: np.ndarray, mask: np.ndarray) -> dict[str, Path]:
    """Input, mask, and the person before a blurred background."""
    picture = (frame + 1) / 2
    blurred = skimage.filters.gaussian(picture[0], sigma=9, channel_axis=0)[None].astype(np.float32)
    composite = picture * mask + blurred * (1 - mask)
    found = {"input": picture, "mask": mask, "composite": composite}
    for name, array in found.items():
        pixels = to_picture(array)
        assert pixels is not None
        write_picture(folder / f"{name}.png", pixels)
    return {name: folder / f"{name}.png" for name in found}


def drift_of(masks: list[np.ndarray], eager: list[np.ndarray]) -> float:
    """Largest difference of any frame's mask, each side fed with its own masks."""
    return max(float(np.max(np.abs(mine - theirs))) for mine, theirs in zip(masks, eager, strict=True))


def stage(title: str, work: Callable[[], T]) -> T:
    """Does the work under a spinner and says how long it took."""
    started = time.perf_counter()
    with console.status(title):
        result = work()
    console.print(f"[green]✓[/green] {title} [dim]{time.perf_counter() - started:.1f} s[/dim]")
    return result


def show(
    folder: Path, parity: list[VerifyReport], drift: dict[str, float], sizes: dict[str, int], host_ms: float
) -> None:
    """The result in a few lines."""
    for verdict in parity:
        place = verdict.target + (f" ({verdict.cpu})" if verdict.cpu else "")
        console.print(
            f"  {place}: max relative error {verdict.max_rel_error:.2e} against {verdict.reference}"
        )
    drifts = ", ".join(f"{name} {error:.2e}" for name, error in drift.items())
    console.print(f"  after {FRAMES} frames fed back: {drifts}")
    console.print(f"  one frame here, 1 thread: {host_ms:.2f} ms")
    console.print(f"  {', '.join(f'{name} {bytes_text(size)}' for name, size in sizes.items())}")
    console.print(
        f"wrote {folder}/report.html, input.png, mask.png, composite.png, results.json", markup=False
    )


def check(parity: list[VerifyReport], drift: dict[str, float]) -> None:
    """VerifyError naming the places that disagree."""
    wrong = [f"{verdict.target} {verdict.cpu or ''}".strip() for verdict in parity if not verdict.ok]
    wrong += [f"{name} after {FRAMES} frames" for name, error in drift.items() if not error <= TOLERANCE]
    if wrong:
        raise VerifyError(f"not within {TOLERANCE:g} of PyTorch: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
