"""Blocks that several reference models share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

RESIDUAL_GAIN = 0.25
"""Scale of the last norm of a residual branch: trained branches are small corrections, and a net of random
full-size ones is chaotic, so that f32 rounding alone would move its output by more than the parity bound."""


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    act: type[nn.Module] | None = nn.ReLU6,
    gain: float = 1.0,
) -> nn.Sequential:
    """Convolution ("same" padding) -> batch norm -> activation; `gain` scales the norm at seeding."""
    padding = dilation * (kernel - 1) // 2
    norm = nn.BatchNorm2d(outputs)
    norm.seed_gain = gain
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=False)
    tail = [] if act is None else [nn.PReLU(outputs) if act is nn.PReLU else act()]
    return nn.Sequential(conv, norm, *tail)


def upsample(x: Tensor, factor: int) -> Tensor:
    """Bilinear, half-pixel centres."""
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


class InvertedResidual(nn.Module):
    """Expand 1x1 -> depthwise -> project 1x1, added to its input where shapes allow (Sandler et al. 2018)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        expand: int,
        *,
        act: type[nn.Module] = nn.ReLU6,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        hidden = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        head = [conv_bn(inputs, hidden, 1, act=act)] if expand != 1 else []
        self.body = nn.Sequential(
            *head,
            conv_bn(hidden, hidden, 3, stride, groups=hidden, dilation=dilation, act=act),
            conv_bn(hidden, outputs, 1, act=None, gain=RESIDUAL_GAIN if self.residual else 1.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class DepthwiseSeparable(nn.Module):
    """Depthwise k x k then pointwise, each with norm and activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        dilation: int = 1,
        act: type[nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__()
        self.depthwise = conv_bn(inputs, inputs, kernel, groups=inputs, dilation=dilation, act=act)
        self.pointwise = conv_bn(inputs, outputs, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))
