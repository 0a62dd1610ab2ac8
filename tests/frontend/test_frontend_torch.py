"""PyTorch programs reach the hub form by every road, under the names of their forward's parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from tiercast.errors import ModelError, UsageError
from tiercast.frontend import load
from tiercast.ir.spec import check


class Small(nn.Module):
    """Two named inputs, batch norm and dropout (which evaluation mode makes constant and void)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.drop(torch.relu(self.norm(self.conv(image)))) * mask


EXAMPLE = {"image": torch.randn(1, 3, 8, 8), "mask": torch.rand(1, 1, 8, 8)}
FACTORY = """
import torch
from companion import WIDTH

def make():
    return torch.nn.Linear(WIDTH, 2), (torch.zeros(1, WIDTH),)

def wrong():
    return 3

number = 5
"""


def outputs(model: ir.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def assert_same(model: ir.Model) -> None:
    check(model, "imported")
    assert [port.name for port in model.graph.inputs] == ["image", "mask"]
    expected = Small().eval()(**EXAMPLE).detach().numpy()
    np.testing.assert_allclose(
        outputs(model, {k: v.numpy() for k, v in EXAMPLE.items()}), expected, atol=1e-5
    )


def test_a_module_with_named_example_inputs() -> None:
    assert_same(load((Small(), EXAMPLE)))


def test_a_module_with_example_inputs_in_order() -> None:
    assert_same(load((Small(), tuple(EXAMPLE.values()))))


def test_a_dict_names_the_outputs_in_its_order() -> None:
    class Named(Small):
        def forward(self, image: Tensor, mask: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            return {"soft": super().forward(image, mask), "hard": mask > 0.5}

    model = load((Named(), EXAMPLE))
    assert [value.name for value in model.graph.outputs] == ["soft", "hard"]


def test_an_exported_program_and_its_file(tmp_path: Path) -> None:
    program = torch.export.export(Small().eval(), (), EXAMPLE)
    assert_same(load(program))
    torch.export.save(program, tmp_path / "small.pt2")
    assert_same(load(tmp_path / "small.pt2"))


def test_dynamic_dimensions_are_fixed_by_input() -> None:
    size = torch.export.Dim("size", min=4, max=64)
    program = torch.export.export(
        nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), (torch.randn(1, 3, 8, 8),), dynamic_shapes=({2: size},)
    )
    with pytest.raises(ModelError, match="--input input:1x3x"):
        load(program)
    model = load(program, {"input": (1, 3, 12, 8)})
    assert tuple(model.graph.outputs[0].shape or ()) == (1, 4, 10, 6)


def test_a_factory_in_a_file_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "factory_file.py").write_text(FACTORY)
    (tmp_path / "companion.py").write_text("WIDTH = 4\n")
    model = load(f"{tmp_path}/factory_file.py:make")
    assert tuple(model.graph.inputs[0].shape or ()) == (1, 4)
    with pytest.raises(UsageError, match="returned a int"):
        load(f"{tmp_path}/factory_file.py:wrong")
    with pytest.raises(UsageError, match="no function 'absent'"):
        load(f"{tmp_path}/factory_file.py:absent")


def test_a_factory_in_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "factory_module.py").write_text(FACTORY.replace("from companion import WIDTH", "WIDTH = 4"))
    monkeypatch.chdir(tmp_path)
    assert load("factory_module:make").graph.num_nodes() == 1


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        ("nowhere:make", UsageError, "'nowhere' can't be imported"),
        ("absent.pt2", ModelError, "there is no file"),
        ("absent.pth", ModelError, "there is no file"),
    ],
)
def test_sources_that_can_not_be_read(source: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        load(source)


def test_a_damaged_program_file(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match="cut short"):
        load(path)


def test_a_branch_on_data_is_refused() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(ModelError, match=r"torch\.export refuses"):
        load((Branch(), (torch.ones(2),)))


class Pool(nn.Module):
    """An average whose divisor PyTorch's exporter loses."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, **self.options)


class WindowAttention(nn.Module):
    """Attention with windows beside the batch, which PyTorch's exporter refuses; windows share a bias."""

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x * 0.5, x + 1, bias)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "step", "zeros"), [(2, 2, 1), (3, 2, 0), (6, 6, 3), (3, 4, 1)])
def test_what_the_exporter_loses_is_said_in_other_words(
    ceil_mode: bool, kernel: int, step: int, zeros: int
) -> None:
    x = torch.rand(1, 3, 9, 12)
    net = Pool(kernel_size=kernel, stride=step, padding=zeros, ceil_mode=ceil_mode, divisor_override=5)
    model = load((net, (x,)), check_import=False)
    np.testing.assert_allclose(outputs(model, {"x": x.numpy()}), net(x).numpy(), atol=1e-6)


REFUSED = {
    "hstack": lambda x: torch.hstack([x, x * 2]),
    "vstack": lambda x: torch.vstack([x[0, 0, 0], x[0, 0, 1]]),
    "amax of all": torch.amax,
    "aminmax": lambda x: torch.cat([item.reshape(1) for item in torch.aminmax(x)]),
    "aminmax of an axis": lambda x: torch.stack(torch.aminmax(x, dim=1)),
    "stable sort": lambda x: torch.sort(torch.round(x), dim=3, stable=True, descending=True)[1].float(),
    "scatter that adds": lambda x: x.scatter(2, torch.tensor([[[[0, 4, 4]]]]), x[..., :3], reduce="add"),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "adaptive max pool": lambda x: torch.cat(
        [item.float() for item in nn.functional.adaptive_max_pool2d(x, (2, 3), return_indices=True)]
    ),
    "attention of three axes": lambda x: nn.functional.scaled_dot_product_attention(x[0], x[0] + 1, x[0]),
    "attention of three and four axes": lambda x: nn.functional.scaled_dot_product_attention(x[0], x, x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_exporter_refuses_is_said_in_other_words(name: str) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return REFUSED[name](x)

    x = 3 * torch.randn(2, 3, 5, 7)
    model = load((Net(), (x,)), check_import=False)
    np.testing.assert_allclose(outputs(model, {"x": x.numpy()}), REFUSED[name](x).numpy(), atol=1e-5)


@pytest.mark.parametrize("bias", [(4, 4), (2, 4, 4), (3, 2, 4, 4), (1, 3, 2, 4, 4)])
def test_attention_of_any_rank(bias: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    example = {"x": torch.randn(2, 3, 2, 4, 8), "bias": torch.randn(bias)}
    model = load((WindowAttention(), example))
    expected = WindowAttention()(**example).numpy()
    np.testing.assert_allclose(
        outputs(model, {name: tensor.numpy() for name, tensor in example.items()}), expected, atol=1e-5
    )


@pytest.mark.parametrize("steps", [3, 7])
def test_recurrent_layers_keep_their_time_steps(steps: int) -> None:
    """PyTorch's exporter once wrote GRU with linear_before_reset=0 and froze time; both would show here."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.gru = nn.GRU(4, 5, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x)[0]

    net, x = Net().eval(), torch.randn(steps, 1, 4)
    model = load((net, (x,)))
    np.testing.assert_allclose(outputs(model, {"x": x.numpy()}), net(x).detach().numpy(), atol=1e-5)


def test_spectra_go_back_to_signals() -> None:
    """PyTorch's exporter scatters istft's frames by indices of 32 bits, which ONNX does not know."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            spectrum = torch.stft(x, 16, 8, window=torch.hann_window(16), return_complex=True)
            return torch.istft(spectrum * 2, 16, 8, window=torch.hann_window(16), length=64)

    x = torch.randn(1, 64)
    np.testing.assert_allclose(outputs(load((Net(), (x,))), {"x": x.numpy()}), 2 * x.numpy(), atol=1e-5)


def test_aligned_corners_are_those_of_whole_pixels() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(x, scale_factor=1.7, mode="bilinear", align_corners=True)

    resize = load((Net(), (torch.randn(1, 2, 4, 4),))).graph[0]
    sizes = resize.inputs[3]
    assert resize.inputs[2] is None and sizes is not None and sizes.const_value is not None
    assert sizes.const_value.numpy().tolist() == [1, 2, 6, 6]


def test_group_norm_of_a_part_has_a_shape() -> None:
    """onnx's shape inference gives up on it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.GroupNorm(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            first, second = torch.split(x, [4, 4], 1)
            return torch.cat([self.norm(first), second], 1)

    check(load((Net().eval(), (torch.randn(1, 8, 3, 3),))), "simplified")


def test_compiling_onnx_does_not_import_torch() -> None:
    code = (
        "import sys, onnx.parser\n"
        "from tiercast.pipeline import compile_plan\n"
        "text = '<ir_version: 9, opset_import: [\"\": 23]> g (float[2] x) => (float[2] y) { y = Relu(x) }'\n"
        "compile_plan(onnx.parser.parse_model(text))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
