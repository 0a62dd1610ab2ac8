"""Layers that several of the nets have."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Any = nn.ReLU
) -> nn.Sequential:
    """Convolution with "same" padding, batch norm and activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act is not None else []))


class Inverted(nn.Module):
    """MobileNetV2's block: 1x1 up, depthwise, 1x1 down."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, expand: int = 2, act: Any = nn.ReLU
    ) -> None:
        super().__init__()
        inner = inputs * expand
        self.body = nn.Sequential(
            conv(inputs, inner, 1, act=act),
            conv(inner, inner, 3, stride, inner, act=act),
            conv(inner, outputs, 1, act=None),
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N,C,H,W] -> [N,outputs,H/stride,W/stride]."""
        y: torch.Tensor = self.body(x)
        return x + y if self.same else y


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N,C,H,W] scaled by channel."""
        scaled: torch.Tensor = x * self.body(x)
        return scaled


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """image [N,C,H,W] sampled where flow [N,2,H,W], in pixels, points to."""
    height, width = image.shape[2:]
    rows = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(image.shape[0], -1, -1, width)
    columns = torch.linspace(-1, 1, width).view(1, 1, 1, width).expand(image.shape[0], -1, height, -1)
    scale = torch.cat([flow[:, :1] / ((width - 1) / 2), flow[:, 1:] / ((height - 1) / 2)], 1)
    grid = (torch.cat([columns, rows], 1) + scale).permute(0, 2, 3, 1)
    return nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=True)
