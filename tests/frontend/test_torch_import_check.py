"""What PyTorch's exporter changes is found: conversions are run beside eager PyTorch, at second sizes too."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from torch import Tensor, nn

from tiercast.errors import ModelError
from tiercast.frontend import load
from tiercast.frontend.torch import exporter

HEIGHT = torch.export.Dim("height", min=2, max=64)


class Enlarged(nn.Module):
    """Two inputs whose heights hang together."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2.0) + y


def program() -> torch.export.ExportedProgram:
    return torch.export.export(
        Enlarged(),
        (torch.rand(1, 3, 8, 8), torch.rand(1, 1, 16, 16)),
        dynamic_shapes=({2: HEIGHT}, {2: 2 * HEIGHT}),
    )


def spoil(monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    """Makes the exporter's result wrong, as `change` says."""
    right = exporter.to_onnx

    def wrong(*arguments: object) -> ir.Model:
        model = right(*arguments)  # type: ignore[arg-type]
        change(model)  # type: ignore[operator]
        return model

    monkeypatch.setattr(exporter, "to_onnx", wrong)


def test_dimensions_that_hang_together_are_fixed_together() -> None:
    model = load(program(), {"x": (1, 3, 12, 8), "y": (1, 1, 24, 16)})
    assert tuple(model.graph.outputs[0].shape or ()) == (1, 3, 24, 16)


def test_a_dimension_that_the_exporter_froze_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def freeze(model: ir.Model) -> None:
        resize = next(node for node in model.graph if node.op_type == "Resize")
        sizes = ir.Value(name="frozen", const_value=ir.tensor(np.array([1, 3, 16, 16])))
        model.graph.register_initializer(sizes)
        resize.replace_input_with(2, None)
        resize.resize_inputs(4)
        resize.replace_input_with(3, sizes)

    spoil(monkeypatch, freeze)
    with pytest.raises(ModelError, match=r"dimension 2 of input 'x' is dynamic.*x:1x3x9x8, y:1x1x18x16"):
        load(program(), {"x": (1, 3, 8, 8), "y": (1, 1, 16, 16)})


def test_what_the_exporter_loses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.op_type == "LeakyRelu")
        del node.attributes["alpha"]

    spoil(monkeypatch, lose)
    source = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.3)), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ModelError, match=r"input:1x3x8x8 output 0 has relative error"):
        load(source)
    assert load(source, check_import=False).graph.num_nodes() == 2


@pytest.mark.parametrize(("off", "allowed"), [(0.9, True), (1.5, False)])
def test_a_quantized_program_may_be_a_step_off_and_no_further(
    monkeypatch: pytest.MonkeyPatch, off: float, allowed: bool
) -> None:
    """Its output's step is 1/8."""
    ops = torch.ops.quantized_decomposed

    class Quantized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            whole = ops.quantize_per_tensor(torch.sin(x), 1 / 8, 3, -128, 127, torch.int8)
            return ops.dequantize_per_tensor(whole, 1 / 8, 3, -128, 127, torch.int8)

    def shift(model: ir.Model) -> None:
        node = next(item for item in model.graph if item.op_type == "Sin")
        moved = ir.Value(name="moved", shape=node.outputs[0].shape, type=node.outputs[0].type)
        amount = ir.Value(name="off", const_value=ir.tensor(np.float32(off / 8)))
        model.graph.register_initializer(amount)
        node.outputs[0].replace_all_uses_with(moved)
        model.graph.insert_after(node, [ir.Node("", "Add", [node.outputs[0], amount], outputs=[moved])])

    spoil(monkeypatch, shift)
    source = (Quantized(), (torch.linspace(-1, 1, 64).reshape(1, 64),))
    if allowed:
        load(source)
    else:
        with pytest.raises(ModelError, match="has an error of"):
            load(source)
