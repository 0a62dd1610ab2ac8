"""Stories segmentation in f32, quantized after training and trained for integers: python -m benchmarks.qat

Makes its training data (procedural, effects/stories_segmentation) in --work, trains for 8 and for 4 bits of
weights from the shipped f32 weights with the f32 net as teacher, and measures the IoU of the packages on
held-out clips: what the integers compute, each mask fed back as the next frame's previous mask. Prints a
table of Markdown.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import tiercast
import tiercast.quantize
from benchmarks.stories import as_function, effect
from tiercast.quantize.qat import Distillation, QATConfig, QATModel, Trainer, calibrate, convert, prepare_qat

SIZE = 256  # deployed, and measured
RATES = {8: 1e-4, 4: 5e-4}  # peak learning rates by bits of weights, chosen on validation clips (seed 100)
SHAPES = ((128, 8), (256, 4))  # (size, batch) of the training pictures, in turn
CALIBRATION = 16  # batches of 4 pictures of SIZE


def training_inputs(
    mixer: Any, net: torch.nn.Module, count: int, size: int
) -> tuple[dict[str, Tensor], Tensor]:
    """A batch of second frames and their masks [N, 1, S, S]; a third of the previous masks is empty, a
    third is the net's own for the first frame, a third is true but corrupted.
    """
    batch = mixer.batch(count, size)
    previous = torch.zeros_like(batch.masks[0])
    third = max(1, count // 3)
    with torch.no_grad():
        previous[:third] = net(batch.frames[0, :third], previous[:third])
    previous[third : 2 * third] = mixer.corrupt(batch.masks[0, third : 2 * third])
    return {"frame": batch.frames[1], "previous_mask": previous}, batch.masks[1]


def task_loss(mask: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy + soft dice, of masks that are probabilities; bounded where one is 0 or 1."""
    overlap = (mask * target).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 30) / (mask.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 30)
    return functional.binary_cross_entropy(mask * 0.998 + 0.001, target) + 0.5 * dice.mean()


def batches(mixer: Any, net: torch.nn.Module, steps: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Inputs and targets for training."""
    for step in range(steps):
        size, count = SHAPES[step % len(SHAPES)]
        yield training_inputs(mixer, net, count, size)


def train(prepared: QATModel, net: torch.nn.Module, mixer: Any, rate: float, steps: int) -> None:
    """Adam, cosine, the f32 net as teacher."""
    optimizer = torch.optim.Adam(prepared.parameters(), rate)
    trainer = Trainer(
        prepared,
        task_loss,
        optimizer,
        distillation=Distillation(net, weight=10.0),
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
        clip=1.0,
    )
    start, losses = time.process_time(), []
    for batch, target in batches(mixer, net, steps):
        losses.append(trainer.step(batch, target))
        if len(losses) % 25 == 0:
            spent = time.process_time() - start
            print(f"step {len(losses)}: loss {np.mean(losses[-25:]):.4f}, {spent:.0f} s CPU", flush=True)


def prepared_for(
    net: torch.nn.Module, example: dict[str, Tensor], bits: int, calibration: list[Any]
) -> QATModel:
    """The net, calibrated."""
    config = QATConfig(
        input_ranges={"frame": (-1.0, 1.0), "previous_mask": (0.0, 1.0)},
        output_ranges={"0": (0.0, 1.0)},
        weight_bits=bits,
    )
    prepared = prepare_qat(net, example, config)
    calibrate(prepared, calibration)
    return prepared


def after_training(net: torch.nn.Module, example: Any, calibration: list[Any], folder: Path) -> Path:
    """The package that `tiercast quantize` makes with the same data."""
    samples = [
        {name: tensor[at : at + 1].numpy() for name, tensor in batch.items()}
        for batch in calibration
        for at in range(len(batch["frame"]))
    ]
    tiercast.quantize.post_training((net, example), samples, folder / "ptq.onnx")
    return tiercast.compile(folder / "ptq.onnx", target="host", output=folder / "ptq.tcpkg")


def compiled(prepared: QATModel, example: dict[str, Tensor], path: Path) -> Path:
    """Its package for this machine."""
    return tiercast.compile((convert(prepared), example), target="host", output=path)


def trained_in_f32(
    net: torch.nn.Module, copy: torch.nn.Module, example: Any, mixer: Any, steps: int
) -> torch.nn.Module:
    """`copy` with what the same training, frozen batch norms and all, makes of its parameters in f32."""
    prepared = prepare_qat(net, example)
    prepared.calibrated.fill_(True)  # it computes in f32 until it is calibrated; the trainer shall take it so
    train(prepared, net, mixer, RATES[8], steps)
    made = {name.removeprefix("graph."): value for name, value in prepared.state_dict().items()}
    copy.load_state_dict({name: made.get(name, value) for name, value in copy.state_dict().items()})
    return copy


def main() -> None:
    """Trains, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench-qat"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--length", type=int, default=24)
    parser.add_argument("--bits", type=int, nargs="*", choices=sorted(RATES), default=[8, 4])
    parser.add_argument("--control", action="store_true", help="train in f32 alike too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    parts = effect()
    parts["cache"].build(args.work / "cache", 1000, 1000, 0)
    net, example = parts["model"].load(), parts["model"].example_inputs(SIZE)
    clips = parts["evaluate"].clip_set(parts["evaluate"].TEST_SEED, args.clips, args.length, SIZE)
    rows: dict[str, dict[str, float]] = {}

    def measure(name: str, path: Path) -> None:
        rows[name] = parts["evaluate"].score(as_function(path), clips) | {"bytes": path.stat().st_size}
        print(json.dumps({name: rows[name]}), flush=True)
        (args.work / "qat.json").write_text(json.dumps(rows, indent=2) + "\n")

    measure("f32", tiercast.compile((net, example), target="host", output=args.work / "f32.tcpkg"))

    def data() -> tuple[Any, list[Any]]:
        """The calibration set, and where the training data come from, the same for every row."""
        mixer = parts["mixing"].Mixer(args.work / "cache", np.random.default_rng([0, 7]))
        return mixer, [training_inputs(mixer, net, 4, SIZE)[0] for _ in range(CALIBRATION)]

    measure("PTQ", after_training(net, example, data()[1], args.work))
    for bits in args.bits:
        mixer, calibration = data()
        prepared = prepared_for(net, example, bits, calibration)
        measure(f"W{bits}A8, not trained", compiled(prepared, example, args.work / f"ptq{bits}.tcpkg"))
        train(prepared, net, mixer, RATES[bits], args.steps)
        torch.save(prepared.state_dict(), args.work / f"qat{bits}.pt")
        measure(f"W{bits}A8, QAT", compiled(prepared, example, args.work / f"qat{bits}.tcpkg"))
    if args.control:
        longer = trained_in_f32(net, parts["model"].load(), example, data()[0], args.steps)
        made = tiercast.compile((longer, example), target="host", output=args.work / "longer.tcpkg")
        measure("f32, trained on alike", made)
    print(table(rows))


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: IoU in points, its loss against f32, the worst clip, flicker."""
    base = rows["f32"]["iou"]
    lines = ["| | IoU | against f32 | worst clip | flicker | package |", "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {100 * row['iou']:.2f} | {100 * (row['iou'] - base):+.2f} "
            f"| {100 * row['worst_clip_iou']:.2f} | {row['flicker']:.4f} | {row['bytes']:,.0f} B |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
