"""Portrait segmentation: MobileNetV2-like backbone, ASPP, and attention over three scales of prediction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .entry import Entry
from .layers import DepthwiseSeparable, InvertedResidual, conv_bn, upsample
from .pictures import one_picture


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017) with separable branches and a global-pool branch."""

    def __init__(self, channels: int, rates: tuple[int, ...] = (2, 4, 6)) -> None:
        super().__init__()
        self.point = conv_bn(channels, channels, 1)
        self.atrous = nn.ModuleList(DepthwiseSeparable(channels, channels, dilation=rate) for rate in rates)
        self.pooled = conv_bn(channels, channels, 1)
        self.project = conv_bn(channels * (2 + len(rates)), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(F.adaptive_avg_pool2d(x, 1))
        spread = F.interpolate(pooled, size=(x.shape[2], x.shape[3]), mode="nearest")
        branches = [self.point(x), *[branch(x) for branch in self.atrous], spread]
        return self.project(torch.cat(branches, 1))


class PortraitSeg(nn.Module):
    """image 1x3x256x256 -> probabilities 1x2x256x256 (background, person)."""

    # expand, outputs, repeats, first stride, dilation
    STAGES = ((1, 16, 1, 1, 1), (6, 24, 2, 2, 1), (6, 32, 3, 2, 1), (6, 64, 4, 2, 1), (6, 96, 2, 1, 2))

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 24, 3, 2)
        width, stages = 24, []
        for expand, outputs, repeats, stride, dilation in self.STAGES:
            blocks = []
            for index in range(repeats):
                blocks.append(
                    InvertedResidual(width, outputs, stride if index == 0 else 1, expand, dilation=dilation)
                )
                width = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.aspp = Aspp(96)
        self.skip4, self.skip8 = conv_bn(24, 24, 1), conv_bn(32, 32, 1)
        self.decode8 = DepthwiseSeparable(96 + 32, 64, 5)
        self.decode4 = DepthwiseSeparable(64 + 24, 32, 5)
        self.predict = nn.ModuleList([nn.Conv2d(96, 2, 1), nn.Conv2d(64, 2, 1), nn.Conv2d(32, 2, 1)])
        self.attend = nn.Sequential(conv_bn(96 + 64 + 32, 32, 3), nn.Conv2d(32, 3, 1))

    def forward(self, image: Tensor) -> Tensor:
        at4 = self.stages[1](self.stages[0](self.stem(image)))
        at8 = self.stages[2](at4)
        at16 = self.aspp(self.stages[4](self.stages[3](at8)))
        d8 = self.decode8(torch.cat([upsample(at16, 2), self.skip8(at8)], 1))
        d4 = self.decode4(torch.cat([upsample(d8, 2), self.skip4(at4)], 1))
        scales = torch.cat([upsample(at16, 4), upsample(d8, 2), d4], 1)
        weight = torch.softmax(self.attend(scales), 1)
        logits = (
            upsample(self.predict[0](at16), 4) * weight[:, 0:1]
            + upsample(self.predict[1](d8), 2) * weight[:, 1:2]
            + self.predict[2](d4) * weight[:, 2:3]
        )
        return torch.softmax(upsample(logits, 4), 1)


MODELS = {"portrait_seg": Entry(PortraitSeg, one_picture("image", 1, 3, 256, 256), ("probabilities",))}
