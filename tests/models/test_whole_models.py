"""Small reference models from end to end: PyTorch against the package, on the host and on emulated ARM."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the reference models need PyTorch: pip install tiercast[torch]")

from benchmarks.parity import BOUND, compare

MODELS = ("landmark", "mobilenet_v3_small", "gesture_gru")
ARM = [
    pytest.param(target, marks=[pytest.mark.qemu(target), pytest.mark.slow], id=target)
    for target in ("linux-arm64", "linux-armv7")
]
pytestmark = pytest.mark.native


@pytest.mark.parametrize("target", ["host", *ARM])
@pytest.mark.parametrize("model", MODELS)
def test_a_package_computes_what_pytorch_does(model: str, target: str) -> None:
    parity = compare(model, target)
    assert not parity.failed
    assert parity.errors and max(parity.errors.values()) <= BOUND, parity.errors
