"""Motion: optical flow, interpolation of frames, video."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.camera.blocks import conv, warp


class RIFE(nn.Module):
    """RIFE (Huang et al. 2020): flows of both sides from coarse to fine, blended by a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(self._block(inputs) for inputs in (7, 7 + 5 + 6 - 1, 7 + 5 + 6 - 1))

    @staticmethod
    def _block(inputs: int) -> nn.Sequential:
        def layer(a: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, 24, 3, stride, 1), nn.PReLU(24))

        return nn.Sequential(layer(inputs, 2), layer(24), layer(24), nn.ConvTranspose2d(24, 5, 4, 2, 1))

    def forward(self, first: Tensor, last: Tensor, time: Tensor) -> Tensor:
        """first, last: [N,3,H,W], time: [N,1,1,1] in [0,1] -> the frame between."""
        when = torch.ones_like(first[:, :1]) * time
        flow = mask = None
        left, right = first, last
        for block, scale in zip(self.blocks, (4, 2, 1), strict=True):
            x = torch.cat([first, last, when], 1)
            if flow is not None:
                x = torch.cat([left, right, when, first, last, mask, flow / scale], 1)[
                    :, : block[0][0].in_channels
                ]
            x = functional.interpolate(x, scale_factor=1 / scale, mode="bilinear", align_corners=False)
            y = functional.interpolate(block(x), scale_factor=scale, mode="bilinear", align_corners=False)
            step = y[:, :4] * scale
            flow, mask = (step, y[:, 4:]) if flow is None else (flow + step, mask + y[:, 4:])
            left, right = warp(first, flow[:, :2]), warp(last, flow[:, 2:4])
        share = torch.sigmoid(mask)
        return left * share + right * (1 - share)


class PWCNet(nn.Module):
    """PWC-Net (Sun et al. 2018): a cost volume of shifted products, two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(3, 16, 3, 2), conv(16, 24, 3, 2)
        self.coarse = nn.Sequential(nn.Conv2d(25, 24, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(24, 2, 3, 1, 1))
        self.fine = nn.Sequential(
            nn.Conv2d(25 + 2, 24, 3, 1, 2, 2), nn.LeakyReLU(0.1), nn.Conv2d(24, 2, 3, 1, 1)
        )

    @staticmethod
    def _costs(a: Tensor, b: Tensor) -> Tensor:
        padded = functional.pad(b, [2] * 4)
        height, width = a.shape[2:]
        costs = [
            (a * padded[:, :, i : i + height, j : j + width]).mean(1, keepdim=True)
            for i in range(5)
            for j in range(5)
        ]
        return functional.leaky_relu(torch.cat(costs, 1), 0.1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[N,3,H,W] twice -> flow [N,2,H/2,W/2]."""
        a1, b1 = self.one(first), self.one(second)
        a2, b2 = self.two(a1), self.two(b1)
        flow = self.coarse(self._costs(a2, b2))
        flow = functional.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True) * 2
        return flow + self.fine(torch.cat([self._costs(a1, warp(b1, flow)), flow], 1))


class RAFT(nn.Module):
    """RAFT (Teed, Deng 2020): correlation of all pairs, ConvGRU, convex enlargement."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3), nn.InstanceNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 4, 1)
        )
        self.context = nn.Sequential(conv(3, 16, 7, 2), nn.Conv2d(16, 48, 3, 4, 1))
        self.motion = conv(2 * 49 + 2, 30)
        self.gates, self.new = nn.Conv2d(16 + 64, 32, 3, 1, 1), nn.Conv2d(16 + 64, 16, 3, 1, 1)
        self.delta, self.mask = nn.Conv2d(16, 2, 3, 1, 1), nn.Conv2d(16, 64 * 9, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[N,3,H,W] twice -> flow [N,2,H,W]."""
        a, b = self.features(torch.cat([first, second])).chunk(2)
        batch, channels, height, width = a.shape
        costs = torch.matmul(a.flatten(2).transpose(1, 2), b.flatten(2)) / channels**0.5
        costs = costs.view(batch * height * width, 1, height, width)
        pyramid = [costs, functional.avg_pool2d(costs, 2, stride=2)]
        hidden, inputs = torch.split(self.context(first), [16, 32], dim=1)
        hidden, inputs = torch.tanh(hidden), torch.relu(inputs)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        start = torch.stack([columns, rows]).float()[None].repeat(batch, 1, 1, 1)
        place = start
        for _ in range(2):
            found = self.motion(torch.cat([self._look_up(pyramid, place), place - start], 1))
            x = torch.cat([inputs, found, place - start], 1)
            update, reset = torch.sigmoid(self.gates(torch.cat([hidden, x], 1))).chunk(2, 1)
            new = torch.tanh(self.new(torch.cat([reset * hidden, x], 1)))
            hidden = (1 - update) * hidden + update * new
            place = place + self.delta(hidden)
        return self._enlarge(place - start, self.mask(hidden))

    @staticmethod
    def _look_up(pyramid: list[Tensor], place: Tensor) -> Tensor:
        batch, _, height, width = place.shape
        steps = torch.linspace(-3, 3, 7)
        window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).view(1, 7, 7, 2)
        found = []
        for level, costs in enumerate(pyramid):
            centre = place.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / 2**level
            x, y = (centre + window).split([1, 1], dim=-1)
            grid = torch.cat([2 * x / (costs.shape[3] - 1) - 1, 2 * y / (costs.shape[2] - 1) - 1], -1)
            found.append(
                functional.grid_sample(costs, grid, align_corners=True).view(batch, height, width, -1)
            )
        return torch.cat(found, -1).permute(0, 3, 1, 2)

    @staticmethod
    def _enlarge(flow: Tensor, mask: Tensor) -> Tensor:
        batch, _, height, width = flow.shape
        weights = torch.softmax(mask.view(batch, 1, 9, 8, 8, height, width), dim=2)
        near = functional.unfold(8 * flow, [3, 3], padding=1).view(batch, 2, 9, 1, 1, height, width)
        fine = torch.sum(weights * near, dim=2).permute(0, 1, 4, 2, 5, 3)
        return fine.reshape(batch, 2, 8 * height, 8 * width)


class X3D(nn.Module):
    """X3D (Feichtenhofer 2020): 3-D convolutions, in time and space apart, and gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 12, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.Conv3d(12, 12, (3, 1, 1), padding=(1, 0, 0), groups=12, bias=False),
            nn.BatchNorm3d(12),
            nn.ReLU(),
        )
        self.wide = nn.Sequential(nn.Conv3d(12, 24, 1, bias=False), nn.BatchNorm3d(24), nn.ReLU())
        self.middle = nn.Sequential(
            nn.Conv3d(24, 24, 3, (1, 2, 2), 1, groups=24, bias=False), nn.BatchNorm3d(24)
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Conv3d(24, 8, 1), nn.ReLU(), nn.Conv3d(8, 24, 1), nn.Sigmoid()
        )
        self.full = nn.Sequential(nn.Conv3d(24, 16, (3, 3, 3), (2, 1, 1), 1), nn.SiLU())
        self.pool, self.last = nn.AvgPool3d((2, 8, 8)), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,4,32,32] -> [N,10]."""
        y = self.middle(self.wide(self.stem(x)))
        return self.last(self.pool(self.full(y * self.gate(y))).flatten(1))


class TemporalShift(nn.Module):
    """TSM (Lin et al. 2019): channels moved between neighbouring frames, and a ConvLSTM over them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mixed = conv(3, 16, 3, 2), conv(16, 16)
        self.cell = nn.Conv2d(32, 64, 3, padding=1)
        self.last = nn.Conv2d(16, 3, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """[N,T,3,H,W] -> [N,T,3,H/2,W/2]."""
        batch, time = frames.shape[:2]
        x = self.stem(frames.flatten(0, 1)).unflatten(0, (batch, time))
        moved = torch.zeros_like(x)
        moved[:, :-1, :4] = x[:, 1:, :4]
        moved[:, 1:, 4:8] = x[:, :-1, 4:8]
        moved[:, :, 8:] = x[:, :, 8:]
        y = self.mixed(moved.flatten(0, 1)).unflatten(0, (batch, time))
        hidden = cell = torch.zeros_like(y[:, 0])
        found = []
        for step in range(time):
            i, f, o, g = self.cell(torch.cat([y[:, step], hidden], 1)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            found.append(self.last(hidden))
        return torch.stack(found, 1)


def nets() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Name, net and example inputs."""
    pair = (torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96))
    yield "rife", RIFE(), (*pair, torch.full((1, 1, 1, 1), 0.4))
    yield "pwc_net", PWCNet(), pair
    yield "raft", RAFT(), pair
    yield "x3d", X3D(), (torch.rand(1, 3, 4, 32, 32),)
    yield "temporal_shift", TemporalShift(), (torch.rand(1, 4, 3, 32, 32),)
