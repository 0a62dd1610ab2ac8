"""Train stories segmentation from nothing but the procedural data; deterministic from --seed on one machine.

    python effects/stories_segmentation/cache.py --out /tmp/stories_cache
    python effects/stories_segmentation/train.py --seed 0 --cache /tmp/stories_cache --out /tmp/stories_run

Writes to --out: log.jsonl, checkpoint.pt (a rerun goes on from it), best.safetensors (fp16).
"""

import argparse
import json
import math
import pickle
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from evaluate import clip_set, score
from mixing import Batch, Mixer
from model import StoriesSegmentation
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

# (share of the iterations, [(size, batch), ...] in turn): small pictures first, they cost a fifth
STAGES = ((0.44, [(64, 32)]), (0.16, [(128, 24)]), (0.40, [(128, 20), (256, 6)]))
EMPTY_UNTIL, OWN_FROM = 0.5, 0.66  # before: no previous mask at all; after: the net's own previous output
PEAK_RATE, EMA_DECAY, SAVE_EVERY, VALIDATE_EVERY = 4e-3, 0.998, 250, 1000


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropy + soft dice of [N, 1, S, S] logits against mattes in 0..1."""
    logits = logits.float()
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 30) / (probability.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 30)
    return F.binary_cross_entropy_with_logits(logits, target) + 0.5 * dice.mean()


def forward(net: StoriesSegmentation, frame: Tensor, previous: Tensor) -> Tensor:
    """Return logits, computed in bf16 and channels_last (1.8x faster on CPU)."""
    frame, previous = (t.bfloat16().contiguous(memory_format=torch.channels_last) for t in (frame, previous))
    with torch.autocast("cpu", torch.bfloat16):
        return net.logits(frame, previous)


def previous_masks(net: StoriesSegmentation, mixer: Mixer, batch: Batch, progress: float) -> Tensor:
    """Return what the net gets as previous mask for the second frame, [N, 1, S, S].

    First always empty (it must learn people before it can copy masks), then more and more true but corrupted
    masks; in the last third half of them are the net's own output for the first frame.
    """
    count = batch.masks.shape[1]
    previous = torch.zeros_like(batch.masks[0])
    if progress < EMPTY_UNTIL:
        return previous
    filled = round(count * min(0.65, 2 * (progress - EMPTY_UNTIL) + 0.2))
    previous[:filled] = mixer.corrupt(batch.masks[0, :filled])
    if progress >= OWN_FROM:
        own = round(0.5 * count)
        with torch.no_grad():
            first = torch.zeros_like(previous[:own])
            first[: own // 3] = mixer.corrupt(batch.masks[0, : own // 3])
            previous[:own] = torch.sigmoid(forward(net, batch.frames[0, :own], first).float())
    return previous


def stage_of(progress: float, iteration: int) -> tuple[int, int]:
    """Return (size, batch) for this iteration."""
    edge = 0.0
    for share, shapes in STAGES[:-1]:
        edge += share
        if progress < edge:
            return shapes[iteration % len(shapes)]
    last = STAGES[-1][1]
    return last[iteration % len(last)]


def export(net: StoriesSegmentation, path: Path) -> None:
    """Write the weights as fp16 safetensors."""
    state = {
        name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    save_file({name: value.half().contiguous() for name, value in state.items()}, str(path))


class Run:
    """The state of one training run: net, running average, optimiser, random generators, best score."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.out, self.total = args.out, args.iterations
        self.mixer = Mixer(args.cache, np.random.default_rng([args.seed, 1]))
        self.net = StoriesSegmentation().to(memory_format=torch.channels_last)
        self.average = StoriesSegmentation().eval().requires_grad_(False)
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), PEAK_RATE, weight_decay=1e-4)
        self.iteration, self.best, self.seconds = 0, 0.0, 0.0
        self.out.mkdir(parents=True, exist_ok=True)
        if (self.out / "checkpoint.pt").exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", weights_only=False)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.mixer.rng = pickle.loads(state["rng"])
        self.iteration, self.best, self.seconds = state["iteration"], state["best"], state["seconds"]

    def save(self) -> None:
        """Write checkpoint.pt, whole or not at all."""
        partial = self.out / "checkpoint.partial"
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "rng": pickle.dumps(self.mixer.rng),
                "iteration": self.iteration,
                "best": self.best,
                "seconds": self.seconds,
            },
            partial,
        )
        partial.rename(self.out / "checkpoint.pt")

    def step(self) -> float:
        """Do one iteration; return its loss."""
        progress = self.iteration / self.total
        size, count = stage_of(progress, self.iteration)
        rate = (
            PEAK_RATE * min(1.0, (self.iteration + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * progress))
            + 1e-5
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = self.mixer.batch(count, size, first=progress >= EMPTY_UNTIL)
        previous = previous_masks(self.net, self.mixer, batch, progress)
        loss = loss_of(forward(self.net, batch.frames[1], previous), batch.masks[1])
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        keep = min(EMA_DECAY, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            for mean, now in zip(
                self.average.state_dict().values(), self.net.state_dict().values(), strict=True
            ):
                mean.copy_(now) if not mean.is_floating_point() else mean.lerp_(now, 1 - keep)
        self.iteration += 1
        return float(loss.detach())


def train(args: argparse.Namespace) -> None:
    """Run (or go on with) the training that `args` describes."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.set_flush_denormal(True)
    run = Run(args)
    validation = clip_set(seed=100, count=32, length=8, size=128)
    losses: list[float] = []
    start = time.perf_counter() - run.seconds
    while run.iteration < run.total:
        losses.append(run.step())
        run.seconds = time.perf_counter() - start
        if run.iteration % SAVE_EVERY and run.iteration != run.total:
            continue
        row = {
            "iteration": run.iteration,
            "seconds": round(run.seconds),
            "loss": round(float(np.mean(losses)), 4),
        }
        losses.clear()
        if run.iteration % VALIDATE_EVERY == 0 or run.iteration == run.total:
            result = score(run.average, validation, recurrent=run.iteration > EMPTY_UNTIL * run.total)
            row |= {
                "validation_iou": round(result["iou"], 4),
                "validation_first": round(result["first_frame_iou"], 4),
            }
            if result["iou"] > run.best:
                run.best = result["iou"]
                export(run.average, run.out / "best.safetensors")
        run.save()
        with (run.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())
