"""Stories segmentation quantized without training, wholly and under contracts: python -m benchmarks.ptq

Calibrates on pictures of the effect's training generator and measures packages on held-out clips: IoU of what
the integers compute, each mask fed back as the next frame's previous mask, and the time of a run in turn with
the float package (one thread, process CPU time, minimum). Prints a table of Markdown; pages of evidence lie
in --work.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

import tiercast
from benchmarks.qat import SIZE
from benchmarks.stories import effect
from tiercast.progress import listening
from tiercast.quantize.contract import required
from tiercast.quantize.costs import measure_packages
from tiercast.quantize.evidence import write_evidence
from tiercast.quantize.ptq import METHODS

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
CALIBRATION = 32  # pictures
POINTS = (0.3, 0.1)  # of IoU that the contracts let go


def calibration() -> list[dict[str, np.ndarray]]:
    """Second frames of training clips, each with the first frame's mask; every third mask is empty."""
    from synth import make_clip  # the effect's

    found = []
    for seed in range(CALIBRATION):
        clip = make_clip(np.random.default_rng([7, seed]), "train", 2, SIZE)
        frame = clip.frames[1].transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        mask = clip.masks[0][None, None].astype(np.float32) / 255 * (seed % 3 > 0)
        found.append({"frame": frame, "previous_mask": mask})
    return found


def on_batches(run: Run) -> Callable[[Tensor, Tensor], Tensor]:
    """A model of one picture as a function of batches [N, C, S, S]."""

    def call(frame: Tensor, previous: Tensor) -> Tensor:
        masks = []
        for picture, mask in zip(frame, previous, strict=True):
            fed = {"frame": picture[None].numpy(), "previous_mask": mask[None].numpy()}
            masks.append(torch.from_numpy(np.array(run(fed)["mask"])))
        return torch.cat(masks)

    return call


def main() -> None:
    """Quantizes, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench-ptq"))
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--length", type=int, default=24)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    parts = effect()
    clips = parts["evaluate"].clip_set(parts["evaluate"].TEST_SEED, args.clips, args.length, SIZE)
    source = parts["model"].export()
    samples = calibration()
    f32 = tiercast.compile(source, output=args.work / "f32.tcpkg", check_import=False)
    rows: dict[str, dict[str, Any]] = {}

    def iou(run: Run) -> float:
        return float(parts["evaluate"].score(on_batches(run), clips)["iou"])

    def measure(name: str, package: Path, kept: list[str]) -> None:
        costs = measure_packages([f32, package], "host", seconds=3.0)
        rows[name] = {
            "iou": iou(tiercast.Session(package).run),
            "speedup": costs[0].total / costs[1].total,
            "ms": costs[1].total / 1e3,
            "size": package.stat().st_size / f32.stat().st_size,
            "f32_layers": kept,
        }
        print(json.dumps({name: rows[name]}), flush=True)
        (args.work / "ptq.json").write_text(json.dumps(rows, indent=2) + "\n")

    measure("f32", f32, [])
    for method in METHODS:
        done = tiercast.quantize.post_training(source, samples, method=method, check_import=False)
        package = tiercast.compile(done.model, output=args.work / f"{method}.tcpkg")
        measure(f"all s8, {method}", package, sorted(done.kept))
    for points in POINTS:
        contract = tiercast.quantize.under_contract(
            source, samples, max_drop=f"{points / 100:g}", metric=iou, check_import=False
        )
        write_evidence(args.work / f"partial{points}.html", contract, "stories_segmentation")
        best = required(contract)
        package = tiercast.compile(best.quantized.model, output=args.work / f"partial{points}.tcpkg")
        measure(f"at most {points} points lost", package, [layer.name for layer in contract.kept])
    print(table(rows))


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: IoU in points, its loss, speed and size against f32."""
    base = rows["f32"]["iou"]
    lines = ["| | IoU | against f32 | ms | faster | size | layers in f32 |", "|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {100 * row['iou']:.2f} | {100 * (row['iou'] - base):+.2f} | {row['ms']:.2f} "
            f"| {row['speedup']:.2f}x | {row['size']:.3f} | {len(row['f32_layers'])} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    with listening(lambda text: print(f"  {text}", file=sys.stderr, flush=True)):
        main()
