"""Weights in f16, 8 and 4 bits: bytes and errors of packages, IoU: python -m benchmarks.weights_only

The stories segmentation with its trained weights on held-out clips, each mask fed back as the next frame's
previous mask; reference models with seeded weights against their f32 packages. Prints tables of Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.models.zoo import build
from benchmarks.stories import as_function, effect
from tiercast.calibration import Batch
from tiercast.inputs import random_inputs
from tiercast.lower.calls import KEPT_WIDER
from tiercast.pipeline import compile_buckets, write_compilation
from tiercast.session import Session

PRECISIONS = ("f32", "f16-weights", "int8-weights", "int4-weights")
SIZE = 256


def main() -> None:
    """Compiles, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench-weights"))
    parser.add_argument("--models", nargs="*", default=["mobilenet_v2", "portrait_seg"])
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--length", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=5, help="random inputs for the errors")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    parts = effect() if args.clips else {}
    if args.clips:
        clips = parts["evaluate"].clip_set(parts["evaluate"].TEST_SEED, args.clips, args.length, SIZE)
        net, example = parts["model"].load(), parts["model"].example_inputs(SIZE)
        found["stories_segmentation"] = rows = measured(net, example, args.work / "stories", pictures(clips))
        for precision, row in rows.items():
            row |= parts["evaluate"].score(as_function(Path(row["package"])), clips)
            print(json.dumps({precision: row}), flush=True)
    for name in args.models:
        net, example = build(name)
        found[name] = measured(net, example, args.work / name, range(args.seeds))
    (args.work / "weights.json").write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


def pictures(clips: list[Any]) -> list[Batch]:
    """The last frame of each clip with the true mask of the frame before, as the stories net takes them."""
    return [
        {
            "frame": clip.frames[-1].transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1,
            "previous_mask": clip.masks[-2][None, None].astype(np.float32) / 255,
        }
        for clip in clips
    ]


def measured(
    net: torch.nn.Module, example: Any, stem: Path, given: list[Batch] | range
) -> dict[str, dict[str, Any]]:
    """For each precision the package's bytes and the errors of its outputs against the f32 package's: the
    largest, and in the 2-norm (the worst of the inputs and outputs). given: the inputs, or seeds of random
    ones.
    """
    rows: dict[str, dict[str, Any]] = {}
    expected: list[list[np.ndarray]] = []
    for precision in PRECISIONS:
        done = compile_buckets((net, example), "host", precision=precision)
        path = write_compilation(done, stem.with_suffix(f".{precision}.tcpkg"))
        wider = sum(name.startswith(KEPT_WIDER) for name in done[0].plan.facts)
        session, ports = Session(path, threads=1), done[0].plan.inputs
        batches = [random_inputs(ports, seed) for seed in given] if isinstance(given, range) else given
        got = [[np.array(item) for item in session.run(batch).values()] for batch in batches]
        expected = expected or got
        pairs = [
            pair for ours, right in zip(got, expected, strict=True) for pair in zip(ours, right, strict=True)
        ]
        rows[precision] = {
            "package": str(path),
            "bytes": path.stat().st_size,
            "kept_wider": wider,
            "max_error": max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs),
            "error": max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs),
        }
        print(json.dumps({stem.name: {precision: rows[precision]}}), flush=True)
    return rows


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Markdown."""
    lines = ["| model | weights | package | of f32 | kept wider | largest error | error (2-norm) | IoU |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, rows in found.items():
        for precision, row in rows.items():
            iou = f"{100 * row['iou']:.2f}" if "iou" in row else ""
            lines.append(
                f"| {name} | {precision} | {row['bytes']:,} B | {row['bytes'] / rows['f32']['bytes']:.3f} "
                f"| {row['kept_wider']} | {row['max_error']:.1e} | {row['error']:.1e} | {iou} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
