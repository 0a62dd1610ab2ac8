"""Fake quantization of our scheme: activations of ranges that stay, weights by what they are, biases in s32
steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchao.quantization.pt2e import FakeQuantize, ObserverBase
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from tiercast.errors import UsageError
from tiercast.quantize import scheme
from tiercast.quantize.observe import BINS, Seen
from tiercast.quantize.ranges import range_of


class ActivationObserver(ObserverBase):  # type: ignore[misc]
    """What an activation was on calibration data, then the scale and zero point of its s8 form.

    It collects twice: first the range, then a histogram in it. name: the value's, for errors. fixed: a range
    that is known.
    """

    low: Tensor
    high: Tensor
    chosen_scale: Tensor
    chosen_zero: Tensor

    def __init__(self, name: str = "", fixed: tuple[float, float] | None = None, **options: Any) -> None:
        super().__init__(dtype=torch.int8)
        del options  # what a spec says: s8, one scale, -128..127, as here
        self.name, self.fixed = name, fixed
        self.qscheme, self.quant_min, self.quant_max = torch.per_tensor_affine, scheme.LOW, scheme.HIGH
        self.counts: np.ndarray | None = None
        for buffer, value in (("low", float("inf")), ("high", float("-inf")), ("chosen_scale", 1.0)):
            self.register_buffer(buffer, torch.tensor([value]))
        self.register_buffer("chosen_zero", torch.zeros(1, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Takes x in; returns it."""
        if self.fixed is None and x.numel():
            data = x.detach()
            if self.counts is None:
                low, high = torch.aminmax(data)
                self.low.copy_(torch.minimum(self.low, low))
                self.high.copy_(torch.maximum(self.high, high))
            elif bool(self.low < self.high):
                counts = torch.histc(data.float(), BINS, float(self.low), float(self.high))
                self.counts += counts.cpu().numpy().astype(np.int64)
        return x

    def reset(self) -> None:
        """Forgets what it has seen."""
        self.counts = None
        self.low.fill_(float("inf"))
        self.high.fill_(float("-inf"))

    def count(self) -> None:
        """From now on a histogram between the ends of the range is collected. UsageError when the range is
        none.
        """
        low, high = float(self.low), float(self.high)
        if self.fixed is None and not (np.isfinite(low) and np.isfinite(high)):
            what = "was never computed" if low > high else "becomes NaN or infinite"
            raise UsageError(
                f"value {self.name!r} {what} on the calibration data; is it the data that the model was "
                "trained on?"
            )
        self.counts = np.zeros(BINS, np.int64)

    def range(self, method: str) -> tuple[float, float]:
        """The fixed range, or what `ranges.range_of` makes of what was seen; 0 is in it."""
        if self.fixed is not None:
            return min(self.fixed[0], 0.0), max(self.fixed[1], 0.0)
        assert self.counts is not None
        seen = Seen(float(self.low), float(self.high), self.counts, np.zeros(0), np.zeros(0))
        return range_of(seen, method)

    def choose(self, low: float, high: float) -> None:
        """Decides scale and zero point; they stay from now on."""
        self.counts = None
        how = scheme.activation(low, high)
        self.chosen_scale.fill_(float(how.one_scale))
        self.chosen_zero.fill_(how.signed_zero)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale f32 [1] and zero point s32 [1]."""
        return self.chosen_scale, self.chosen_zero


class PerChannelWeightObserver(ObserverBase):  # type: ignore[misc]
    """Scales of a weight as it is now: each channel's largest magnitude over the levels, never below
    `floor` [C].

    name: the weight's, for readers. torchao tells a per-channel observer by its class's name.
    """

    scales: Tensor
    floor: Tensor

    def __init__(
        self, name: str = "", ch_axis: int = 0, quant_max: int = scheme.WEIGHT_HIGH, **options: Any
    ) -> None:
        super().__init__(dtype=torch.int8)
        del options
        self.name = name
        self.qscheme, self.ch_axis = torch.per_channel_symmetric, ch_axis
        self.quant_min, self.quant_max = -quant_max, quant_max
        self.register_buffer("scales", torch.ones(1))
        self.register_buffer("floor", torch.full((1,), float(scheme.SMALLEST_SCALE)))

    def forward(self, weight: Tensor) -> Tensor:
        """Takes the weight in; returns it."""
        others = [axis for axis in range(weight.dim()) if axis != self.ch_axis]
        largest = weight.detach().abs().amax(others)
        self.scales = torch.maximum(largest / self.quant_max, self.floor)
        return weight

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scales f32 [C] and zero points s32 [C], which are 0."""
        return self.scales, torch.zeros_like(self.scales, dtype=torch.int32)

    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        for name in ("scales", "floor"):  # of as many channels as there are
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *others)


class RoundedBias(nn.Module):
    """A bias in steps of the sums, x's scale times the weight's of the channel; gradients pass as they are.

    `largest`: the magnitudes f32 [C] that it last saw.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = False
        self.largest: Tensor | None = None

    def forward(self, bias: Tensor, x_scale: Tensor, weight_scale: Tensor) -> Tensor:
        """f32 [C], whole steps once it is enabled; halves to even."""
        self.largest = bias.detach().abs()
        if not self.enabled:
            return bias
        steps = x_scale * weight_scale
        return bias + (torch.round(bias.detach() / steps) * steps - bias.detach())

    def get_extra_state(self) -> bool:
        """Whether it is enabled, for state_dict."""
        return self.enabled

    def set_extra_state(self, state: bool) -> None:
        """As state_dict had it."""
        self.enabled = bool(state)


def activation_spec(name: str, fixed: tuple[float, float] | None) -> QuantizationSpec:
    """s8 with one scale and zero point."""
    fake = FakeQuantize.with_args(observer=ActivationObserver, name=name, fixed=fixed)
    return QuantizationSpec(torch.int8, fake, scheme.LOW, scheme.HIGH, torch.per_tensor_affine)


def weight_spec(name: str, axis: int, bits: int) -> QuantizationSpec:
    """s8 with a scale for each index of `axis`, of 2^bits - 1 levels around 0."""
    most = 2 ** (bits - 1) - 1
    fake = FakeQuantize.with_args(observer=PerChannelWeightObserver, name=name, ch_axis=axis)
    return QuantizationSpec(torch.int8, fake, -most, most, torch.per_channel_symmetric, ch_axis=axis)
