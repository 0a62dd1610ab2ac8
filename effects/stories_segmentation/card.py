"""Fill card.json and draw curve.png and astronaut.png from a finished training run; card.md quotes them.

python effects/stories_segmentation/card.py --run /tmp/stories_run --seed 0 --commit HASH
"""

import argparse
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from evaluate import TEST_SEED, clip_set, predict, previous_mask_iou, score
from model import WEIGHTS, StoriesSegmentation, load
from synth import make_clip
from synth.photos import photo

matplotlib.use("agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
# The astronaut's outline and (centre, radii) of the helmet she holds, in pixels of the 512 x 512 photo.
# fmt: off
OUTLINE = (
    (237, 16), (262, 20), (285, 38), (297, 65), (301, 90), (295, 115), (280, 132), (268, 138), (262, 150),
    (257, 170), (275, 183), (295, 210), (303, 235), (325, 246), (343, 268), (352, 290), (358, 318),
    (362, 348),
    (340, 354), (310, 378), (292, 405), (280, 440), (277, 511), (35, 511), (25, 470), (22, 440), (20, 390),
    (25, 350), (38, 320), (45, 290), (55, 262), (80, 235), (105, 213), (117, 190), (125, 170), (145, 152),
    (170, 148), (184, 149), (183, 135), (172, 118), (160, 105), (153, 85), (155, 62), (170, 48), (192, 34),
    (215, 20),
)
# fmt: on
HELMET = ((392, 440), (116, 97))


def generator_hash() -> str:
    """Return the SHA-256 of eight fixed clips: tells whether a machine draws the same data."""
    digest = hashlib.sha256()
    for seed in range(8):
        clip = make_clip(np.random.default_rng(seed), "train", length=2)
        digest.update(clip.frames.tobytes() + clip.masks.tobytes())
    return digest.hexdigest()


def processor() -> str:
    """Return the CPU's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def astronaut(net: StoriesSegmentation, size: int, frames: int = 5) -> tuple[np.ndarray, float]:
    """Return the net's work on a still photo that it never saw, shown `frames` times.

    First photo | mask | composite, uint8 [size, 3 size, 3] RGB; then the IoU with the hand-drawn OUTLINE;
    the helmet in her arm counts neither way.
    """
    image = cv2.resize(photo("astronaut.png"), (size, size), interpolation=cv2.INTER_AREA)
    frame = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    masks = predict(net, frame[None].expand(frames, -1, -1, -1, -1), recurrent=True)
    mask = masks[-1, 0, 0].numpy()
    truth, ignored = (np.zeros((512, 512), np.uint8) for _ in range(2))
    cv2.fillPoly(truth, [np.array(OUTLINE)], 1)
    cv2.ellipse(ignored, *HELMET, 0, 0, 360, 1, -1)
    found = cv2.resize(mask, (512, 512)) > 0.5
    counted = ignored == 0
    iou = (found & (truth > 0) & counted).sum() / ((found | (truth > 0)) & counted).sum()
    backdrop = np.linspace((250, 190, 120), (60, 90, 160), size)[:, None].repeat(size, 1)
    composite = image * mask[..., None] + backdrop * (1 - mask[..., None])
    strip = np.concatenate([image, np.repeat(mask[..., None] * 255, 3, 2), composite], 1)
    return strip.round().astype(np.uint8), float(iou)


def curve(log: list[dict[str, float]], path: Path) -> None:
    """Draw the loss and the validation IoU over the iterations."""
    figure, left = pyplot.subplots(figsize=(6, 3), dpi=90)
    left.plot([row["iteration"] for row in log], [row["loss"] for row in log], color="grey")
    left.set(xlabel="iteration", ylabel="training loss")
    checks = [row for row in log if "validation_iou" in row]
    right = left.twinx()
    right.plot([row["iteration"] for row in checks], [row["validation_iou"] for row in checks], "o-")
    right.set_ylabel("validation IoU")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure the shipped weights and write the card's files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--clips", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = load()
    log = [json.loads(line) for line in (args.run / "log.jsonl").read_text().splitlines()]
    metrics = {}
    for size in (128, 256):
        clips = clip_set(TEST_SEED, args.clips, 24, size)
        for name, recurrent in (("recurrent", True), ("always_empty", False)):
            metrics[f"{name}_{size}"] = {k: round(v, 4) for k, v in score(net, clips, recurrent).items()}
    trust = {name: round(value, 4) for name, value in previous_mask_iou(net, clips).items()}
    strip, photo_iou = astronaut(net, 256)
    card = {
        "seed": args.seed,
        "iterations": log[-1]["iteration"],
        "script": "effects/stories_segmentation/train.py",
        "commit": args.commit,
        "seconds": log[-1]["seconds"],
        "cpu": f"{processor()}, 1 thread",
        "versions": {
            name: version(name) for name in ("torch", "numpy", "opencv-python-headless", "scikit-image")
        },
        "generator_sha256": generator_hash(),
        "weights_sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "weights_bytes": WEIGHTS.stat().st_size,
        "parameters": sum(p.numel() for p in net.parameters()),
        "test": {"seed": TEST_SEED, "clips": args.clips, "frames_per_clip": 24, "metrics": metrics},
        "last_frame_iou_256_by_previous_mask": trust,
        "astronaut_iou": {"256": round(photo_iou, 4), "128": round(astronaut(net, 128)[1], 4)},
        "validation_curve": [
            {"iteration": row["iteration"], "iou": row["validation_iou"]}
            for row in log
            if "validation_iou" in row
        ],
    }
    (HERE / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    curve(log, HERE / "curve.png")
    small = cv2.resize(strip, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(HERE / "astronaut.png"), small[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
