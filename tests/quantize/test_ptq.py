"""Post-training quantization: what runs on integers, how near it is, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import tiercast
from tests.quantize.float_models import Net, block_net, outlier_net
from tiercast.errors import UsageError
from tiercast.package.file import read_package
from tiercast.quantize.batches import read_data
from tiercast.quantize.graph import ports_of
from tiercast.quantize.islands import find_islands
from tiercast.quantize.measure import decibels, noise_to_signal, outputs_of
from tiercast.quantize.ptq import post_training
from tiercast.session import Session

pytestmark = pytest.mark.native


def engine_sqnr(done: object, folder: Path, samples: list[dict[str, np.ndarray]], exact: object) -> float:
    package = tiercast.compile(done.model, output=folder / "q.tcpkg")  # type: ignore[attr-defined]
    session = Session(package)
    return decibels(noise_to_signal(exact, [list(session.run(item).values()) for item in samples]))  # type: ignore[arg-type]


def test_a_mobile_block_runs_on_integers_throughout(tmp_path: Path) -> None:
    net, model = block_net()
    samples = net.samples()
    done = post_training(model, samples, tmp_path / "net.int8.onnx")
    assert not done.kept and {"stem", "depthwise", "squeeze", "project", "residual", "side", "head"} <= set(
        done.chosen
    )
    assert not find_islands(done.model)
    package = tiercast.compile(tmp_path / "net.int8.onnx", output=tmp_path / "net.tcpkg")
    plan = read_package(package)
    in_f32 = [step.op for step in plan.steps if "f32f32" in step.op]
    assert not in_f32 and sum("quantize_f32" in step.op for step in plan.steps) == 1
    assert engine_sqnr(done, tmp_path, samples, outputs_of(ir.from_proto(model), samples)) > 28


def test_the_engine_computes_what_the_qdq_model_says(tmp_path: Path) -> None:
    net, model = block_net()
    done = post_training(model, net.samples())
    fresh = net.samples(seed=9)
    assert engine_sqnr(done, tmp_path, fresh, outputs_of(done.model, fresh)) > 38


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
def test_every_method_works(method: str) -> None:
    net, model = block_net()
    done = post_training(model, net.samples(), method=method, equalize=False, correct_bias=False)
    assert done.calibrated.effects["plain"] > (12 if method == "entropy" else 25)


def test_an_interpolation_is_an_island_and_is_told() -> None:
    net = Net(image=(1, 3, 8, 8))
    y = net.op("Relu", net.conv("image", 3, 8, name="a"))
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    y = net.op("Resize", y, "", scales, mode="cubic", name="enlarge")
    done = post_training(net.model(net.conv(y, 8, 4, name="b")), net.samples())
    (island,) = find_islands(done.model)
    assert "Resize" in island.operators and island.left == 8 * 16 * 16


def test_f32_goes_out_where_nothing_on_integers_reads() -> None:
    net = Net(image=(1, 3, 8, 8))
    done = post_training(net.model(net.op("Sigmoid", net.conv("image", 3, 4, name="only"))), net.samples())
    assert done.chosen == ["only"] and "f32 only" in next(iter(done.kept.values()))
    assert sum(node.op_type == "QuantizeLinear" for node in done.model.graph) == 1


def test_a_relu_before_f32_limits_integers() -> None:
    """Behind f32 sums it would be a step of its own."""
    net = Net(image=(1, 3, 8, 8))
    done = post_training(net.model(net.op("Relu", net.conv("image", 3, 4, name="only"))), net.samples())
    assert [node.op_type for node in done.model.graph][-2:] == ["QuantizeLinear", "DequantizeLinear"]


def test_what_has_no_integer_form_is_kept_with_its_reason() -> None:
    net = Net(image=(1, 4, 8, 8))
    y = net.op("Relu", net.conv("image", 4, 4, name="a"))
    weight = net.const(net.weight(4, 2, 2, 2))
    y = net.op("ConvTranspose", y, weight, name="grouped", strides=[2, 2], group=2)
    done = post_training(net.model(net.conv(y, 4, 4, name="b")), net.samples())
    assert done.chosen == ["a", "b"] and "one group" in done.kept["grouped"]


def test_equalisation_helps_where_channels_differ_and_keeps_the_function() -> None:
    net = Net(1, image=(1, 3, 12, 12))
    weight = net.weight(8, 3, 3, 3) * np.array([1, 100, 1, 1, 80, 1, 1, 1], np.float32).reshape(-1, 1, 1, 1)
    reading = net.weight(8, 8, 3, 3)
    reading[:, [1, 4]] /= 90
    y = net.op("Relu", net.op("Conv", "image", net.const(weight), name="a", pads=[1] * 4))
    y = net.op("Relu", net.op("Conv", y, net.const(reading), name="b", pads=[1] * 4))
    model, samples = net.model(net.conv(y, 8, 2, name="c")), net.samples()
    done = post_training(model, samples, correct_bias=False)
    effects = done.calibrated.effects
    assert "a -> b" in done.calibrated.equalized and effects["equalized"] > effects["plain"] + 6
    exact, rescaled = (outputs_of(item, samples) for item in (ir.from_proto(model), done.calibrated.model))
    assert noise_to_signal(exact, rescaled) < 1e-9
    off = post_training(model, samples, equalize=False)
    assert not off.calibrated.equalized and "equalized" not in off.calibrated.effects


def test_bias_correction_takes_off_the_mean_error() -> None:
    net, model = block_net()
    samples = net.samples(16)
    runs = [post_training(model, samples, equalize=False, correct_bias=on) for on in (False, True)]
    exact = outputs_of(ir.from_proto(model), samples)

    def mean_error(done: object) -> float:
        got = outputs_of(done.model, samples)  # type: ignore[attr-defined]
        error = np.mean([a[0] - b[0] for a, b in zip(got, exact, strict=True)], axis=0)
        return float(np.abs(error.mean(axis=(0, 2, 3))).max())

    assert runs[1].corrected > 0 and runs[0].corrected == 0
    assert mean_error(runs[1]) < mean_error(runs[0])


def test_layers_in_f32_keep_their_biases() -> None:
    net, model = block_net()
    samples = net.samples()
    units = [unit.name for unit in post_training(model, samples, correct_bias=True).calibrated.units]
    done = post_training(model, samples, correct_bias=True, keep=units)
    assert not done.chosen
    exact = outputs_of(ir.from_proto(model), samples)
    assert noise_to_signal(exact, outputs_of(done.model, samples)) < 1e-9


def test_outlier_channels_break_plain_quantization() -> None:
    net, model = outlier_net()
    effects = post_training(model, net.samples()).calibrated.effects
    assert max(effects.values()) < 20


def test_the_package_tells_how_it_was_quantized(tmp_path: Path) -> None:
    net, model = block_net()
    tiercast.quantize.post_training(model, net.samples(), tmp_path / "q.onnx", method="minmax")
    facts = read_package(tiercast.compile(tmp_path / "q.onnx", output=tmp_path / "q.tcpkg")).facts
    assert facts["quantization method"].startswith("minmax")
    assert "4 samples" in facts["quantization calibration"] and "sha256" in facts["quantization calibration"]


def test_quantized_models_are_refused(tmp_path: Path) -> None:
    net, model = block_net()
    done = post_training(model, net.samples())
    with pytest.raises(UsageError, match="quantized already"):
        post_training(done.model, net.samples())


class TestCalibrationData:
    """What can't serve is refused with what is wrong."""

    @pytest.mark.parametrize(
        ("spoil", "rule"),
        [
            (lambda samples: samples.clear(), "no sample"),
            (lambda samples: samples[1]["image"].__setitem__((0, 0, 0, 0), np.nan), "sample 1.*NaN"),
            (lambda samples: [item["image"].fill(0.5) for item in samples], "constant"),
            (lambda samples: samples[0].update(other=np.zeros(1, np.float32)), "inputs are image"),
            (lambda samples: samples[0].update(image=np.zeros((1, 3, 4, 4), np.float32)), "the model takes"),
        ],
    )
    def test_refused(self, spoil: object, rule: str) -> None:
        net, model = block_net()
        samples = net.samples()
        spoil(samples)  # type: ignore[operator]
        with pytest.raises(UsageError, match=rule):
            post_training(model, samples)

    def test_a_value_that_never_changes_is_handled_and_told(self, tmp_path: Path) -> None:
        net = Net(image=(1, 3, 8, 8))
        dead = net.op(
            "Relu", net.op("Sub", net.op("Sigmoid", "image"), net.const(np.float32(2))), name="dead"
        )
        y = net.op("Concat", dead, net.op("Relu", net.conv("image", 3, 3, name="a")), axis=1)
        samples = net.samples()
        model = net.model(net.conv(y, 6, 2, name="b"))
        done = post_training(model, samples)
        assert any("dead was 0" in line for line in done.calibrated.notes)
        assert engine_sqnr(done, tmp_path, samples, outputs_of(ir.from_proto(model), samples)) > 30

    def test_files_and_folders(self, tmp_path: Path) -> None:
        net, model = block_net()
        ports = ports_of(ir.from_proto(model))
        samples = net.samples(3)
        stacked = np.concatenate([item["image"] for item in samples])
        np.savez(tmp_path / "all.npz", image=stacked, conv=np.zeros((3, 2, 8, 9), np.float32))
        (tmp_path / "folder").mkdir()
        (tmp_path / "named" / "image").mkdir(parents=True)
        for at, item in enumerate(samples):
            np.save(tmp_path / "folder" / f"{at}.npy", item["image"])
            np.save(tmp_path / "named" / "image" / f"{at}.npy", item["image"])
        found = [
            read_data(tmp_path / name, ports, ["conv"], (0, 1)) for name in ("all.npz", "folder", "named")
        ]
        assert len({item.sha256 for item in found}) == 1 and [len(item.batches) for item in found] == [
            3,
            3,
            3,
        ]
        assert found[0].truths[2]["conv"].shape == (1, 2, 8, 9)
        (tmp_path / "empty").mkdir()
        for name, rule in (("empty", "holds neither"), ("nowhere", "no such file")):
            with pytest.raises(UsageError, match=rule):
                read_data(tmp_path / name, ports, [], (0, 1))
