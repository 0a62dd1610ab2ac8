"""Random weights under which every part of a PyTorch net matters: an untrained one hides most of itself.

Initial batch norms are the identity, residual branches and layer scales start at zero, and activations shrink
or grow layer by layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def enliven(net: torch.nn.Module, example: torch.Tensor, seed: int = 0) -> torch.nn.Module:
    """The net in evaluation mode, its constant parameters drawn anew, its batch norms' statistics measured.

    example: [N, ...] an input; the statistics are of random inputs of its shape, four at a time.
    """
    import torch

    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.numel() == 0 or (parameter.numel() > 1 and parameter.std() > 0):
                continue
            if name.endswith("bias"):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=random))
            elif parameter.flatten()[0] > 0.5:  # a scale that is one
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=random))
            else:  # a scale or an embedding that is next to nothing
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
        net.eval()
        norms = [item for item in net.modules() if isinstance(item, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        if norms:
            net(torch.randn((4, *example.shape[1:]), generator=random))
    return net.eval()
