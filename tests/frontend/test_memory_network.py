"""The memory read of STCN and XMem, as their PyTorch code writes it, becomes one step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiercast
from tiercast.pipeline import compile_plan

TOP = 20


def softmax(values: Tensor) -> Tensor:
    return values.softmax(dim=1)


def xmem(values: Tensor) -> Tensor:
    weights = values.exp_()
    weights /= torch.sum(weights, dim=1, keepdim=True)
    return weights


def stcn(values: Tensor) -> Tensor:
    weights = torch.exp(values - values[:, 0])
    weights /= torch.sum(weights, dim=1, keepdim=True)
    return weights


class Memory(nn.Module):
    """Keys [1,C,S] and queries [1,C,L] are compared by their distance; values [1,E,S]."""

    def __init__(self, weigh) -> None:
        super().__init__()
        self.weigh = weigh

    def forward(self, keys: Tensor, queries: Tensor, memory: Tensor) -> Tensor:
        squares = keys.pow(2).sum(1).unsqueeze(2)
        affinity = (-squares + 2 * (keys.transpose(1, 2) @ queries)) / keys.shape[1] ** 0.5
        values, indices = torch.topk(affinity, k=TOP, dim=1)
        affinity = torch.zeros_like(affinity).scatter_(1, indices, self.weigh(values))
        return torch.bmm(memory, affinity)


@pytest.mark.native
@pytest.mark.parametrize("weigh", [softmax, xmem, stcn])
def test_a_memory_read_is_one_step(weigh, tmp_path: Path) -> None:
    torch.manual_seed(0)
    example = (torch.randn(1, 16, 700), torch.randn(1, 16, 45), torch.randn(1, 70, 700))
    program = torch.export.export(Memory(weigh).eval(), example)
    kernels = [step.kernel for step in compile_plan(program).plan.steps]
    assert not any(name.startswith(("topk", "scatter", "softmax", "matmul")) for name in kernels)
    session = tiercast.Session(tiercast.compile(program, output=tmp_path / "m.tcpkg"))
    names = ("keys", "queries", "memory")
    feeds = {name: array.numpy() for name, array in zip(names, example, strict=True)}
    (found,) = session.run(feeds).values()
    np.testing.assert_allclose(found, Memory(weigh)(*example).numpy(), atol=2e-5)
