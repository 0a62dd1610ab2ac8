"""Pre-render the training layers, people (RGBA, two frames) and scenes, in shards that the trainer maps.

    python effects/stories_segmentation/cache.py --out /tmp/stories_cache --count 5000 --fine 3000 --seed 0

Every sample has its own seed, so the cache does not depend on the order or the number of runs that made it.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import synth

SHARD = 500  # samples per file


def _halve(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def build(out: Path, count: int, fine: int, seed: int) -> None:
    """Write `count` samples at 128 pixels, the first `fine` of them at 256 too; shards that exist are kept.

    Files: `person_<size>_<shard>.npy` uint8 [500, 2, size, size, 4] premultiplied RGBA and
    `scene_<size>_<shard>.npy` uint8 [500, size, size, 3].
    """
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    for shard in range(-(-count // SHARD)):
        if (out / f"scene_128_{shard:03d}.npy").exists():
            continue
        pairs = [
            synth.layers(np.random.default_rng([seed, shard * SHARD + i]), "train") for i in range(SHARD)
        ]
        if shard * SHARD < fine:
            _write(out / f"person_256_{shard:03d}.npy", np.stack([person for person, _ in pairs]))
            _write(out / f"scene_256_{shard:03d}.npy", np.stack([scene for _, scene in pairs]))
        _write(
            out / f"person_128_{shard:03d}.npy",
            np.stack([[_halve(f) for f in person] for person, _ in pairs]),
        )
        _write(out / f"scene_128_{shard:03d}.npy", np.stack([_halve(scene) for _, scene in pairs]))
        print(f"shard {shard} written", flush=True)


def _write(path: Path, array: np.ndarray) -> None:
    partial = path.with_suffix(".partial.npy")
    np.save(partial, array)
    partial.rename(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--fine", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    build(args.out, args.count, args.fine, args.seed)
