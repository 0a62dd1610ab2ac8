"""Detection heads with their decoding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.camera.blocks import conv


def _places(height: int, width: int, stride: int, offset: float) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack((columns, rows), 2).view(1, -1, 2).float() + offset) * stride


class YOLOX(nn.Module):
    """YOLOX (Ge et al. 2021): focus, CSP, SPP, decoupled head, boxes decoded and the best 20 taken."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(12, 16, act=nn.SiLU)
        self.down = nn.ModuleList([conv(16, 24, 3, 2, act=nn.SiLU), conv(24, 32, 3, 2, act=nn.SiLU)])
        self.spp = conv(32 * 4, 32, 1, act=nn.SiLU)
        self.lateral = conv(32, 24, 1, act=nn.SiLU)
        self.joined = conv(48, 32, act=nn.SiLU)
        self.heads = nn.ModuleList(nn.Conv2d(32, 4 + 1 + 5, 1) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N,3,H,W] -> boxes [N,20,4], scores [N,20], scores of classes [N,20,5]."""
        parts = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        fine = self.down[0](self.stem(torch.cat(parts, dim=1)))
        deep = self.down[1](fine)
        deep = self.spp(
            torch.cat([deep, *(functional.max_pool2d(deep, k, 1, k // 2) for k in (5, 9, 13))], 1)
        )
        up = functional.interpolate(self.lateral(deep), scale_factor=2, mode="nearest")
        levels = [(self.joined(torch.cat([up, fine], 1)), 4), (deep, 8)]
        boxes, scores = [], []
        for head, (level, stride) in zip(self.heads, levels, strict=True):
            raw = head(level)
            height, width = raw.shape[-2:]
            raw = torch.cat([raw[:, :4], raw[:, 4:].sigmoid()], 1).flatten(2).permute(0, 2, 1)
            centre = raw[..., :2] * stride + _places(height, width, stride, 0.0)
            extent = torch.exp(raw[..., 2:4]) * stride
            boxes.append(torch.cat([centre - extent / 2, centre + extent / 2], -1))
            scores.append(raw[..., 4:5] * raw[..., 5:])
        classes = torch.cat(scores, 1)
        top, index = torch.topk(classes.max(-1)[0], 20, dim=1)
        index = index.unsqueeze(-1)
        chosen = torch.gather(torch.cat(boxes, 1), 1, index.expand(-1, -1, 4))
        return chosen, top, torch.gather(classes, 1, index.expand(-1, -1, 5))


class NanoDet(nn.Module):
    """NanoDet: shuffle blocks, depthwise head, distances as means of distributions (GFL, as YOLOv8's DFL)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2, act=nn.LeakyReLU), conv(16, 32, 3, 2))
        self.branch = nn.Sequential(conv(16, 16, 1), conv(16, 16, 3, 1, 16, None), conv(16, 16, 1))
        self.head = nn.Sequential(conv(32, 32, 5, 1, 32), conv(32, 32, 1), nn.Conv2d(32, 3 + 4 * 8, 1))
        self.register_buffer("project", torch.linspace(0, 7, 8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N,3,H,W] -> scores [N,K,3], boxes [N,K,4]."""
        y = self.stem(x)
        left, right = y.chunk(2, dim=1)
        y = torch.cat((left, self.branch(right)), dim=1)
        batch, channels, height, width = y.shape
        y = (
            y.view(batch, 2, channels // 2, height, width)
            .transpose(1, 2)
            .contiguous()
            .view(batch, -1, height, width)
        )
        raw = self.head(y).flatten(2).permute(0, 2, 1)
        scores, sides = raw.split([3, 32], dim=-1)
        away = functional.linear(functional.softmax(sides.reshape(batch, -1, 4, 8), dim=-1), self.project)
        centre, away = _places(height, width, 4, 0.5), away * 4
        boxes = torch.cat([centre - away[..., :2], centre + away[..., 2:]], -1)
        limit = torch.tensor([x.shape[3], x.shape[2]] * 2, dtype=torch.float32)
        return scores.sigmoid(), torch.minimum(boxes.clamp(min=0), limit)


class HeatmapPose(nn.Module):
    """Keypoints: heatmaps, their maxima refined by a quarter pixel of the slope, and soft-argmax depth."""

    def __init__(self, points: int = 7) -> None:
        super().__init__()
        self.points = points
        self.body = nn.Sequential(
            conv(3, 16, 3, 2), conv(16, 24, 3, 2), nn.ConvTranspose2d(24, 24, 4, 2, 1), nn.ReLU()
        )
        self.last = nn.Conv2d(24, points, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N,3,H,W] -> places [N,P,2], scores [N,P]."""
        heat = self.last(self.body(x))
        width = heat.shape[3]
        best, index = heat.flatten(2).max(2)
        column, row = index % width, torch.div(index, width, rounding_mode="floor")
        padded = functional.pad(heat, [1] * 4, mode="replicate").flatten(2)
        at = (row + 1) * (width + 2) + column + 1

        def value(step: int) -> Tensor:
            return torch.gather(padded, 2, (at + step).unsqueeze(-1)).squeeze(-1)

        slope = torch.stack([value(1) - value(-1), value(width + 2) - value(-width - 2)], -1)
        places = torch.stack([column, row], -1).float() + 0.25 * torch.sign(slope)
        return places * torch.tensor([2.0, 2.0]), best


def nets() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Name, net and example inputs."""
    yield "yolox", YOLOX(), (torch.rand(1, 3, 64, 96),)
    yield "nanodet", NanoDet(), (torch.rand(1, 3, 64, 96),)
    yield "heatmap_pose", HeatmapPose(), (torch.rand(1, 3, 64, 64),)
