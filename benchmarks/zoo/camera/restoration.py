"""Restoration, enhancement and colour: what a camera does to its pictures."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo.camera.blocks import conv


class LayerNorm2d(nn.Module):
    """Norm over channels, written by hand as NAFNet does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] normalized."""
        mean = x.mean(1, keepdim=True)
        var = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / (var + 1e-6).sqrt()
        return self.weight.view(1, -1, 1, 1) * y + self.bias.view(1, -1, 1, 1)


def _simple_gate(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=1)
    return left * right


class NAFBlock(nn.Module):
    """NAFNet's block."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm2d(c), LayerNorm2d(c)
        self.first = nn.Sequential(nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, 2 * c, 3, 1, 1, groups=2 * c))
        self.channel = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1))
        self.second, self.third, self.fourth = nn.Conv2d(c, c, 1), nn.Conv2d(c, 2 * c, 1), nn.Conv2d(c, c, 1)
        self.beta = nn.Parameter(torch.zeros((1, c, 1, 1)))
        self.gamma = nn.Parameter(torch.zeros((1, c, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> the same shape."""
        y = _simple_gate(self.first(self.norm1(x)))
        y = x + self.second(y * self.channel(y)) * self.beta
        return y + self.fourth(_simple_gate(self.third(self.norm2(y)))) * self.gamma


class NAFNet(nn.Module):
    """NAFNet (Chen et al. 2022): a U-Net without activations, pixel shuffle up, padded to a multiple."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.intro, self.ending = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 3, 3, 1, 1)
        self.encoders = nn.ModuleList([NAFBlock(width), NAFBlock(2 * width)])
        self.downs = nn.ModuleList([nn.Conv2d(c, 2 * c, 2, 2) for c in (width, 2 * width)])
        self.middle = NAFBlock(4 * width)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2))
            for c in (4 * width, 2 * width)
        )
        self.decoders = nn.ModuleList([NAFBlock(2 * width), NAFBlock(width)])

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,H,W] -> the same shape."""
        height, width = x.shape[2:]
        padded = functional.pad(x, (0, (4 - width % 4) % 4, 0, (4 - height % 4) % 4))
        y, sides = self.intro(padded), []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            sides.append(y)
            y = down(y)
        y = self.middle(y)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            y = decoder(up(y) + sides.pop())
        return (self.ending(y) + padded)[:, :, :height, :width]


class FourierUnit(nn.Module):
    """LaMa's spectral transform: a 1x1 convolution between a real FFT and its inverse."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = conv(2 * channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> the same shape."""
        batch, channels, height, width = x.shape
        spectrum = torch.fft.rfftn(x, dim=(-2, -1), norm="ortho")
        parts = torch.stack((spectrum.real, spectrum.imag), dim=-1).permute(0, 1, 4, 2, 3)
        parts = self.body(parts.reshape(batch, 2 * channels, height, -1))
        parts = parts.view(batch, channels, 2, height, -1).permute(0, 1, 3, 4, 2).contiguous()
        spectrum = torch.complex(parts[..., 0], parts[..., 1])
        return torch.fft.irfftn(spectrum, s=(height, width), dim=(-2, -1), norm="ortho")


class LaMa(nn.Module):
    """LaMa (Suvorov et al. 2021): fast Fourier convolutions, local and global channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(4, 16, 7), nn.BatchNorm2d(16), nn.ReLU())
        self.down = conv(16, 32, 3, 2)
        self.local, self.to_global, self.to_local = (
            nn.Conv2d(a, b, 3, padding=1, padding_mode="reflect") for a, b in ((8, 8), (8, 24), (24, 8))
        )
        self.first, self.fourier, self.last_ = conv(24, 12, 1), FourierUnit(12), nn.Conv2d(12, 24, 1)
        self.norm_local, self.norm_global = nn.BatchNorm2d(8), nn.BatchNorm2d(24)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 3, 2, 1, output_padding=1), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.out = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(16, 3, 7), nn.Sigmoid())

    def forward(self, picture: Tensor, mask: Tensor) -> Tensor:
        """picture: [N,3,H,W], mask: [N,1,H,W] -> the picture with the masked part filled in."""
        y = self.down(self.stem(torch.cat([picture * (1 - mask), mask], 1)))
        left, right = y[:, :8], y[:, 8:]
        inner = self.first(right)
        spectral = self.last_(inner + self.fourier(inner))
        near = functional.relu(self.norm_local(self.local(left) + self.to_local(right)))
        far = functional.relu(self.norm_global(self.to_global(left) + spectral))
        filled = self.out(self.up(torch.cat([near, far], 1) + y))
        return mask * filled + (1 - mask) * picture


class HDRNet(nn.Module):
    """HDRNet (Gharbi et al. 2017): a bilateral grid of affine colour transforms, sliced by a guide."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(conv(3, 8, 3, 2), conv(8, 16, 3, 2), conv(16, 32, 3, 2))
        self.grid = nn.Conv2d(32, 12 * 8, 1)
        self.guide = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 1, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,H,W] -> the same shape."""
        batch, _, height, width = x.shape
        small = functional.interpolate(x, size=(64, 64), mode="bilinear", align_corners=False)
        cells = self.grid(self.low(small)).view(batch, 12, 8, 8, 8)
        rows, columns = torch.meshgrid(
            torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
        )
        place = torch.stack([columns, rows], -1).expand(batch, -1, -1, -1)
        place = torch.cat([place, self.guide(x).permute(0, 2, 3, 1)], -1).unsqueeze(1)
        affine = functional.grid_sample(cells, place, padding_mode="border", align_corners=True).squeeze(2)
        affine = affine.view(batch, 3, 4, height, width)
        return (affine[:, :, :3] * x.unsqueeze(1)).sum(2) + affine[:, :, 3]


class ColourTables(nn.Module):
    """Learned 3D look-up tables (Zeng et al. 2020), mixed by a small classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Sequential(conv(3, 8, 3, 2), conv(8, 16, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(16, 3)
        self.tables = nn.Parameter(torch.rand(3, 3, 17, 17, 17))

    def forward(self, x: Tensor) -> Tensor:
        """[1,3,H,W] in [0,1] -> the same shape."""
        table = (self.last(self.weigh(x)).view(3, 1, 1, 1, 1) * self.tables).sum(0, keepdim=True)
        place = (x * 2 - 1).permute(0, 2, 3, 1).unsqueeze(1)
        return functional.grid_sample(table, place, padding_mode="border", align_corners=True).squeeze(2)


class ZeroDCE(nn.Module):
    """Zero-DCE (Guo et al. 2020): eight curves applied one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(nn.Conv2d(a, 16, 3, padding=1) for a in (3, 16, 16, 32))
        self.last = nn.Conv2d(32, 24, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,H,W] -> the same shape."""
        a = functional.relu(self.body[0](x))
        b = functional.relu(self.body[1](a))
        c = functional.relu(self.body[2](b))
        d = functional.relu(self.body[3](torch.cat([b, c], 1)))
        for curve in torch.split(torch.tanh(self.last(torch.cat([a, d], 1))), 3, dim=1):
            x = x + curve * (torch.pow(x, 2) - x)
        return x


class RawDenoiser(nn.Module):
    """Bayer mosaic packed to four planes, kernels predicted for each pixel, unpacked by pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Sequential(conv(4, 16), conv(16, 16), nn.Conv2d(16, 25, 3, padding=1))
        self.colour = nn.Conv2d(4, 12, 3, padding=1)
        self.register_buffer("matrix", torch.eye(3) + 0.2)

    def forward(self, raw: Tensor) -> Tensor:
        """[N,1,2H,2W] -> [N,3,2H,2W]."""
        planes = [raw[:, :, 0::2, 0::2], raw[:, :, 0::2, 1::2], raw[:, :, 1::2, 0::2], raw[:, :, 1::2, 1::2]]
        x = torch.cat(planes, 1)
        batch, channels, height, width = x.shape
        weights = torch.softmax(self.kernels(x), 1).view(batch, 1, 25, height, width)
        windows = functional.unfold(functional.pad(x, (2, 2, 2, 2), mode="reflect"), 5)
        y = (windows.view(batch, channels, 25, height, width) * weights).sum(2)
        rgb = functional.pixel_shuffle(self.colour(y), 2)
        rgb = torch.einsum("ij,njhw->nihw", self.matrix, rgb)
        return torch.where(rgb <= 0.0031308, rgb * 12.92, 1.055 * rgb.clamp(min=1e-4) ** (1 / 2.4) - 0.055)


class Restormer(nn.Module):
    """Restormer's block (Zamir et al. 2022): attention between channels, gated depthwise feed-forward."""

    def __init__(self, width: int = 24, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.temperature = heads, nn.Parameter(torch.ones(heads, 1, 1))
        self.intro, self.last = nn.Conv2d(3 * 4, width, 3, padding=1), nn.Conv2d(width, 12, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Sequential(
            nn.Conv2d(width, 3 * width, 1), nn.Conv2d(3 * width, 3 * width, 3, 1, 1, 1, 3 * width)
        )
        self.out = nn.Conv2d(width, width, 1)
        self.feed = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1), nn.Conv2d(4 * width, 4 * width, 3, 1, 1, 1, 4 * width)
        )
        self.back = nn.Conv2d(2 * width, width, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """[N,3,H,W] -> the same shape."""
        x = self.intro(functional.pixel_unshuffle(picture, 2))
        batch, channels, height, width = x.shape
        y = self.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).view(batch, channels, height, width)
        q, k, v = self.qkv(y).view(batch, 3, self.heads, -1, height * width).unbind(1)
        q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
        mixed = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(-1) @ v
        x = x + self.out(mixed.reshape(batch, channels, height, width))
        left, right = self.feed(x).chunk(2, 1)
        x = x + self.back(functional.gelu(left) * right)
        return functional.pixel_shuffle(self.last(x), 2) + picture


class StyleTransfer(nn.Module):
    """Fast style transfer (Johnson et al. 2016): reflection padding, instance norm, nearest enlargement."""

    def __init__(self) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.ReflectionPad2d(kernel // 2),
                nn.Conv2d(inputs, outputs, kernel, stride),
                nn.InstanceNorm2d(outputs, affine=True),
                nn.ReLU(),
            )

        self.down = nn.Sequential(layer(3, 16, 9), layer(16, 24, 3, 2), layer(24, 32, 3, 2))
        self.body = nn.Sequential(layer(32, 32, 3), layer(32, 32, 3)[:3])
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), layer(32, 24, 3), nn.Upsample(scale_factor=2), layer(24, 16, 3)
        )
        self.last = nn.Sequential(nn.ReflectionPad2d(4), nn.Conv2d(16, 3, 9))

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,H,W] -> the same shape."""
        y = self.down(x)
        return torch.sigmoid(self.last(self.up(y + self.body(y))))


class CodeFormer(nn.Module):
    """CodeFormer (Zhou et al. 2022): codes of a book predicted by a transformer, adaptive instance norm."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2, act=nn.SiLU))
        layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        self.layers, self.position = (
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            nn.Parameter(torch.randn(64, 32)),
        )
        self.logits, self.book = nn.Linear(32, 50), nn.Embedding(50, 32)
        self.decode = nn.Sequential(nn.GroupNorm(8, 32), nn.SiLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1))
        self.last = nn.Sequential(nn.SiLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,32,32] -> the same shape."""
        y = self.encode(x)
        tokens = self.layers(y.flatten(2).transpose(1, 2) + self.position)
        _, best = torch.topk(torch.softmax(self.logits(tokens), 2), 1, dim=2)
        codes = self.book(best.squeeze(-1)).transpose(1, 2).reshape(y.shape)
        content = (codes - codes.mean((2, 3), keepdim=True)) / (codes.var((2, 3), keepdim=True) + 1e-5).sqrt()
        codes = content * (y.var((2, 3), keepdim=True) + 1e-5).sqrt() + y.mean((2, 3), keepdim=True)
        return self.last(self.decode(codes))


def nets() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Name, net and example inputs."""
    picture = (torch.rand(1, 3, 64, 80),)
    yield "nafnet", NAFNet(), (torch.rand(1, 3, 62, 75),)
    yield "lama", LaMa(), (*picture, (torch.rand(1, 1, 64, 80) > 0.5).float())
    yield "hdrnet", HDRNet(), picture
    yield "colour_tables", ColourTables(), picture
    yield "zero_dce", ZeroDCE(), picture
    yield "raw_denoiser", RawDenoiser(), (torch.rand(1, 1, 64, 96),)
    yield "restormer", Restormer(), picture
    yield "style_transfer", StyleTransfer(), picture
    yield "codeformer", CodeFormer(), (torch.rand(1, 3, 32, 32),)
