"""Matting and segmentation of people."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.camera.blocks import Gate, Inverted, conv


class ConvGRU(nn.Module):
    """A GRU whose products are convolutions (RVM)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.candidate = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """x, h: [N,C,H,W] -> the next h."""
        reset, update = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        candidate = torch.tanh(self.candidate(torch.cat([x, reset * h], 1)))
        return (1 - update) * h + update * candidate


class RVM(nn.Module):
    """Robust Video Matting (Lin et al. 2021): LR-ASPP, ConvGRUs over half of the channels, guided filter."""

    def __init__(self) -> None:
        super().__init__()
        act = nn.Hardswish
        self.down = nn.ModuleList(
            [
                conv(3, 16, 3, 2, act=act),
                Inverted(16, 24, 2, act=act),
                Inverted(24, 32, 2, act=act),
                nn.Sequential(Inverted(32, 48, 2, act=act), Gate(48, 12)),
            ]
        )
        self.aspp1, self.aspp2 = conv(48, 32, 1), nn.Conv2d(48, 32, 1, bias=False)
        self.up = nn.ModuleList([conv(32 + 32 + 3, 32), conv(32 + 24 + 3, 24), conv(24 + 16 + 3, 16)])
        self.memory = nn.ModuleList([ConvGRU(16), ConvGRU(16), ConvGRU(12), ConvGRU(8)])
        self.last = conv(16 + 3, 16)
        self.out = nn.Conv2d(16, 4, 1)
        self.guided = nn.Sequential(
            nn.Conv2d(9, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1)
        )

    def forward(self, x: Tensor, r1: Tensor, r2: Tensor, r3: Tensor, r4: Tensor) -> tuple[Tensor, ...]:
        """x: [N,3,H,W], the states of four levels -> foreground, alpha, new states."""
        small = functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
        states, new, sides, y = [r4, r3, r2, r1], [], [], small
        for layer in self.down:
            y = layer(y)
            sides.append(y)
        y = self.aspp1(y) * torch.sigmoid(self.aspp2(y.mean((2, 3), keepdim=True)))
        pictures = [small]
        for _ in range(3):
            pictures.append(
                functional.avg_pool2d(pictures[-1], 2, 2, count_include_pad=False, ceil_mode=True)
            )
        for level, memory in enumerate(self.memory):
            if level:
                side, picture = sides[3 - level], pictures[4 - level]
                y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
                y = y[:, :, : side.shape[2], : side.shape[3]]
                y = self.up[level - 1](torch.cat([y, side, picture], 1))
            still, moving = y.chunk(2, 1)
            new.append(memory(moving, states[level]))
            y = torch.cat([still, new[-1]], 1)
        y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        hidden = self.last(torch.cat([y, small], 1))
        foreground, alpha = self._refine(x, small, self.out(hidden), hidden[:, :3]).split([3, 1], 1)
        return (foreground + x).clamp(0, 1), alpha.clamp(0, 1), *reversed(new)

    def _refine(self, fine: Tensor, small: Tensor, coarse: Tensor, hidden: Tensor) -> Tensor:
        """Deep guided filter: local linear models by box means, enlarged to the picture's size."""
        x, y = torch.cat([small, small.mean(1, keepdim=True)], 1), coarse
        mean_x, mean_y = _box(x), _box(y)
        cov, var = _box(x * y) - mean_x * mean_y, _box(x * x) - mean_x * mean_x
        slope = self.guided(torch.cat([cov[:, :3], var[:, :3], hidden], 1))
        offset = mean_y - slope * mean_x
        size = fine.shape[2:]
        slope = functional.interpolate(slope, size, mode="bilinear", align_corners=False)
        offset = functional.interpolate(offset, size, mode="bilinear", align_corners=False)
        return slope * torch.cat([fine, fine.mean(1, keepdim=True)], 1) + offset


def _box(x: Tensor) -> Tensor:
    weight = torch.ones(x.shape[1], 1, 3, 3) / 9
    return functional.conv2d(functional.pad(x, [1] * 4, "replicate"), weight, groups=x.shape[1])


class IBNorm(nn.Module):
    """Half of the channels by batch, half by instance norm (MODNet)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.batch, self.instance = nn.BatchNorm2d(self.half), nn.InstanceNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] normalized."""
        return torch.cat(
            [self.batch(x[:, : self.half].contiguous()), self.instance(x[:, self.half :].contiguous())], 1
        )


def _ib(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), IBNorm(outputs), nn.ReLU(inplace=True)
    )


class MODNet(nn.Module):
    """MODNet (Ke et al. 2022): semantics, detail at half size, fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [
                conv(3, 16, 3, 2, act=nn.ReLU6),
                Inverted(16, 24, 2, act=nn.ReLU6),
                Inverted(24, 32, 2, act=nn.ReLU6),
                Inverted(32, 64, 2, act=nn.ReLU6),
            ]
        )
        self.gate = nn.Sequential(nn.Linear(64, 16, bias=False), nn.ReLU(), nn.Linear(16, 64, bias=False))
        self.low = nn.ModuleList([_ib(64, 32, 5), _ib(32, 16, 5)])
        self.detail = _ib(3 + 16, 16)
        self.fine = nn.Sequential(_ib(32, 16), nn.Conv2d(16, 16, 3, padding=1))
        self.last = nn.Sequential(_ib(16 + 3, 8), nn.Conv2d(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,H,W] -> alpha [N,1,H,W]."""
        sides, y = [], x
        for layer in self.down:
            y = layer(y)
            sides.append(y)
        weights = torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(y, 1).view(y.size(0), -1)))
        y = y * weights.view(y.size(0), -1, 1, 1).expand_as(y)
        for layer in self.low:
            y = layer(functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False))
        y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        small = functional.interpolate(x, scale_factor=1 / 2, mode="bilinear", align_corners=False)
        y = self.fine(torch.cat([self.detail(torch.cat([small, sides[0]], 1)), y], 1))
        y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.sigmoid(self.last(torch.cat([y, x], 1)))


class BiSeNetV2(nn.Module):
    """BiSeNet V2 (Yu et al. 2020): stem, gather-and-expansion, context embedding, guided aggregation."""

    def __init__(self) -> None:
        super().__init__()
        self.detail = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16), conv(16, 32, 3, 2), conv(32, 32, 3, 2))
        self.stem, self.left = conv(3, 8, 3, 2), nn.Sequential(conv(8, 4, 1), conv(4, 8, 3, 2))
        self.stem_out = conv(16, 8)
        self.expand = nn.Sequential(*(Inverted(8 << i, 16 << i, 2, 6) for i in range(3)))
        self.context_norm, self.context = nn.BatchNorm2d(64), conv(64, 64, 1)
        self.context_out = nn.Conv2d(64, 32, 3, padding=1)
        self.detail_keep = nn.Sequential(conv(32, 32, 3, 1, 32, None), nn.Conv2d(32, 32, 1))
        self.detail_down = nn.Sequential(conv(32, 32, 3, 2, act=None), nn.AvgPool2d(3, 2, 1))
        self.semantic_up = conv(32, 32, act=None)
        self.semantic_keep = nn.Sequential(conv(32, 32, 3, 1, 32, None), nn.Conv2d(32, 32, 1))
        self.joined, self.head = conv(32, 32, act=None), nn.Conv2d(32, 4 * 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,H,W] -> scores [N,4,H,W]."""
        detail, s = self.detail(x), self.stem(x)
        s = self.stem_out(torch.cat([self.left(s), functional.max_pool2d(s, 3, 2, 1)], 1))
        s = self.expand(s)
        s = self.context_out(s + self.context(self.context_norm(s.mean((2, 3), keepdim=True))))
        high = self.semantic_up(s)
        high = functional.interpolate(high, scale_factor=4, mode="bilinear", align_corners=False)
        left = self.detail_keep(detail) * torch.sigmoid(high)
        right = self.detail_down(detail) * torch.sigmoid(self.semantic_keep(s))
        right = functional.interpolate(right, scale_factor=4, mode="bilinear", align_corners=False)
        return functional.pixel_shuffle(self.head(self.joined(left + right)), 8)


def nets() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Name, net and example inputs."""
    yield (
        "rvm",
        RVM(),
        (
            torch.rand(1, 3, 192, 256),
            torch.rand(1, 8, 48, 64),
            torch.rand(1, 12, 24, 32),
            torch.rand(1, 16, 12, 16),
            torch.rand(1, 16, 6, 8),
        ),
    )
    yield "modnet", MODNet(), (torch.rand(1, 3, 128, 160),)
    yield "bisenet_v2", BiSeNetV2(), (torch.rand(1, 3, 128, 128),)
