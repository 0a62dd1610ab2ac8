"""Measure stories segmentation on held-out clips: textures, photographs and seeds that training never saw.

python effects/stories_segmentation/evaluate.py --clips 40 --size 128 [--weights FILE] [--json FILE]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from model import StoriesSegmentation, load
from synth import Clip, make_clip
from torch import Tensor

TEST_SEED = 200  # training looked at seed 100 (validation) to keep its best checkpoint, never at this one


def clip_set(seed: int, count: int, length: int, size: int) -> list[Clip]:
    """Return `count` held-out clips of `length` frames at `size` pixels."""
    return [make_clip(np.random.default_rng([seed, i]), "heldout", length, size) for i in range(count)]


def frames_of(clip: Clip) -> Tensor:
    """Return the frames as the net wants them, f32 [T, 3, S, S] in -1..1."""
    return torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def predict(net: StoriesSegmentation, frames: Tensor, recurrent: bool) -> Tensor:
    """Return masks f32 [T, N, 1, S, S] for frames [T, N, 3, S, S]; the first previous mask is empty.

    `recurrent=False` feeds an empty previous mask all the time: what the net knows from one picture.
    """
    empty = torch.zeros_like(frames[0, :, :1])
    masks: list[Tensor] = []
    for frame in frames:
        masks.append(net(frame, masks[-1] if recurrent and masks else empty))
    return torch.stack(masks)


def _iou(found: Tensor, truth: Tensor) -> Tensor:
    """Return IoU per picture of boolean [..., S, S]; 1 where both are empty."""
    both = (found & truth).sum((-1, -2)).double()
    either = (found | truth).sum((-1, -2)).double()
    return torch.where(either == 0, torch.ones_like(either), both / either.clamp(min=1))


def score(net: StoriesSegmentation, clips: list[Clip], recurrent: bool = True) -> dict[str, float]:
    """Return the metrics of the card, over all frames of all clips (masks cut at 0.5).

    iou, median_iou, worst_clip_iou; iou_person (only frames with a person); first_frame_iou (the same);
    flicker = |err_t xor err_t-1| / |G|; dtssd = 100 x RMS of (dP - dG), after Erofeev et al. 2015.
    """
    truth = torch.stack([torch.from_numpy(clip.masks) for clip in clips], 1).float() / 255
    masks = predict(net, torch.stack([frames_of(clip) for clip in clips], 1), recurrent)[:, :, 0]
    found, real = masks > 0.5, truth > 0.5
    iou = _iou(found, real)  # [T, N]
    present = real.any(-1).any(-1)
    wrong = found ^ real
    flips = (wrong[1:] ^ wrong[:-1]).sum((-1, -2)).double()
    area = real[1:].sum((-1, -2)).double()
    change = (masks[1:] - masks[:-1]) - (truth[1:] - truth[:-1])
    return {
        "iou": float(iou.mean()),
        "median_iou": float(iou.median()),
        "worst_clip_iou": float(iou.mean(0).min()),
        "iou_person": float(iou[present].mean()),
        "first_frame_iou": float(iou[0][present[0]].mean()),
        "flicker": float((flips / area.clamp(min=1))[area > 0].mean()),
        "dtssd": float(100 * change.square().mean((0, 2, 3)).sqrt().mean()),
    }


@torch.no_grad()
def previous_mask_iou(net: StoriesSegmentation, clips: list[Clip]) -> dict[str, float]:
    """Return the IoU of the last frames, given the true, an empty, a full or another clip's previous mask."""
    frames = torch.stack([frames_of(clip)[-1] for clip in clips])
    truth = torch.stack([torch.from_numpy(clip.masks[-1]) for clip in clips])[:, None].float() / 255
    given = {"true": truth, "empty": truth * 0, "full": truth * 0 + 1, "of_another_clip": truth.roll(1, 0)}
    return {name: float(_iou(net(frames, mask) > 0.5, truth > 0.5).mean()) for name, mask in given.items()}


def main() -> None:
    """Print (and write) the metrics with and without recurrence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--length", type=int, default=24)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = load(args.weights)
    clips = clip_set(TEST_SEED, args.clips, args.length, args.size)
    result = {
        name: score(net, clips, recurrent)
        for name, recurrent in (("recurrent", True), ("always_empty", False))
    }
    text = json.dumps({"size": args.size, "clips": args.clips, "length": args.length} | result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
