"""Gesture recognition: convolutional features of 16 small frames, then a two-layer GRU or LSTM."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .entry import Entry
from .layers import DepthwiseSeparable, conv_bn
from .pictures import one_picture

FRAMES, FEATURES, HIDDEN, CLASSES = 16, 96, 128, 14


class Gesture(nn.Module):
    """clip 16x3x64x64 (time on the batch axis) -> logits 16x14."""

    def __init__(self, cell: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        act = nn.ReLU
        self.features = nn.Sequential(
            conv_bn(3, 16, 3, 2, act=act), DepthwiseSeparable(16, 32),
            conv_bn(32, 32, 3, 2, groups=32, act=act), conv_bn(32, 64, 1, act=act),
            conv_bn(64, 64, 3, 2, groups=64, act=act), conv_bn(64, FEATURES, 1, act=act),
        )  # fmt: skip
        self.recurrent = cell(FEATURES, HIDDEN, 2)
        self.classifier = nn.Linear(HIDDEN, CLASSES)

    def forward(self, clip: Tensor) -> Tensor:
        steps = F.adaptive_avg_pool2d(self.features(clip), 1).reshape(FRAMES, 1, FEATURES)
        states, _ = self.recurrent(steps)
        return self.classifier(states.reshape(FRAMES, HIDDEN))


_CLIP = one_picture("clip", FRAMES, 3, 64, 64)
MODELS = {
    "gesture_gru": Entry(lambda: Gesture(nn.GRU), _CLIP, ("logits",)),
    "gesture_lstm": Entry(lambda: Gesture(nn.LSTM), _CLIP, ("logits",)),
}
