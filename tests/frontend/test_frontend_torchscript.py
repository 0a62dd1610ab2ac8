"""TorchScript files and modules: shapes come from --input, branches on data are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from tiercast.errors import ModelError, UsageError
from tiercast.frontend import load, reference


class Gated(nn.Module):
    """Loops, a branch on a shape, an optional input, a dict of results: what scripting keeps as code."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        x = image
        if x.size(2) > 4:
            x = self.drop(self.norm(self.conv(x)))
        for step in range(3):
            x = x * 0.5 + step
        if mask is not None:
            x = x * mask
        return {"full": x, "small": nn.functional.avg_pool2d(x, 2)}


class Branch(nn.Module):
    """One side of the `if` would be lost by recording."""

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            return x + 1
        return x - 1


class Until(nn.Module):
    """As often as the data says."""

    def forward(self, x: Tensor) -> Tensor:
        while bool(x.sum() < 100):
            x = x * 2
        return x


class Lookup(nn.Module):
    """Integers as input."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids)


def assert_same(model: ir.Model, source: object, inputs: dict[str, np.ndarray]) -> None:
    assert [value.name for value in model.graph.inputs] == list(inputs)
    got, expected = reference(model)[1](inputs), reference(source)[1](inputs)
    for left, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


@pytest.mark.parametrize(
    "make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(1, 3, 8, 8), strict=False)]
)
def test_a_file(tmp_path: Path, make: object) -> None:
    path = tmp_path / "net.pt"
    make(Gated().eval()).save(path)  # type: ignore[operator]
    image = np.random.default_rng(0).random((2, 3, 8, 6), np.float32)
    model = load(path, {"image": (2, 3, 8, 6)})
    assert [value.name for value in model.graph.outputs] == ["full", "small"]
    assert_same(model, path, {"image": image})


def test_a_module_in_memory_with_its_optional_input() -> None:
    script = torch.jit.script(Gated())
    inputs = {name: np.ones((1, depth, 8, 8), np.float32) for name, depth in (("image", 3), ("mask", 1))}
    model = load(script, {name: array.shape for name, array in inputs.items()})
    assert_same(model, script, inputs)
    assert script.training is False


def test_a_module_in_memory_with_example_inputs() -> None:
    script = torch.jit.script(Gated().eval())
    assert_same(load((script, torch.rand(1, 3, 4, 4))), script, {"image": np.ones((1, 3, 4, 4), np.float32)})


def test_element_types_are_given() -> None:
    script = torch.jit.script(Lookup())
    model = load(script, {"ids": (1, 5)}, dtypes={"ids": "s64"})
    assert_same(model, script, {"ids": np.arange(5, dtype=np.int64)[None]})
    with pytest.raises(ModelError, match=r"can't run the module on ids:\[1, 5\] torch.float32: .*Long"):
        load(script, {"ids": (1, 5)})


@pytest.mark.parametrize(("net", "line"), [(Branch(), "if bool"), (Until(), "while bool")])
def test_a_branch_or_loop_on_data_is_refused(
    net: nn.Module, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=rf"depends on input data, at File .*: {line}"):
        load(torch.jit.script(net), {"x": (2,)})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"those of image, e.g. --input image:1x3x256x256"),
        ({"picture": (1,)}, r"no input 'picture'.*image, mask"),
    ],
)
def test_shapes_that_are_missing_or_wrong(inputs: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(torch.jit.script(Gated()), inputs)


def test_arguments_that_are_no_tensors() -> None:
    class Listed(nn.Module):
        def forward(self, xs: list[Tensor]) -> Tensor:
            return torch.cat(xs)

    with pytest.raises(ModelError, match=r"'xs' is a List\[Tensor\]"):
        load(torch.jit.script(Listed()), {"xs": (1,)})


def test_files_without_a_graph(tmp_path: Path) -> None:
    net = Gated()
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    torch.save(net, tmp_path / "object.pth")
    (tmp_path / "damaged.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    for name, message in (
        ("weights.pth", "weights .7 tensors. and no graph"),
        ("object.pth", "pickled Python object"),
        ("damaged.pt", "cut short"),
    ):
        with pytest.raises(ModelError, match=message):
            load(tmp_path / name)
