"""Quantization-aware training: what is fake-quantized is what is converted, and what the engine computes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiercast
from tiercast.errors import UsageError

pytest.importorskip("torch")
pytest.importorskip("torchao")
if importlib.util.find_spec("tiercast._native") is None:
    pytest.skip("the runtime is not built", allow_module_level=True)

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchao.quantization.pt2e import FakeQuantize

from tiercast.frontend import load
from tiercast.ir.edit import array
from tiercast.package.file import read_facts
from tiercast.quantize.qat import (
    Distillation,
    QATConfig,
    QATModel,
    Trainer,
    calibrate,
    convert,
    prepare_qat,
)
from tiercast.quantize.qat.fakes import ActivationObserver, PerChannelWeightObserver

pytestmark = pytest.mark.native


class Net(nn.Module):
    """What our integer core has forms for: convolutions of all kinds, norms, tails, sums, gates, movers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU6(inplace=True)
        )
        self.point = nn.Sequential(
            nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )
        self.gate = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.up = nn.ConvTranspose2d(8, 6, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(12, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = x + self.point(self.depthwise(x))
        x = x * self.gate(functional.adaptive_avg_pool2d(x, 1))
        pooled = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1)), 2, 1)
        up = functional.leaky_relu(self.norm(self.up(pooled)), 0.1)
        both = torch.cat([up, functional.interpolate(up, scale_factor=1.0, mode="nearest")], 1)
        return self.head(both.mean((2, 3)))


def _trained(net: nn.Module) -> nn.Module:
    """Batch norms as training leaves them: statistics, scales and shifts of all kinds."""
    random = torch.Generator().manual_seed(3)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value, low, high in (
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.3, 2.0),
                (part.weight, 0.4, 1.6),
                (part.bias, -0.6, 0.6),
            ):
                value.data.uniform_(low, high, generator=random)
    return net.eval()


def _images(count: int, seed: int = 0, size: int = 24) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _prepared(net: nn.Module, images: Tensor, **config: Any) -> QATModel:
    prepared = prepare_qat(net, images[:1], QATConfig(**config))
    calibrate(prepared, images.split(4))
    return prepared


def _of_engine(converted: nn.Module, image: Tensor, folder: Path) -> tuple[np.ndarray, tiercast.Session]:
    package = tiercast.compile((converted, (image,)), target="host", output=folder / "net.tcpkg")
    session = tiercast.Session(package)
    (result,) = session.run({"image": image.numpy()}).values()
    return np.asarray(result), session


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, QATModel]:
    """The f32 net, and it after some steps of training: batches and sizes unlike the example's."""
    torch.manual_seed(0)
    net = _trained(Net())
    prepared = _prepared(net, _images(12), input_ranges={"image": (-1.0, 1.0)})
    optimizer = torch.optim.Adam(prepared.parameters(), 1e-3)
    trainer = Trainer(prepared, functional.mse_loss, optimizer, distillation=Distillation(net, weight=0.5))
    images = _images(6, 7, 32)
    with torch.no_grad():
        wanted = net(images)
    trainer.fit([(images, wanted)] * 5)
    return net, prepared


def _near(got: np.ndarray, fake: np.ndarray, step: float) -> None:
    """Equal but for rare sums that lie between two steps."""
    steps = np.abs(got - fake) / step
    assert steps.max() <= 1.01 and np.mean(steps > 0.01) <= 1e-3


def test_fake_quantized_converted_and_engine_agree(
    trained: tuple[nn.Module, QATModel], tmp_path: Path
) -> None:
    _, prepared = trained
    converted = convert(prepared)
    for seed in range(3):
        image = _images(1, seed)
        with torch.no_grad():
            fake = prepared(image).numpy()
            assert np.array_equal(fake, converted(image).numpy())
        engine, _ = _of_engine(converted, image, tmp_path)
        assert np.abs(engine - fake).max() <= 1e-5 * np.abs(fake).max()


def test_a_map_agrees_in_every_step(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = _trained(nn.Sequential(*Net().stem, nn.Conv2d(8, 4, 5, padding=2), nn.Sigmoid()))
    prepared = _prepared(net, _images(4), weight_bits=5)
    image = _images(1, 9, 24)
    with torch.no_grad():
        fake = prepared(image).numpy()
    package = tiercast.compile((convert(prepared), (image,)), output=tmp_path / "map.tcpkg")
    (engine,) = tiercast.Session(package).run({"input": image.numpy()}).values()
    (output,) = [item.activation_post_process for item in prepared.fakes() if "sigmoid" in _name(item)]
    _near(np.asarray(engine), fake, float(output.chosen_scale))


def test_nothing_is_left_between_integers(trained: tuple[nn.Module, QATModel]) -> None:
    report = tiercast.check((convert(trained[1]), (_images(1),)), "host")
    assert not [item for item in report.fallbacks if item.kind == "precision"], report.fallbacks


def test_an_exported_program_in_a_file_is_the_same(
    trained: tuple[nn.Module, QATModel], tmp_path: Path
) -> None:
    converted, image = convert(trained[1]), _images(1, 2)
    torch.export.save(torch.export.export(converted, (image,), strict=False), tmp_path / "net.pt2")
    package = tiercast.compile(tmp_path / "net.pt2", output=tmp_path / "file.tcpkg")
    (of_file,) = tiercast.Session(package).run({"image": image.numpy()}).values()
    assert np.array_equal(np.asarray(of_file), _of_engine(converted, image, tmp_path)[0])


def test_training_moves_weights_and_nothing_else(trained: tuple[nn.Module, QATModel]) -> None:
    net, prepared = trained
    torch.manual_seed(0)
    fresh = _prepared(_trained(Net()), _images(12), input_ranges={"image": (-1.0, 1.0)})
    for before, after in zip(fresh.fakes(), prepared.fakes(), strict=True):
        same = torch.equal(before.scale, after.scale)
        assert same == isinstance(after.activation_post_process, ActivationObserver)
    shifts = {name: value for name, value in prepared.named_buffers() if "running" in name}
    assert shifts and all(
        torch.equal(value, dict(fresh.named_buffers())[name]) for name, value in shifts.items()
    )
    again = _trained(Net()).state_dict()
    assert all(again[name].shape == value.shape for name, value in net.state_dict().items())
    torch.manual_seed(0)
    untouched = _trained(Net()).state_dict()
    assert all(torch.equal(untouched[name], value) for name, value in net.state_dict().items())


def test_scales_are_those_of_the_scheme(trained: tuple[nn.Module, QATModel]) -> None:
    fakes = {_name(item): item for item in trained[1].fakes()}
    image = fakes["image"]
    assert float(image.scale) == np.float32(2 / 255)
    weights = [
        item for item in fakes.values() if isinstance(item.activation_post_process, PerChannelWeightObserver)
    ]
    axes = sorted((item.ch_axis, item.scale.numel()) for item in weights)
    assert axes == [(0, 5), (0, 8), (0, 8), (0, 8), (0, 8), (1, 6)]
    for node in convert(trained[1]).graph.nodes:
        if "dequantize_per_channel" in node.name:
            assert node.args[4] == -127 and node.args[5] == 127


def test_biases_are_whole_steps_of_the_sums(trained: tuple[nn.Module, QATModel]) -> None:
    converted = convert(trained[1])
    products = [node for node in converted.graph.nodes if node.name in ("conv2d", "conv2d_2", "linear")]
    for node in products:
        x_scale = np.float32(node.args[0].args[1])
        scales = getattr(converted, node.args[1].args[1].target).numpy()
        whole = getattr(converted, node.args[2].target).detach().numpy() / (x_scale * scales)
        assert np.allclose(whole, np.rint(whole), rtol=1e-6, atol=1e-3) and np.abs(whole).max() > 100
    assert len(products) == 3


def test_what_is_joined_shares_its_scale() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, frame: Tensor, mask: Tensor) -> dict[str, Tensor]:
            x = self.conv(torch.cat([frame, mask * 2 - 1], 1))
            return {"mask": torch.sigmoid(functional.interpolate(x, scale_factor=2.0, mode="bilinear"))}

    example = {"frame": _images(1), "mask": torch.rand(1, 1, 24, 24)}
    inputs = {"frame": (-1.0, 1.0), "mask": (0.0, 1.0)}
    prepared = prepare_qat(Joined(), example, QATConfig(inputs, {"mask": (0.0, 1.0)}))
    calibrate(prepared, [{"frame": _images(2, 1), "mask": torch.rand(2, 1, 24, 24)}])
    assert set(prepared(**example)) == {"mask"}
    scales = {_name(item): float(item.scale[0]) for item in prepared.fakes()}
    assert scales["frame"] == scales["sub"] == scales["cat"] == np.float32(2 / 255)
    assert scales["conv2d"] == scales["upsample_bilinear2d"]
    assert scales["mask"] == scales["sigmoid"] == np.float32(1 / 255)


def test_a_piece_that_is_far_finer_keeps_its_scale(tmp_path: Path) -> None:
    """A skip of +-1 beside a value of +-20: others read it too, so a table brings it to the common scale."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(7, 4, 1)
            self.wide.weight.data *= 20

        def forward(self, image: Tensor) -> Tensor:
            return torch.relu(self.last(torch.cat([self.wide(image), image], 1)))

    torch.manual_seed(0)
    prepared = _prepared(Skip().eval(), _images(4), input_ranges={"image": (-1.0, 1.0)})
    scales = {_name(item): float(item.scale[0]) for item in prepared.fakes()}
    assert scales["image"] == np.float32(2 / 255) and scales["cat"] == scales["conv2d"] > 4 * scales["image"]
    image = _images(1, 3)
    engine, _ = _of_engine(convert(prepared), image, tmp_path)
    assert np.abs(engine - prepared(image).detach().numpy()).max() <= 1e-5 * np.abs(engine).max()


def test_training_rescues_weights_of_two_bits() -> None:
    torch.manual_seed(2)
    net = _trained(nn.Sequential(*Net().stem, nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)))
    prepared = _prepared(net, _images(12), weight_bits=2)
    images = _images(16, 11)
    with torch.no_grad():
        wanted = net(images)
        before = float(functional.mse_loss(prepared(images), wanted))
    optimizer = torch.optim.Adam(prepared.parameters(), 1e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    trainer = Trainer(prepared, functional.mse_loss, optimizer, scheduler=cosine, clip=1.0)
    losses = trainer.fit([(images, wanted)] * 80, steps=60)
    assert len(losses) == 60 and losses[-1] < 0.5 * before


def test_a_state_dict_brings_ranges_along(trained: tuple[nn.Module, QATModel]) -> None:
    net, prepared = trained
    other = prepare_qat(net, _images(1), prepared.config)
    other.load_state_dict(prepared.state_dict())
    image = _images(2, 4)
    with torch.no_grad():
        assert torch.equal(other(image), prepared(image))
        assert torch.equal(convert(other)(image), convert(prepared)(image))


def test_parts_can_stay_float() -> None:
    prepared = _prepared(_trained(Net()), _images(4), keep_float=("head", "gate.*"))
    names = {_name(item) for item in prepared.fakes()}
    assert "head.weight" not in names and not any("gate" in name for name in names) and len(names) > 10


@pytest.mark.parametrize("kind", ["mse", "kl"])
@pytest.mark.parametrize("channels", [1, 3])
def test_distillation_is_zero_where_nothing_is_to_learn(kind: str, channels: int) -> None:
    teacher = nn.Conv2d(3, channels, 1).eval()
    images = _images(2)
    taught = Distillation(teacher, kind=kind, temperature=2.0)
    outputs = teacher(images)
    assert float(taught.loss(outputs, images)) == pytest.approx(0, abs=1e-6)
    other = (outputs + torch.randn(outputs.shape)).detach().requires_grad_()
    loss = taught.loss(other, images)
    loss.backward()
    assert float(loss) > 0.01 and float(other.grad.abs().max()) > 0
    assert teacher.weight.grad is None


def test_kl_of_probabilities_is_kl_of_their_logits() -> None:
    teacher = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Sigmoid()).eval()
    images, student = _images(2), torch.randn(2, 1, 24, 24)
    whole = Distillation(teacher[0], kind="kl").loss(student, images)
    shares = Distillation(teacher, kind="kl", probabilities=True).loss(torch.sigmoid(student), images)
    assert float(whole) == pytest.approx(float(shares), rel=1e-4)


def test_what_xnnpack_quantized_keeps_its_parameters(tmp_path: Path) -> None:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    torch.manual_seed(0)
    net = _trained(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)))
    image = _images(1)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(net, (image,)).module(), quantizer)
    prepared(_images(1, 8))
    converted = convert_pt2e(prepared)
    theirs = {
        float(np.float32(node.args[1]))
        for node in converted.graph.nodes
        if "quantize_per_tensor" in node.name
    }
    package = tiercast.compile((converted, (image,)), output=tmp_path / "xnn.tcpkg")
    hub = load((converted, (image,)))
    ours = {float(array(node.inputs[1])) for node in hub.graph if node.op_type == "QuantizeLinear"}
    assert ours == theirs and len(theirs) == 3
    (engine,) = tiercast.Session(package).run({"input": image.numpy()}).values()
    with torch.no_grad():
        _near(np.asarray(engine), converted(image).numpy(), max(theirs))
    assert "integers" in read_facts(package)


def test_what_the_module_holds_fast_is_no_size_to_train_with() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, image: Tensor) -> Tensor:
            columns = int(image.shape[3])  # a constant from here on
            return self.conv(image) * (1.0 / columns)

    prepared = prepare_qat(Fixed(), _images(1))
    assert prepared(_images(5)[:, :, :16]).shape == (5, 4, 16, 24)
    with pytest.raises(UsageError, match=r"'image' is 1x3x24x16; .* \?x3x\?x24"):
        prepared(_images(1)[..., :16])


def test_examples_stay_as_they_were_and_batches_are_free() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, image: Tensor) -> Tensor:
            return functional.avg_pool2d(self.conv(image), image.shape[2] // 2).flatten(1)

    image = _images(1)
    prepared = prepare_qat(Pooled(), image)
    assert prepared(_images(5)).shape == (5, 16)
    assert not [name for name in vars(image) if "dynamo" in name]  # the user's tensors stay as they were


def test_users_errors_say_what_to_do(trained: tuple[nn.Module, QATModel]) -> None:
    image = _images(1)
    small = nn.Conv2d(3, 4, 1)
    with pytest.raises(UsageError, match="image"):
        prepare_qat(Net(), image, QATConfig(input_ranges={"picture": (0.0, 1.0)}))
    with pytest.raises(UsageError, match="nothing is to be trained"):
        prepare_qat(nn.Sequential(nn.Softmax(1)), image)
    with pytest.raises(UsageError, match="low < high"):
        QATConfig(input_ranges={"image": (1.0, -1.0)})
    with pytest.raises(UsageError, match="2 to 8"):
        QATConfig(weight_bits=9)
    with pytest.raises(UsageError, match="no batches"):
        calibrate(trained[1], [])
    fresh = prepare_qat(small, image)
    with pytest.raises(UsageError, match="call calibrate"):
        convert(fresh)
    with pytest.raises(UsageError, match="call calibrate"):
        Trainer(fresh, functional.mse_loss, torch.optim.SGD(fresh.parameters(), 1.0))
    with pytest.raises(UsageError, match="call its eval"):
        Distillation(nn.Dropout())
    with pytest.raises(UsageError, match="NaN"):
        calibrate(fresh, [image * float("nan")])


def test_the_room_is_entered_without_torch() -> None:
    code = "import sys, tiercast.quantize; sys.exit('torch' in sys.modules or 'torchao' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _name(fake: FakeQuantize) -> str:
    """The value that it quantizes, or the layer whose weight."""
    observer = fake.activation_post_process
    return str(observer.name)
