"""Seeded stand-ins for camera pictures and masks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def camera_picture(shape: tuple[int, int, int, int], generator: Generator) -> Tensor:
    """A smooth field plus sensor noise, N x C x H x W in [-1, 1]: real pictures are not white noise."""
    count, channels, height, width = shape
    coarse = torch.randn(count, channels, max(2, height // 32), max(2, width // 32), generator=generator)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    return (0.55 * smooth + 0.08 * torch.randn(shape, generator=generator)).clamp(-1, 1)


def blob_mask(size: int, generator: Generator) -> Tensor:
    """A binary mask of a few smooth blobs, 1 x 1 x size x size, values 0 or 1."""
    coarse = torch.randn(1, 1, 6, 6, generator=generator)
    return (F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False) > 0.25).float()


def one_picture(name: str, *shape: int) -> Callable[[Generator], dict[str, Tensor]]:
    """Example inputs of a model that eats one picture tensor called `name`."""
    count, channels, height, width = shape
    return lambda generator: {name: camera_picture((count, channels, height, width), generator)}
