"""Nets that answer for every pixel, in the manner of the papers: encoders, pyramids, gates over channels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.zoo.liveliness import enliven
from benchmarks.zoo.subject import Made, Subject

if TYPE_CHECKING:
    import torch

_NAMES = ("unet", "deeplab", "pspnet", "bisenet", "fpn", "hourglass", "u2net")


def subjects() -> list[Subject]:
    """One of each shape, 3 channels of 96x96 in, 4 of classes out."""
    return [Subject(f"dense/{name}", partial(_made, name)) for name in _NAMES]


def _made(name: str, folder: Path) -> Made:
    import torch

    torch.manual_seed(0)
    net = _net(name)
    example = 2 * torch.rand((1, 3, 96, 96)) - 1
    enliven(net, example)
    return Made((net, (example,)), {"x": example.numpy()})


def _net(name: str) -> torch.nn.Module:
    """The net whose `forward` is the function `_<name>` over layers that it asks for by key."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict()
            self.building = True
            self.forward(torch.zeros(1, 3, 96, 96))
            self.building = False

        def conv(
            self, key: str, x: Any, out: int, kernel: int = 3, stride: int = 1, dilation: int = 1
        ) -> Any:
            """Convolution, batch norm and ReLU; made when first asked for."""
            if self.building:
                self.layers[key] = nn.Sequential(
                    nn.Conv2d(
                        x.shape[1], out, kernel, stride, dilation * (kernel // 2), dilation, bias=False
                    ),
                    nn.BatchNorm2d(out),
                    nn.ReLU(),
                ).eval()
            return self.layers[key](x)

        def last(self, x: Any, size: Any) -> Any:
            """Class scores at the size of the picture."""
            if self.building:
                self.layers["last"] = nn.Conv2d(x.shape[1], 4, 1)
            scores = self.layers["last"](x)
            return functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)

        def forward(self, x: Any) -> Any:
            return _FORWARDS[name](self, x)

    return Net()


def _up(x: Any, like: Any, mode: str = "nearest") -> Any:
    from torch.nn import functional

    return functional.interpolate(x, size=like.shape[2:], mode=mode)


def _encode(net: Any, x: Any, steps: int, width: int = 16) -> list[Any]:
    found = []
    for step in range(steps):
        x = net.conv(f"down{step}", x, width << min(step, 3), stride=2)
        found.append(x)
    return found


def _unet(net: Any, x: Any) -> Any:
    import torch

    sides = _encode(net, x, 4)
    y = sides.pop()
    while sides:
        side = sides.pop()
        y = net.conv(f"up{len(sides)}", torch.cat([_up(y, side), side], 1), side.shape[1])
    return net.last(y, x.shape[2:])


def _deeplab(net: Any, x: Any) -> Any:
    import torch

    low, *_, y = _encode(net, x, 4)
    parts = [net.conv("one", y, 32, 1), *(net.conv(f"rate{rate}", y, 32, dilation=rate) for rate in (2, 4))]
    parts.append(net.conv("image", y.mean((2, 3), keepdim=True), 32, 1).expand(-1, -1, *y.shape[2:]))
    y = _up(net.conv("joined", torch.cat(parts, 1), 32, 1), low, "bilinear")
    return net.last(net.conv("decoded", torch.cat([y, net.conv("low", low, 8, 1)], 1), 32), x.shape[2:])


def _pspnet(net: Any, x: Any) -> Any:
    import torch
    from torch.nn import functional

    y = _encode(net, x, 3)[-1]
    pools = [functional.adaptive_avg_pool2d(y, bins) for bins in (1, 2, 3, 6)]
    parts = [_up(net.conv(f"bin{i}", pool, 16, 1), y, "bilinear") for i, pool in enumerate(pools)]
    return net.last(net.conv("joined", torch.cat([y, *parts], 1), 32), x.shape[2:])


def _bisenet(net: Any, x: Any) -> Any:
    import torch

    detail = net.conv("detail1", net.conv("detail0", x, 16, 7, 2), 32, stride=2)
    context = _encode(net, x, 4)[-1]
    gate = torch.sigmoid(net.conv("gate", context.mean((2, 3), keepdim=True), context.shape[1], 1))
    both = net.conv("both", torch.cat([detail, _up(context * gate, detail, "bilinear")], 1), 64, 1)
    return net.last(both + both * torch.sigmoid(both.mean((2, 3), keepdim=True)), x.shape[2:])


def _fpn(net: Any, x: Any) -> Any:
    sides = _encode(net, x, 4)
    y = net.conv("top", sides[-1], 32, 1)
    levels = [y]
    for index, side in enumerate(reversed(sides[:-1])):
        y = net.conv(f"side{index}", side, 32, 1) + _up(y, side)
        levels.append(y)
    return net.last(sum(_up(level, y, "bilinear") for level in levels), x.shape[2:])


def _hourglass(net: Any, x: Any) -> Any:
    from torch.nn import functional

    def level(y: Any, depth: int) -> Any:
        inner = net.conv(f"in{depth}", functional.max_pool2d(y, 2), 24)
        if depth:
            inner = level(inner, depth - 1)
        return net.conv(f"skip{depth}", y, 24) + _up(net.conv(f"out{depth}", inner, 24), y)

    return net.last(level(net.conv("stem", x, 24, 7, 2), 3), x.shape[2:])


def _u2net(net: Any, x: Any) -> Any:
    import torch
    from torch.nn import functional

    def block(key: str, y: Any, depth: int) -> Any:
        first = net.conv(f"{key}_first", y, 16)
        sides = [net.conv(f"{key}_down0", first, 8)]
        for step in range(1, depth):
            pooled = functional.max_pool2d(sides[-1], 2, 2, ceil_mode=True)
            sides.append(net.conv(f"{key}_down{step}", pooled, 8))
        y = net.conv(f"{key}_bottom", sides[-1], 8, dilation=2)
        for step in reversed(range(depth)):
            y = net.conv(f"{key}_up{step}", torch.cat([_up(y, sides[step], "bilinear"), sides[step]], 1), 16)
            y = y[:, :8] if step else y
        return y + first

    wide = block("wide", x, 4)
    deep = block("deep", functional.max_pool2d(wide, 2, 2), 3)
    return net.last(block("again", torch.cat([wide, _up(deep, wide, "bilinear")], 1), 4), x.shape[2:])


_FORWARDS = {
    "unet": _unet,
    "deeplab": _deeplab,
    "pspnet": _pspnet,
    "bisenet": _bisenet,
    "fpn": _fpn,
    "hourglass": _hourglass,
    "u2net": _u2net,
}
