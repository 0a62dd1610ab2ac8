"""verify: parity holds for a good package, and a bad one is traced to its first wrong step."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from tiny_model import tiny_model

import tiercast
from tiercast.errors import UsageError
from tiercast.package.file import read_package, write_package
from tiercast.parity import difference, verify
from tiercast.pipeline import compile_plan

SHAPES = {"image": (1, 3, 16, 16)}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model's package for this machine."""
    return tiercast.compile(
        tiny_model(), output=tmp_path_factory.mktemp("verify") / "tiny.tcpkg", inputs=SHAPES
    )


def corrupt(package: Path, step_number: int, output: Path) -> Path:
    """A copy of the package, checksums right, with one weight of a step changed."""
    plan = read_package(package)
    weights = next(
        plan.tensors[index]
        for index in plan.steps[step_number].inputs
        if index >= 0 and plan.tensors[index].place == "weights"
    )
    data = bytearray(plan.weights)
    values = np.frombuffer(data, np.float32)
    values[weights.offset // 4] += 0.5
    plan.weights = bytes(data)
    return write_package(plan, output)


@pytest.mark.native
def test_a_good_package_agrees_on_any_seed(package: Path) -> None:
    for seed in range(3):
        report = verify(tiny_model(), package, seed=seed)
        assert report.ok and report.first_wrong is None
        assert report.outputs[0].name == "mask" and report.outputs[0].shape == (1, 4, 8, 8)


@pytest.mark.native
def test_another_model_is_named_as_the_reason(package: Path) -> None:
    other = onnx.helper.make_model(
        onnx.parser.parse_graph("other (float[1,2] a) => (float[1,2] b) { b = Relu(a) }"),
        opset_imports=[onnx.helper.make_opsetid("", 23)],
        ir_version=10,
    )
    with pytest.raises(UsageError, match="is it the model of"):
        verify(other, package)


@pytest.mark.native
def test_a_wrong_weight_is_found_at_its_step(package: Path, tmp_path: Path) -> None:
    plan = read_package(package)
    convolutions = [number for number, step in enumerate(plan.steps) if step.op.startswith("conv2d")]
    assert len(convolutions) == 3
    for number in convolutions:
        report = verify(tiny_model(), corrupt(package, number, tmp_path / "bad.tcpkg"))
        assert not report.ok and report.first_wrong is not None
        assert report.first_wrong.index == number, str(report.first_wrong)
        computed = [item.difference for item in report.first_wrong.inputs if item.difference is not None]
        assert computed and all(item.within(1e-4) for item in computed)  # what went in was still right


@pytest.mark.native
@pytest.mark.qemu("linux-arm64")
def test_a_wrong_weight_is_found_on_an_emulated_target(tmp_path: Path) -> None:
    arm = tiercast.compile(tiny_model(), "linux-arm64", tmp_path / "arm.tcpkg", SHAPES)
    assert verify(tiny_model(), arm, cpu="cortex-a53").ok
    plan = read_package(arm)
    number = max(number for number, step in enumerate(plan.steps) if step.op.startswith("conv2d"))
    report = verify(tiny_model(), corrupt(arm, number, tmp_path / "bad.tcpkg"), cpu="cortex-a76")
    assert report.first_wrong is not None and report.first_wrong.index == number


@pytest.mark.native
def test_a_torch_module_is_judged_by_eager_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class TwoInputs(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, image, scale):  # type: ignore[no-untyped-def]
            x = torch.relu(self.conv(image))
            return x * scale, x.mean((2, 3))

    torch.manual_seed(0)
    module = TwoInputs().eval()
    image, scale = torch.rand(1, 3, 12, 10), torch.rand(1, 4, 1, 1)
    for example in ((image, scale), {"scale": scale, "image": image}):
        source = (module, example)
        package = tiercast.compile(source, output=tmp_path / "two.tcpkg")
        report = verify(source, package)
        assert report.ok and report.reference == "PyTorch eager" and len(report.outputs) == 2


@pytest.mark.native
def test_another_model_is_refused(package: Path) -> None:
    other = tiny_model()
    other.graph.output.append(other.graph.value_info.add())
    other.graph.output[-1].CopyFrom(other.graph.output[0])
    other.graph.output[-1].name = "c1"
    with pytest.raises(UsageError, match="is it the model of this package"):
        verify(other, package)
    with pytest.raises(UsageError, match="no input 'frame'"):
        verify(tiny_model(), package, {"frame": np.zeros(1, np.float32)})


def test_difference_counts_what_is_not_finite_apart() -> None:
    reference = np.array([1.0, np.nan, np.inf, -4.0], np.float32)
    same = difference(reference, reference)
    assert same.nonfinite == 0 and same.max_rel_error == 0 and same.within(0)
    found = difference(np.array([1.5, 0.0, -np.inf, -4.0], np.float32), reference)
    assert found.nonfinite == 2 and found.max_abs_error == 0.5 and found.max_rel_error == 0.125
    assert not found.within(1)
    assert not difference(np.zeros(3), np.zeros(4)).within(1e9)


def test_the_plan_of_a_target_needs_no_native_build() -> None:
    plan = compile_plan(tiny_model(), "linux-arm64", SHAPES).plan
    assert any("neon" in step.kernel for step in plan.steps)


def test_no_module_takes_the_place_of_a_public_function() -> None:
    """A submodule called `verify` once replaced the function as soon as somebody imported it."""
    folders = {info.name for info in pkgutil.iter_modules(tiercast.__path__)}
    assert not folders & (set(tiercast.__all__) - {"__version__"})
