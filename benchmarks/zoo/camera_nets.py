"""Small nets of camera effects in the manner of their papers, seeded random weights; eager PyTorch judges."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.zoo.subject import Made, Subject

if TYPE_CHECKING:
    import torch

_NETS = {
    "matting": ("rvm", "modnet", "bisenet_v2"),
    "faces": ("blazeface", "pfld", "mobilefacenet", "gfpgan", "gfpgan_pair", "first_order_motion"),
    "restoration": (
        *("nafnet", "lama", "hdrnet", "colour_tables", "zero_dce"),
        *("raw_denoiser", "restormer", "style_transfer", "codeformer"),
    ),
    "motion": ("rife", "pwc_net", "raft", "x3d", "temporal_shift"),
    "detection": ("yolox", "nanodet", "heatmap_pose"),
    "sound": ("demucs", "spectral_denoiser", "conformer", "causal_tcn"),
}


def subjects() -> list[Subject]:
    """All of them, task by task."""
    return [
        Subject(f"camera/{name}", partial(_made, task, name))
        for task, names in _NETS.items()
        for name in names
    ]


def _made(task: str, name: str, folder: Path) -> Made:
    import torch

    del folder
    torch.manual_seed(0)
    net, example = _find(task, name)
    _draw_statistics(net)
    with torch.no_grad():
        made = net.eval()(*example)
    results = made if isinstance(made, tuple) else (made,)
    names = net.forward.__code__.co_varnames[1 : 1 + len(example)]
    inputs = {port: array.numpy() for port, array in zip(names, example, strict=True)}
    return Made((net, example), inputs, [item.numpy() for item in results])


def _find(task: str, name: str) -> tuple[torch.nn.Module, tuple[Any, ...]]:
    nets = importlib.import_module(f"benchmarks.zoo.camera.{task}").nets()
    return next((net, example) for key, net, example in nets if key == name)


def _draw_statistics(net: torch.nn.Module) -> None:
    """Batch norms that do something, and scales of residual branches that are not zero."""
    import torch

    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            module.running_var.uniform_(0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.3)
