"""PyTorch's own samples of operators: some of each kind; `make torch-ops` runs them all."""

from __future__ import annotations

import pytest

from benchmarks.torch_op_db import Called, judge_operator, judge_sample

pytestmark = pytest.mark.native


@pytest.mark.parametrize(
    "name", ["nn.functional.conv2d", "nn.functional.avg_pool2d", "cat", "nn.functional.pixel_shuffle", "topk"]
)
def test_samples_are_right(name: str) -> None:
    outcomes = list(judge_operator(name, 1))
    assert [outcome.status for outcome in outcomes] == ["right"], outcomes


def test_refusals_have_a_reason_and_other_results_are_faults() -> None:
    import torch

    x = torch.rand(2, 3)
    refused = judge_sample("fft", Called(torch.fft.fft, (), {}, False), [x])
    assert refused.status == "refused" and refused.text
    calls = iter(range(100))
    wrong = judge_sample(
        "unsteady", Called(lambda x: x + (10 if next(calls) == 0 else 1), (), {}, False), [x]
    )
    assert wrong.status == "SILENT MISMATCH" and "relative error" in wrong.text
