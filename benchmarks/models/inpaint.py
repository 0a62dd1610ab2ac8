"""Two-stage inpainting with gated convolutions (Yu et al. 2019, DeepFill v2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .entry import Entry, Inputs
from .layers import upsample
from .pictures import blob_mask, camera_picture


class GatedConv(nn.Module):
    """ELU(feature) * sigmoid(gate), both halves from one convolution."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv2d(inputs, 2 * outputs, kernel, stride, padding, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        feature, gate = torch.chunk(self.conv(x), 2, 1)
        return F.elu(feature) * torch.sigmoid(gate)


class GatedNet(nn.Module):
    """Encoder to 1/4, dilated middle, nearest-upsampling decoder; N x inputs x H x W -> N x 3 x H x W."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        w1, w2, w4 = width, 2 * width, 4 * width
        self.encode = nn.Sequential(
            GatedConv(inputs, w1, 5), GatedConv(w1, w2, 3, 2), GatedConv(w2, w2), GatedConv(w2, w4, 3, 2),
            GatedConv(w4, w4),
        )  # fmt: skip
        self.middle = nn.Sequential(
            *[GatedConv(w4, w4, dilation=d) for d in (2, 4, 8, 16)], GatedConv(w4, w4)
        )
        self.decode2 = nn.Sequential(GatedConv(w4, w2), GatedConv(w2, w2))
        self.decode1 = nn.Sequential(GatedConv(w2, w1), GatedConv(w1, w1 // 2))
        self.picture = nn.Conv2d(w1 // 2, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.encode(x))
        x = self.decode2(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.decode1(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return torch.tanh(self.picture(x))


class Inpaint(nn.Module):
    """Coarse at 128, refined at 256: image 1x3x256x256, mask and edge 1x1x256x256 -> picture 1x3x256x256."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.coarse, self.refine = GatedNet(5, width), GatedNet(5, width)

    def forward(self, image: Tensor, mask: Tensor, edge: Tensor) -> Tensor:
        known = image * (1 - mask)
        small = F.interpolate(
            torch.cat([known, mask, edge], 1), scale_factor=0.5, mode="bilinear", align_corners=False
        )
        guess = upsample(self.coarse(small), 2)
        refined = self.refine(torch.cat([known + guess * mask, mask, edge], 1))
        return known + refined * mask


def _hole(generator: Generator) -> Inputs:
    return {
        "image": camera_picture((1, 3, 256, 256), generator),
        "mask": blob_mask(256, generator),
        "edge": blob_mask(256, generator) * 0.5,
    }


MODELS = {"inpaint": Entry(Inpaint, _hole, ("picture",))}
