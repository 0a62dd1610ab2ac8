"""Picture to cartoon: AnimeGAN-like generator, instance norm, inverted residuals, bilinear upsampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .entry import Entry
from .layers import RESIDUAL_GAIN, upsample
from .pictures import one_picture


class ConvInstanceNorm(nn.Module):
    """Convolution -> instance norm -> leaky ReLU 0.2."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.InstanceNorm2d(outputs, affine=True)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.leaky_relu(x, 0.2) if self.act else x


class CartoonBlock(nn.Module):
    """Inverted residual (expand 2) with instance norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = 2 * inputs
        self.residual = inputs == outputs
        project = ConvInstanceNorm(hidden, outputs, 1, act=False)
        if self.residual:
            project.norm.seed_gain = RESIDUAL_GAIN
        self.body = nn.Sequential(
            ConvInstanceNorm(inputs, hidden, 1), ConvInstanceNorm(hidden, hidden, 3, groups=hidden), project
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class Cartoon(nn.Module):
    """image 1x3x256x256 -> picture 1x3x256x256."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w1, w2, w4, w8 = width, 2 * width, 4 * width, 8 * width
        conv = ConvInstanceNorm
        self.encode = nn.Sequential(
            conv(3, w1, 7), conv(w1, w2, 3, 2), conv(w2, w2), conv(w2, w4, 3, 2), conv(w4, w4)
        )
        self.middle = nn.Sequential(
            conv(w4, w4), CartoonBlock(w4, w8), *[CartoonBlock(w8, w8) for _ in range(4)], conv(w8, w4)
        )
        self.decode2 = nn.Sequential(conv(w4, w4), conv(w4, w2))
        self.decode1 = nn.Sequential(conv(w2, w2), conv(w2, w1), conv(w1, w1, 7))
        self.picture = nn.Conv2d(w1, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.middle(self.encode(image))
        x = self.decode2(upsample(x, 2))
        x = self.decode1(upsample(x, 2))
        return torch.tanh(self.picture(x))


MODELS = {"cartoon": Entry(Cartoon, one_picture("image", 1, 3, 256, 256), ("picture",))}
