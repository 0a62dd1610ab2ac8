"""Stories segmentation: which pixels of a video frame are people, steadied by the previous frame's mask.

A squeeze-bottleneck hourglass with U-Net skips, after Google's "Mobile Real-time Video Segmentation" (2018):
the previous mask is a fourth input channel, convolutions work in squeezed channels, a small head refines at
full size.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).parent / "weights" / "stories_segmentation.safetensors"


def _conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution + batch norm; `padding` keeps the size (before the stride)."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Squeeze(nn.Module):
    """Residual squeeze bottleneck: C -> C/ratio -> 3x3 -> C channels; keeps the shape [N, C, H, W]."""

    def __init__(self, channels: int, ratio: int, dilation: int = 1) -> None:
        super().__init__()
        inner = channels // ratio
        self.reduce = _conv(channels, inner)
        self.mix = _conv(inner, inner, 3, dilation=dilation)
        self.expand = _conv(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.mix(F.relu(self.reduce(x))))
        return F.relu(x + self.expand(inner))


class Down(nn.Module):
    """Halve the resolution: depthwise 3x3 stride 2, then 1x1 to the new width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = _conv(inputs, inputs, 3, 2, groups=inputs)
        self.pointwise = _conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.pointwise(self.depthwise(x)))


class Gate(nn.Module):
    """Scale every channel by what the whole picture says (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.expand(F.relu(self.reduce(pooled))))


class Up(nn.Module):
    """Double the resolution and add the skip of the same width: 1x1, bilinear x2, add, squeeze bottleneck."""

    def __init__(self, inputs: int, outputs: int, ratio: int) -> None:
        super().__init__()
        self.narrow = _conv(inputs, outputs)
        self.block = Squeeze(outputs, ratio)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.block(F.relu(_double(self.narrow(x)) + skip))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class StoriesSegmentation(nn.Module):
    """The net: `frame` and `previous_mask` in, `mask` out; H and W are multiples of 32.

    `frame` is f32 [N, 3, H, W] in -1..1 (RGB / 127.5 - 1), `previous_mask` f32 [N, 1, H, W] in 0..1 (zeros
    for the first frame), `mask` f32 [N, 1, H, W] in 0..1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(4, 16, 3, 2)
        self.down2 = Squeeze(16, 2)
        self.down4 = nn.Sequential(Down(16, 32), Squeeze(32, 2), Squeeze(32, 4))
        self.down8 = nn.Sequential(Down(32, 64), Squeeze(64, 4), Squeeze(64, 4))
        self.down16 = nn.Sequential(Down(64, 96), Squeeze(96, 4), Squeeze(96, 4, 2), Squeeze(96, 4))
        self.down32 = nn.Sequential(Down(96, 96), Squeeze(96, 4), Squeeze(96, 4, 2), Gate(96))
        self.up16 = Up(96, 96, 4)
        self.up8 = Up(96, 64, 4)
        self.up4 = Up(64, 32, 2)
        self.up2 = Up(32, 16, 2)
        self.narrow = _conv(16, 4)
        self.refine = _conv(4 + 4, 8, 3)
        self.head = nn.Conv2d(8, 1, 3, padding=1)

    def logits(self, frame: Tensor, previous_mask: Tensor) -> Tensor:
        """Return the mask before the sigmoid, [N, 1, H, W]; what the loss wants."""
        x = torch.cat([frame, previous_mask * 2 - 1], 1)
        half = self.down2(F.relu(self.stem(x)))
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        sixteenth = self.down16(eighth)
        deep = self.down32(sixteenth)
        y = self.up16(deep, sixteenth)
        y = self.up8(y, eighth)
        y = self.up4(y, quarter)
        y = _double(self.narrow(self.up2(y, half)))
        return self.head(F.relu(self.refine(torch.cat([y, x], 1))))

    def forward(self, frame: Tensor, previous_mask: Tensor) -> Tensor:
        """Return `mask` [N, 1, H, W] in 0..1; the class says what goes in."""
        return torch.sigmoid(self.logits(frame, previous_mask))


def load(weights: Path | None = None) -> StoriesSegmentation:
    """Return the trained net in f32 and eval mode, from `weights` (default: the shipped fp16 safetensors).

    Raises FileNotFoundError when the file is missing and RuntimeError when a tensor is missing or misshapen.
    """
    stored = load_file(str(weights or WEIGHTS))
    net = StoriesSegmentation()
    counters = {
        name: value for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")
    }
    net.load_state_dict({name: value.float() for name, value in stored.items()} | counters)
    return net.eval()


def example_inputs(size: int = 256) -> dict[str, Tensor]:
    """Return named inputs of the right shapes for a `size`-pixel square frame, from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    return {
        "frame": torch.rand(1, 3, size, size, generator=generator) * 2 - 1,
        "previous_mask": torch.rand(1, 1, size, size, generator=generator),
    }


class Exported(nn.Module):
    """The trained net with a named output, as the PyTorch front end wants it: {"mask": [N, 1, H, W]}."""

    def __init__(self, net: StoriesSegmentation) -> None:
        super().__init__()
        self.net = net

    def forward(self, frame: Tensor, previous_mask: Tensor) -> dict[str, Tensor]:
        """Return the net's mask under its name."""
        return {"mask": self.net(frame, previous_mask)}


def export() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the trained module and its example inputs: the factory that the PyTorch front end calls."""
    return Exported(load()), example_inputs()
