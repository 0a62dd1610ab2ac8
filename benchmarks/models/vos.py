"""Video object segmentation with a space-time memory (STCN, Cheng et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .entry import Entry, Inputs
from .layers import RESIDUAL_GAIN, conv_bn, upsample
from .pictures import camera_picture

KEY_CHANNELS, VALUE_CHANNELS = 64, 128
GRID, MEMORY_FRAMES = 16, 4  # a 256 picture at stride 16; frames held in memory


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(inputs, outputs, 3, stride, act=nn.ReLU),
            conv_bn(outputs, outputs, 3, act=None, gain=RESIDUAL_GAIN),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class Encoder(nn.Module):
    """ResNet-10-like: features at strides 4, 8 and 16."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(inputs, width, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1))
        self.at4 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.at8 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width))
        self.at16 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4 = self.at4(self.stem(x))
        f8 = self.at8(f4)
        return f4, f8, self.at16(f8)


class MemorySegmentation(nn.Module):
    """frame 1x3x256x256, mem_key 1x64xM, mem_val 1x128xM -> mask 1x1x256x256, key and value of the frame."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.key_encoder, self.value_encoder = Encoder(3, width), Encoder(4, width // 2)
        self.key = nn.Conv2d(4 * width, KEY_CHANNELS, 3, 1, 1)
        self.context = nn.Conv2d(4 * width, VALUE_CHANNELS, 3, 1, 1)
        self.value = conv_bn(4 * (width // 2) + 4 * width, VALUE_CHANNELS, 3, act=nn.ReLU)
        self.decode16 = BasicBlock(2 * VALUE_CHANNELS, 128)
        self.skip8, self.skip4 = nn.Conv2d(2 * width, 128, 3, 1, 1), nn.Conv2d(width, 64, 3, 1, 1)
        self.decode8, self.decode4 = BasicBlock(128, 64), BasicBlock(64, 64)
        self.mask = nn.Conv2d(64, 1, 3, 1, 1)

    def read(self, key: Tensor, mem_key: Tensor, mem_val: Tensor) -> Tensor:
        """Softmax over memory of the negative squared L2 distance (|query|^2 cancels): 1x128x16x16."""
        query = key.reshape(1, KEY_CHANNELS, GRID * GRID)
        norm = (mem_key * mem_key).sum(1).unsqueeze(2)
        affinity = (2 * torch.matmul(mem_key.transpose(1, 2), query) - norm) / KEY_CHANNELS**0.5
        return torch.matmul(mem_val, torch.softmax(affinity, 1)).reshape(1, VALUE_CHANNELS, GRID, GRID)

    def forward(self, frame: Tensor, mem_key: Tensor, mem_val: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4, f8, f16 = self.key_encoder(frame)
        key = self.key(f16)
        x = self.decode16(torch.cat([self.read(key, mem_key, mem_val), self.context(f16)], 1))
        x = self.decode8(upsample(x, 2) + self.skip8(f8))
        x = self.decode4(upsample(x, 2) + self.skip4(f4))
        mask = torch.sigmoid(upsample(self.mask(F.relu(x)), 4))
        _, _, v16 = self.value_encoder(torch.cat([frame, mask], 1))
        return mask, key, self.value(torch.cat([v16, f16], 1))


def _frame_and_memory(generator: Generator) -> Inputs:
    slots = MEMORY_FRAMES * GRID * GRID
    return {
        "frame": camera_picture((1, 3, 16 * GRID, 16 * GRID), generator),
        "mem_key": torch.randn(1, KEY_CHANNELS, slots, generator=generator),
        "mem_val": torch.randn(1, VALUE_CHANNELS, slots, generator=generator).relu(),
    }


MODELS = {"vos": Entry(MemorySegmentation, _frame_and_memory, ("mask", "key", "value"))}
