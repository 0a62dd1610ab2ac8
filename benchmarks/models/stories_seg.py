"""Person segmentation for stories: the previous mask is fed back as a fourth channel.

After "Mobile Real-time Video Segmentation" (Bazarevsky, Tkachenka 2018): big-stride stem, ResNet bottlenecks
that squeeze hard, U-Net skips, and a DenseNet refinement at full resolution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .entry import Entry, Inputs
from .layers import RESIDUAL_GAIN, conv_bn, upsample
from .pictures import blob_mask, camera_picture


class SqueezeBottleneck(nn.Module):
    """Residual bottleneck that squeezes its channels by 16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(4, channels // 16)
        self.body = nn.Sequential(
            conv_bn(channels, squeezed, 1, act=nn.ReLU),
            conv_bn(squeezed, squeezed, 3, act=nn.ReLU),
            conv_bn(squeezed, channels, 1, act=None, gain=RESIDUAL_GAIN),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class DenseRefinement(nn.Module):
    """Densely connected 3x3 layers at full resolution, then a sigmoid mask."""

    def __init__(self, channels: int, growth: int = 8, depth: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            conv_bn(channels + index * growth, growth, 3, act=nn.ReLU) for index in range(depth)
        )
        self.mask = nn.Conv2d(channels + depth * growth, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return torch.sigmoid(self.mask(x))


class StoriesSeg(nn.Module):
    """frame 1x4xSxS (RGB + previous mask) -> mask 1x1xSxS."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(4, 32, 7, 4, act=nn.ReLU)
        self.stage4 = nn.Sequential(
            conv_bn(32, 64, 3, act=nn.ReLU), SqueezeBottleneck(64), SqueezeBottleneck(64)
        )
        self.down16 = conv_bn(64, 128, 5, 4, act=nn.ReLU)
        self.stage16 = nn.Sequential(*[SqueezeBottleneck(128) for _ in range(4)])
        self.down32 = conv_bn(128, 256, 3, 2, act=nn.ReLU)
        self.stage32 = nn.Sequential(*[SqueezeBottleneck(256) for _ in range(6)])
        self.up16, self.skip16 = conv_bn(256, 64, 1, act=nn.ReLU), conv_bn(128, 64, 1, act=nn.ReLU)
        self.merge16 = SqueezeBottleneck(64)
        self.up4, self.skip4 = conv_bn(64, 32, 1, act=nn.ReLU), conv_bn(64, 32, 1, act=nn.ReLU)
        self.merge4 = SqueezeBottleneck(64)
        self.up1 = conv_bn(64, 8, 1, act=nn.ReLU)
        self.refine = DenseRefinement(8 + 4)

    def forward(self, frame: Tensor) -> Tensor:
        at4 = self.stage4(self.stem(frame))
        at16 = self.stage16(self.down16(at4))
        at32 = self.stage32(self.down32(at16))
        x = self.merge16(upsample(self.up16(at32), 2) + self.skip16(at16))
        x = self.merge4(torch.cat([upsample(self.up4(x), 4), self.skip4(at4)], 1))
        x = upsample(self.up1(x), 4)
        return self.refine(torch.cat([x, frame], 1))


def _frame(size: int) -> Callable[[Generator], Inputs]:
    def draw(generator: Generator) -> Inputs:
        picture = camera_picture((1, 3, size, size), generator)
        return {"frame": torch.cat([picture, blob_mask(size, generator)], 1)}

    return draw


MODELS = {
    "stories_seg_256": Entry(StoriesSeg, _frame(256), ("mask",)),
    "stories_seg_512": Entry(StoriesSeg, _frame(512), ("mask",)),
}
