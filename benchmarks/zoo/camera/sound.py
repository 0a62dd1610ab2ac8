"""Sound and sequences beside the picture."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional


class Demucs(nn.Module):
    """Demucs (Défossez et al. 2019): strided convolutions, GLU, a bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv1d(a, b, 8, 4, 2), nn.ReLU(), nn.Conv1d(b, 2 * b, 1), nn.GLU(1))
            for a, b in ((1, 16), (16, 24))
        )
        self.recurrent, self.linear = nn.LSTM(24, 24, 2, bidirectional=True), nn.Linear(48, 24)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv1d(a, 2 * a, 1), nn.GLU(1), nn.ConvTranspose1d(a, b, 8, 4, 2))
            for a, b in ((24, 16), (16, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N,1,T] -> the same shape."""
        scale = x.std(-1, keepdim=True) + 1e-3
        y, sides = x / scale, []
        for layer in self.down:
            y = layer(y)
            sides.append(y)
        y = self.linear(self.recurrent(y.permute(2, 0, 1))[0]).permute(1, 2, 0)
        for index, layer in enumerate(self.up):
            y = layer(y + sides.pop())
            y = functional.relu(y) if index == 0 else y
        return y * scale


class SpectralDenoiser(nn.Module):
    """A mask over the short-time Fourier transform, predicted by a GRU, and the transform back."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.mask = nn.GRU(65, 48, batch_first=True), nn.Linear(48, 65)
        self.register_buffer("window", torch.hann_window(128))

    def forward(self, x: Tensor) -> Tensor:
        """[N,T] -> the same shape."""
        spectrum = torch.stft(x, 128, 64, window=self.window, return_complex=True)
        size = torch.view_as_real(spectrum).pow(2).sum(-1).add(1e-6).sqrt().transpose(1, 2)
        mask = torch.sigmoid(self.mask(self.recurrent(torch.log1p(size))[0])).transpose(1, 2)
        return torch.istft(spectrum * mask, 128, 64, window=self.window, length=x.shape[1])


class Conformer(nn.Module):
    """Conformer's block (Gulati et al. 2020): feed-forward halves, attention, depthwise convolution, GLU."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 96), nn.SiLU(), nn.Linear(96, width))
            for _ in range(2)
        )
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm2, self.wide = nn.LayerNorm(width), nn.Conv1d(width, 2 * width, 1)
        self.deep = nn.Sequential(
            nn.Conv1d(width, width, 15, padding=7, groups=width),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
        )
        self.last = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[N,T,48] -> the same shape; no frame looks ahead."""
        x = x + 0.5 * self.first(x)
        y = self.norm(x)
        ahead = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        x = x + self.attention(y, y, y, attn_mask=ahead, need_weights=False)[0]
        x = x + self.deep(functional.glu(self.wide(self.norm2(x).transpose(1, 2)), 1)).transpose(1, 2)
        return self.last(x + 0.5 * self.second(x))


class CausalTCN(nn.Module):
    """A WaveNet-like stack over a gesture's landmarks: dilated causal convolutions, gates, a last pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(24, 48, 3, dilation=2**i) for i in range(4))
        self.stem, self.last = nn.Conv1d(42, 24, 1), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        """[N,T,21,2] -> [N,5]."""
        x = x - x[:, :, :1]
        x = x / (x.norm(dim=-1, keepdim=True).amax(2, keepdim=True) + 1e-3)
        y = self.stem(x.flatten(2).transpose(1, 2))
        for index, layer in enumerate(self.layers):
            left, right = layer(functional.pad(y, (2 * 2**index, 0))).chunk(2, 1)
            y = y + torch.tanh(left) * torch.sigmoid(right)
        return functional.log_softmax(self.last(y[..., -1]), -1)


def nets() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Name, net and example inputs."""
    yield "demucs", Demucs(), (torch.randn(1, 1, 512),)
    yield "spectral_denoiser", SpectralDenoiser(), (torch.randn(1, 1024),)
    yield "conformer", Conformer(), (torch.randn(1, 40, 48),)
    yield "causal_tcn", CausalTCN(), (torch.randn(1, 30, 21, 2),)
