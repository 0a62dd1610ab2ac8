"""The reference models are what the tables say: seeded, of the stated cost, exported faithfully."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from benchmarks.models import export_onnx, zoo  # noqa: E402

MACS_M = {
    "mobilenet_v2": 301, "mobilenet_v3_small": 57, "stories_seg_256": 504, "stories_seg_512": 2015,
    "inpaint": 5441, "portrait_seg": 523, "landmark": 274, "face_embed": 221, "cartoon": 4914,
    "vos": 1515, "gesture_gru": 37,
    "gesture_lstm": 38,
}  # fmt: skip
SMALL = ["mobilenet_v3_small", "landmark", "face_embed", "gesture_gru", "gesture_lstm"]


def test_registry_is_the_twelve() -> None:
    assert zoo.names() == list(MACS_M)
    with pytest.raises(ValueError, match="mobilenet_v9"):
        zoo.build("mobilenet_v9")


@pytest.mark.parametrize("name", MACS_M)
def test_macs_are_those_of_the_field(name: str) -> None:
    assert zoo.macs(name) / 1e6 == pytest.approx(MACS_M[name], rel=0.15)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "inpaint", "gesture_lstm"])
def test_building_twice_gives_the_same_model(name: str) -> None:
    torch.manual_seed(1)
    module, inputs = zoo.build(name)
    torch.manual_seed(2)
    again, same_inputs = getattr(zoo, name)()
    assert all(
        torch.equal(a, b)
        for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert list(inputs) == list(same_inputs)
    assert all(torch.equal(inputs[key], same_inputs[key]) for key in inputs)


@pytest.mark.parametrize("name", ["stories_seg_256", "inpaint", "cartoon", "vos"])
def test_rounding_is_not_amplified(name: str) -> None:
    module, inputs = zoo.build(name)
    with torch.no_grad():
        single = module(*inputs.values())
        double = module.double()(*[value.double() for value in inputs.values()])
    for a, b in zip(_tuple(single), _tuple(double), strict=True):
        assert ((a - b).abs().max() / b.abs().max()).item() < 2e-5


@pytest.mark.parametrize("name", SMALL)
def test_onnx_export_agrees_with_torch(name: str) -> None:
    module, inputs = zoo.build(name)
    with torch.no_grad():
        expected = _tuple(module(*inputs.values()))
    session = onnxruntime.InferenceSession(export_onnx.onnx_path(name), providers=["CPUExecutionProvider"])
    got = session.run(list(zoo.ENTRIES[name].outputs), {key: value.numpy() for key, value in inputs.items()})
    for a, b in zip(got, expected, strict=True):
        assert np.abs(a - b.numpy()).max() / np.abs(b.numpy()).max() <= 1e-4


def _tuple(outputs: object) -> tuple:
    return outputs if isinstance(outputs, tuple) else (outputs,)
