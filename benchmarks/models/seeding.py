"""Seeded weights that behave like trained ones: activations of unit scale, batch norm calibrated, no chaos.

A net of plain random weights amplifies f32 rounding a thousandfold, and then says nothing about an engine's
correctness. Here residual branches are small (`layers.RESIDUAL_GAIN`), norms are biased to the open side of
their activation, and gated convolutions, which have no norm, are scaled layer by layer (LSUV, Mishkin & Matas
2015).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from .entry import Entry
from .inpaint import GatedConv

SEED = 20260
NORM_BIAS = 0.3
CALIBRATION_DRAWS = 4
GATED_STD = 0.25
HEAD_GAIN = 0.5
SHARED_TAP = 0.5


def generator_for(label: str) -> Generator:
    """A generator that depends on nothing but `label`."""
    return Generator().manual_seed(SEED + zlib.crc32(label.encode()) % 100_000)


def seed_module(name: str, entry: Entry) -> nn.Module:
    """The model of `entry` with seeded, calibrated weights, in eval mode and without gradients."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(generator_for(name).initial_seed())
        module = entry.make()
        _draw_weights(module)
        _scale_gated(module, entry.inputs(generator_for(name + "/gates")))
        _calibrate_norms(module, entry, generator_for(name + "/calibration"))
    return module.eval().requires_grad_(False)


def _draw_weights(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            _smooth_taps(part.weight)
            if part.bias is not None:
                # a biased conv or linear layer here is a head or a gate: no norm follows to undo its scale
                part.weight.mul_(HEAD_GAIN)
                nn.init.normal_(part.bias, std=0.02)
        elif isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d):
            part.weight.uniform_(0.8, 1.2).mul_(getattr(part, "seed_gain", 1.0))
            part.bias.normal_(NORM_BIAS, 0.1)


def _smooth_taps(weight: Tensor) -> None:
    """Gives the taps of each spatial kernel a common part, as trained kernels have.

    Kernels of independent taps are high-pass: they carry rounding noise on and average the picture away.
    """
    if weight.dim() == 4 and weight.shape[2] * weight.shape[3] > 1:
        weight.add_(SHARED_TAP * weight.std() * weight.sum((2, 3), keepdim=True).sign())


def _scale_gated(module: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Gives every gated convolution, in forward order, an output of standard deviation `GATED_STD`."""

    def rescale(gated: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        for _ in range(3):
            gated.conv.weight.mul_((GATED_STD / gated.forward(*args).std()).clamp(0.3, 3.0))
        return gated.forward(*args)

    gates = [part for part in module.modules() if isinstance(part, GatedConv)]
    hooks = [gated.register_forward_hook(rescale) for gated in gates]
    if hooks:
        module.eval()(*inputs.values())
    for hook in hooks:
        hook.remove()


@contextmanager
def _cumulative_statistics(module: nn.Module) -> Iterator[list[nn.BatchNorm2d]]:
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    yield norms
    for norm in norms:
        norm.momentum = 0.1


def _calibrate_norms(module: nn.Module, entry: Entry, generator: Generator) -> None:
    """Sets the running statistics from a batch of draws, or draw by draw where the batch axis is time."""
    draws = [entry.inputs(generator) for _ in range(CALIBRATION_DRAWS)]
    batched = len(draws[0]) == 1 and next(iter(draws[0].values())).shape[0] == 1
    with _cumulative_statistics(module) as norms:
        if not norms:
            return
        module.train()
        if batched:
            module(*[torch.cat([draw[key] for draw in draws]) for key in draws[0]])
            return
        for draw in draws:
            module(*draw.values())
