"""Faces: detection, landmarks, recognition, restoration, reenactment."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.camera.blocks import Inverted, conv


class BlazeFace(nn.Module):
    """BlazeFace (Bazarevsky et al. 2019) with its decoding: boxes and keypoints of anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 5, 2)
        self.plain = nn.ModuleList([self._block(24), self._block(24)])
        self.down = nn.ModuleList([self._block(24, 48, 2), self._block(48, 96, 2)])
        self.scores, self.boxes = nn.Conv2d(96, 2, 1), nn.Conv2d(96, 2 * 16, 1)
        rows, columns = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(8) + 0.5, indexing="ij")
        anchors = torch.stack([columns, rows], -1).reshape(64, 1, 2).expand(64, 2, 2) / 8
        self.register_buffer("anchors", anchors.reshape(128, 1, 2).clone())

    @staticmethod
    def _block(inputs: int, outputs: int = 24, stride: int = 1) -> nn.Sequential:
        padding = 2 if stride == 1 else 0
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, 5, stride, padding, groups=inputs), nn.Conv2d(inputs, outputs, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N,3,64,64] -> scores [N,128], corners and keypoints [N,128,8,2] in parts of the picture."""
        y = functional.relu(self.stem(functional.pad(x, (1, 2, 1, 2))))
        for block in self.plain:
            y = functional.relu(block(y) + y)
        for block in self.down:
            side = functional.max_pool2d(y, 2)
            side = functional.pad(side, (0, 0, 0, 0, 0, side.shape[1]))
            y = functional.relu(block(functional.pad(y, (1, 2, 1, 2))) + side)
        batch = x.shape[0]
        scores = self.scores(y).permute(0, 2, 3, 1).reshape(batch, -1)
        raw = self.boxes(y).permute(0, 2, 3, 1).reshape(batch, -1, 8, 2) / 64
        centre, extent, points = raw[:, :, :1] + self.anchors, raw[:, :, 1:2], raw[:, :, 2:] + self.anchors
        found = torch.cat([centre - extent / 2, centre + extent / 2, points], 2)
        return torch.sigmoid(scores.clamp(-100, 100)), found


class PFLD(nn.Module):
    """PFLD (Guo et al. 2019): landmarks from three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 32, 3, 2), conv(32, 32, 3, 1, 32), Inverted(32, 32, 2))
        self.middle = nn.Sequential(Inverted(32, 48, 2), Inverted(48, 48), Inverted(48, 16))
        self.second, self.third = conv(16, 32, 3, 2), nn.Sequential(nn.Conv2d(32, 64, 7), nn.ReLU())
        self.first_pool, self.second_pool = nn.AvgPool2d(14), nn.AvgPool2d(7)
        self.last = nn.Linear(16 + 32 + 64, 196)

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,112,112] -> x and y of 98 points."""
        first = self.middle(self.stem(x))
        second = self.second(first)
        third = self.third(second)
        parts = [self.first_pool(first), self.second_pool(second), third]
        return self.last(torch.cat([item.view(x.size(0), -1) for item in parts], 1))


class MobileFaceNet(nn.Module):
    """MobileFaceNet (Chen et al. 2018): PReLU, a depthwise convolution over all of the face, unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.PReLU(32), Inverted(32, 48, 2)
        )
        self.body = nn.Sequential(nn.PReLU(48), Inverted(48, 64, 2), nn.PReLU(64), Inverted(64, 128, 2))
        self.whole = conv(128, 128, 1, act=None)
        self.global_ = nn.Sequential(nn.Conv2d(128, 128, 7, groups=128, bias=False), nn.BatchNorm2d(128))
        self.embed = nn.Sequential(nn.Linear(128, 64, bias=False), nn.BatchNorm1d(64))

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,112,112] -> [N,64] of length one."""
        y = self.global_(self.whole(self.body(self.stem(x))))
        return functional.normalize(self.embed(y.flatten(1)), p=2.0, dim=1)


class Modulated(nn.Module):
    """StyleGAN2's convolution, as GFPGAN writes it: the weights depend on a style vector."""

    def __init__(self, inputs: int, outputs: int, style: int, mode: str = "") -> None:
        super().__init__()
        self.style = nn.Linear(style, inputs)
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, 3, 3) / (inputs * 9) ** 0.5)
        self.mode, self.strength = mode, nn.Parameter(torch.full((1,), 0.1))
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.register_buffer("noise", torch.randn(1, 1, 32, 32))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: [N,C,H,W], style: [N,S] -> [N,outputs,H,W], twice the size in mode "up"."""
        batch, channels = x.shape[:2]
        weight = self.weight * self.style(style).view(batch, 1, channels, 1, 1)
        weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(batch, -1, 1, 1, 1)
        if self.mode == "up":
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        height, width = x.shape[2:]
        weight = weight.view(-1, channels, 3, 3)
        y = functional.conv2d(x.view(1, batch * channels, height, width), weight, padding=1, groups=batch)
        y = y.view(batch, -1, height, width) * 2**0.5
        y = y + self.noise[:, :, :height, :width] * self.strength + self.bias
        return functional.leaky_relu(y, 0.2)


class GFPGAN(nn.Module):
    """GFPGAN (Wang et al. 2021): a U-Net scales and shifts half the channels of a StyleGAN decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 16), conv(16, 32, 3, 2), conv(32, 32, 3, 2)])
        self.to_style = nn.Sequential(nn.Linear(32 * 8 * 8, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64))
        self.constant = nn.Parameter(torch.randn(1, 32, 8, 8))
        self.styled = nn.ModuleList(
            [Modulated(32, 32, 64), Modulated(32, 32, 64, "up"), Modulated(32, 32, 64, "up")]
        )
        self.scale = nn.ModuleList(nn.Conv2d(width, 16, 3, padding=1) for width in (32, 32, 16))
        self.shift = nn.ModuleList(nn.Conv2d(width, 16, 3, padding=1) for width in (32, 32, 16))
        self.last = nn.Conv2d(32, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,32,32] -> the same face, restored."""
        sides, y = [], x
        for layer in self.down:
            y = layer(y)
            sides.append(y)
        style = self.to_style(y.reshape(x.shape[0], -1))
        y = self.constant.repeat(x.shape[0], 1, 1, 1)
        for styled, scale, shift in zip(self.styled, self.scale, self.shift, strict=True):
            y = styled(y, style)
            side = sides.pop()
            same, changed = torch.split(y, y.size(1) // 2, 1)
            y = torch.cat([same, changed * scale(side) + shift(side)], 1)
        return torch.tanh(self.last(y))


class FirstOrderMotion(nn.Module):
    """First Order Motion Model (Siarohin et al. 2019): keypoints by soft-argmax, affine motions, warping."""

    def __init__(self, points: int = 5) -> None:
        super().__init__()
        self.points = points
        self.heat = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16), nn.Conv2d(16, points, 7, padding=3))
        self.affine = nn.Sequential(conv(3, 16, 3, 2), nn.Conv2d(16, 4 * points, 7, padding=3))
        self.mask = nn.Sequential(conv(4 * (points + 1), 16), nn.Conv2d(16, points + 1, 7, padding=3))
        self.decode = nn.Sequential(conv(3, 16), nn.Conv2d(16, 3, 3, padding=1), nn.Sigmoid())
        lines = torch.linspace(-1, 1, 64)
        rows, columns = torch.meshgrid(lines, lines, indexing="ij")
        self.register_buffer("grid", torch.stack([columns, rows], -1))

    def _keypoints(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heat = functional.interpolate(self.heat(x), size=(64, 64), mode="bilinear", align_corners=True)
        weight = torch.softmax(heat.view(*heat.shape[:2], -1) / 0.1, dim=2).view(heat.shape).unsqueeze(-1)
        places = (weight * self.grid).sum((2, 3))
        fine = functional.interpolate(self.affine(x), size=(64, 64), mode="nearest")
        maps = fine.reshape(x.shape[0], self.points, 4, 64, 64)
        jacobian = (weight.squeeze(-1).unsqueeze(2) * maps).flatten(3).sum(-1)
        return places, jacobian.view(*jacobian.shape[:2], 2, 2) * 0.1 + torch.eye(2)

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """source, driving: [1,3,64,64] -> the source in the driving picture's pose."""
        from_points, from_turns = self._keypoints(source)
        to_points, to_turns = self._keypoints(driving)
        a, b, c, d = to_turns.flatten(2).unbind(-1)
        inverse = torch.stack([d, -b, -c, a], -1).view_as(to_turns) / (a * d - b * c)[..., None, None]
        turns = torch.matmul(from_turns, inverse)[:, :, None, None]
        away = self.grid.view(1, 1, 64, 64, 2) - to_points.view(1, -1, 1, 1, 2)
        moved = torch.matmul(turns, away.unsqueeze(-1)).squeeze(-1) + from_points.view(1, -1, 1, 1, 2)
        motions = torch.cat([self.grid.view(1, 1, 64, 64, 2), moved], 1)
        pictures = source.repeat(self.points + 1, 1, 1, 1)
        warped = functional.grid_sample(pictures, motions.view(-1, 64, 64, 2), align_corners=True)
        heat = torch.exp(-0.5 * (away**2).sum(-1) / 0.01)
        both = torch.cat([torch.cat([torch.zeros_like(heat[:, :1]), heat], 1).unsqueeze(2), warped[None]], 2)
        mask = torch.softmax(self.mask(both.view(1, -1, 64, 64)), 1)
        flow = (motions.permute(0, 1, 4, 2, 3) * mask.unsqueeze(2)).sum(1).permute(0, 2, 3, 1)
        return self.decode(functional.grid_sample(source, flow, align_corners=True))


def nets() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Name, net and example inputs."""
    yield "blazeface", BlazeFace(), (torch.rand(1, 3, 64, 64),)
    yield "pfld", PFLD(), (torch.rand(1, 3, 112, 112),)
    yield "mobilefacenet", MobileFaceNet(), (torch.rand(1, 3, 112, 112),)
    yield "gfpgan", GFPGAN(), (torch.rand(1, 3, 32, 32),)
    yield "gfpgan_pair", GFPGAN(), (torch.rand(2, 3, 32, 32),)
    yield "first_order_motion", FirstOrderMotion(), (torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
