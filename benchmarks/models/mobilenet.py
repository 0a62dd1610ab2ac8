"""MobileNetV2 (Sandler et al. 2018) and MobileNetV3-Small (Howard et al. 2019), 1000 classes at 224."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .entry import Entry
from .layers import RESIDUAL_GAIN, InvertedResidual, conv_bn
from .pictures import one_picture


class MobileNetV2(nn.Module):
    """image 1x3x224x224 -> logits 1x1000."""

    # expand, outputs, repeats, first stride
    STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv_bn(3, 32, 3, 2)]
        width = 32
        for expand, outputs, repeats, stride in self.STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(width, outputs, stride if index == 0 else 1, expand))
                width = outputs
        self.features = nn.Sequential(*blocks, conv_bn(width, 1280, 1))
        self.classifier = nn.Linear(1280, classes)

    def forward(self, image: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.features(image), 1).flatten(1)
        return self.classifier(pooled)


class SqueezeExcite(nn.Module):
    """Channel attention: global pool -> 1x1 -> ReLU -> 1x1 -> hard sigmoid -> scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))


class V3Block(nn.Module):
    """Inverted residual with optional squeeze-excite."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        kernel: int,
        stride: int,
        excite: bool,
        act: type[nn.Module],
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        head = [conv_bn(inputs, hidden, 1, act=act)] if hidden != inputs else []
        self.body = nn.Sequential(
            *head,
            conv_bn(hidden, hidden, kernel, stride, groups=hidden, act=act),
            *([SqueezeExcite(hidden)] if excite else []),
            conv_bn(hidden, outputs, 1, act=None, gain=RESIDUAL_GAIN if self.residual else 1.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class MobileNetV3Small(nn.Module):
    """image 1x3x224x224 -> logits 1x1000."""

    # inputs, hidden, outputs, kernel, stride, squeeze-excite, hard swish (else ReLU)
    BLOCKS = (
        (16, 16, 16, 3, 2, True, False), (16, 72, 24, 3, 2, False, False), (24, 88, 24, 3, 1, False, False),
        (24, 96, 40, 5, 2, True, True), (40, 240, 40, 5, 1, True, True), (40, 240, 40, 5, 1, True, True),
        (40, 120, 48, 5, 1, True, True), (48, 144, 48, 5, 1, True, True), (48, 288, 96, 5, 2, True, True),
        (96, 576, 96, 5, 1, True, True), (96, 576, 96, 5, 1, True, True),
    )  # fmt: skip

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(3, 16, 3, 2, act=nn.Hardswish),
            *[V3Block(*row[:6], nn.Hardswish if row[6] else nn.ReLU) for row in self.BLOCKS],
            conv_bn(96, 576, 1, act=nn.Hardswish),
        )
        self.hidden, self.classifier = nn.Linear(576, 1024), nn.Linear(1024, classes)

    def forward(self, image: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.features(image), 1).flatten(1)
        return self.classifier(F.hardswish(self.hidden(pooled)))


MODELS = {
    "mobilenet_v2": Entry(MobileNetV2, one_picture("image", 1, 3, 224, 224), ("logits",)),
    "mobilenet_v3_small": Entry(MobileNetV3Small, one_picture("image", 1, 3, 224, 224), ("logits",)),
}
