"""Face networks at 112: landmarks (PFLD, Guo et al. 2019) and embedding (MobileFaceNet, Chen et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .entry import Entry
from .layers import InvertedResidual, conv_bn
from .pictures import one_picture


def _stage(
    inputs: int, outputs: int, stride: int, expand: int, repeats: int, act: type[nn.Module]
) -> nn.Sequential:
    first = InvertedResidual(inputs, outputs, stride, expand, act=act)
    rest = [InvertedResidual(outputs, outputs, 1, expand, act=act) for _ in range(repeats - 1)]
    return nn.Sequential(first, *rest)


class Landmark(nn.Module):
    """face 1x3x112x112 -> points 1x212 (106 x, y pairs)."""

    def __init__(self, points: int = 106) -> None:
        super().__init__()
        act = nn.ReLU
        self.stem = nn.Sequential(conv_bn(3, 64, 3, 2, act=act), conv_bn(64, 64, 3, groups=64, act=act))
        self.body = nn.Sequential(
            _stage(64, 64, 2, 2, 5, act), _stage(64, 128, 2, 2, 1, act), _stage(128, 128, 1, 4, 6, act),
            _stage(128, 16, 1, 2, 1, act),
        )  # fmt: skip
        self.down7 = conv_bn(16, 32, 3, 2, act=act)
        self.local = nn.Sequential(nn.Conv2d(32, 128, 4), nn.ReLU())
        self.points = nn.Linear(16 + 32 + 128, 2 * points)

    def forward(self, face: Tensor) -> Tensor:
        at14 = self.body(self.stem(face))
        at7 = self.down7(at14)
        pooled = [
            F.avg_pool2d(at14, 14).flatten(1),
            F.avg_pool2d(at7, 7).flatten(1),
            F.adaptive_avg_pool2d(self.local(at7), 1).flatten(1),
        ]
        return self.points(torch.cat(pooled, 1))


class FaceEmbed(nn.Module):
    """face 1x3x112x112 -> embedding 1x128, PReLU throughout, global depthwise convolution at the end."""

    def __init__(self, dimensions: int = 128) -> None:
        super().__init__()
        act = nn.PReLU
        self.body = nn.Sequential(
            conv_bn(3, 64, 3, 2, act=act), conv_bn(64, 64, 3, groups=64, act=act),
            _stage(64, 64, 2, 2, 5, act), _stage(64, 128, 2, 4, 1, act), _stage(128, 128, 1, 2, 6, act),
            _stage(128, 128, 2, 4, 1, act), _stage(128, 128, 1, 2, 2, act), conv_bn(128, 512, 1, act=act),
        )  # fmt: skip
        self.spread = nn.Sequential(nn.Conv2d(512, 512, 7, groups=512, bias=False), nn.BatchNorm2d(512))
        self.embed = nn.Sequential(nn.Conv2d(512, dimensions, 1, bias=False), nn.BatchNorm2d(dimensions))

    def forward(self, face: Tensor) -> Tensor:
        return self.embed(self.spread(self.body(face))).flatten(1)


MODELS = {
    "landmark": Entry(Landmark, one_picture("face", 1, 3, 112, 112), ("points",)),
    "face_embed": Entry(FaceEmbed, one_picture("face", 1, 3, 112, 112), ("embedding",)),
}
