"""Partial s8 under a contract: rescue of a model that plain quantization breaks, terms that can't be met,
evidence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import tiercast
from tests.quantize.float_models import block_net, outlier_net
from tiercast.cli import call
from tiercast.errors import ContractError, UsageError
from tiercast.package.file import read_package
from tiercast.quantize.agreement import Contract
from tiercast.quantize.contract import FACT, required, summary, under_contract
from tiercast.quantize.evidence import contract_facts, render_evidence
from tiercast.quantize.remeasure import remeasure

pytestmark = pytest.mark.native
QUICK = {"seconds": 0.05}


@pytest.fixture(scope="module")
def rescued() -> Contract:
    """The outlier net, whose outputs may differ by 3 %; on integers throughout they differ by more than 10
    %."""
    net, model = outlier_net()
    return under_contract(model, net.samples(8), max_drop="3%", **QUICK)


def test_a_model_that_plain_quantization_breaks_is_rescued(rescued: Contract) -> None:
    assert max(rescued.calibrated.effects.values()) < 20  # 10 %
    best = required(rescued)
    assert best.drop <= 0.03 and best.value > 30
    assert {"outliers", "reader"} & {name for layer in rescued.kept for name in layer.names}


def test_the_report_names_the_layers(rescued: Contract) -> None:
    facts = contract_facts(rescued)
    worst = min(facts["layers"], key=lambda item: item["sqnr_db"])
    assert worst["name"] in ("outliers", "reader") and worst["name"] in facts["f32_layers"]
    assert worst["precision"] == "f32" and worst["reason"]
    page = render_evidence(rescued, "outlier.onnx")
    assert "<svg" in page and worst["name"] in page and "http" not in page and "nan" not in page.lower()


def test_the_package_keeps_the_contract_and_it_is_measured_again(rescued: Contract, tmp_path: Path) -> None:
    net, model = outlier_net()
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "eval.npz", image=np.concatenate([item["image"] for item in net.samples(8)]))
    package = tiercast.compile(required(rescued).quantized.model, output=tmp_path / "net.tcpkg")
    kept = json.loads(read_package(package).facts[FACT])
    assert kept == json.loads(json.dumps(summary(rescued))) and kept["max_drop"] == "3%"
    again = remeasure(tmp_path / "net.onnx", package, tmp_path / "eval.npz")
    assert again.ok and again.same_data and again.value == pytest.approx(kept["s8"], abs=0.5)
    words = ["verify", str(tmp_path / "net.onnx"), str(package), "--eval", str(tmp_path / "eval.npz")]
    assert call(words) == 0
    broken = tmp_path / "broken.npz"
    np.savez(broken, image=np.concatenate([item["image"] * 50 for item in net.samples(8)]))
    assert call([*words[:-1], str(broken), "--json"]) == 1


def test_nothing_on_integers_is_slower_than_it_need_be(rescued: Contract) -> None:
    best = required(rescued)
    for at in rescued.problem.slower:
        assert not best.choice.integers[at]
    for at, on in enumerate(best.choice.integers):
        if on:  # with one layer less on integers it would cost more
            other = [item and place != at for place, item in enumerate(best.choice.integers)]
            assert rescued.problem.cost(other) >= best.choice.cost * (1 - 2e-3)


def test_terms_that_cannot_be_met_say_what_the_best_is() -> None:
    net, model = block_net()
    done = under_contract(model, net.samples(), max_drop="0.001%", size_ratio=0.2, **QUICK)
    assert done.best is None
    with pytest.raises(ContractError, match=r"no choice of layers meets drop at most 0.001%.*size"):
        required(done)


def test_a_users_metric_judges() -> None:
    net, model = block_net()
    samples, calls = net.samples(), []

    def metric(run: object) -> float:
        outputs = [run(item) for item in samples]  # type: ignore[operator]
        calls.append(len(outputs))
        return 0.75

    done = under_contract(model, samples, max_drop="0", metric=metric, **QUICK)
    assert required(done).drop == 0 and done.metric.name == "metric"
    assert len(calls) == 1 + len(done.tried) and done.tried[0].choice == done.frontier[0]
    assert required(done).cost <= required(done).f32_cost

    def worse(run: object) -> float:
        raise KeyError("mask")

    with pytest.raises(UsageError, match="worse: it raised KeyError"):
        under_contract(model, samples, max_drop="1%", metric=worse, **QUICK)


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({}, "needs a limit"),
        ({"max_drop": "little"}, "share like 0.5%"),
        ({"max_latency": "8"}, "8ms"),
        ({"size_ratio": 0.0}, "above 0"),
        ({"max_drop": "1%", "metric": "beauty"}, "sqnr, psnr, iou"),
        ({"max_drop": "1%", "target": "linux-armv7"}, "can't be measured here"),
    ],
)
def test_refused_terms(terms: dict[str, object], rule: str) -> None:
    net, model = block_net()
    with pytest.raises(UsageError, match=rule):
        under_contract(model, net.samples(1), **terms, **QUICK)  # type: ignore[arg-type]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, model = block_net()
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", image=np.concatenate([item["image"] for item in net.samples()]))
    words = [
        "quantize",
        str(tmp_path / "net.onnx"),
        "--calib",
        str(tmp_path / "data.npz"),
        "--seconds",
        "0.05",
    ]
    files = ["-o", str(tmp_path / "net.tcpkg"), "--html", str(tmp_path / "why.html")]
    assert call([*words, *files, "--max-drop", "20%", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["contract"]["taken"]["drop"] <= 0.2 and (tmp_path / "why.html").exists()
    assert FACT in read_package(tmp_path / "net.tcpkg").facts
    assert (
        call([*words, "-o", str(tmp_path / "none.onnx"), "--max-drop", "0.0001%", "--size-ratio", "0.1"]) == 1
    )
    assert not (tmp_path / "none.onnx").exists()
    assert call([*words, "--html", str(tmp_path / "why.html")]) == 2


@pytest.mark.qemu("linux-arm64")
def test_on_an_emulated_target_instructions_are_counted() -> None:
    net, model = block_net()
    done = under_contract(
        model, net.samples(2), max_drop="20%", target="linux-arm64", cpu="cortex-a76", **QUICK
    )
    assert done.unit == "instructions" and done.cpu == "cortex-a76"
    assert all(layer.f32_cost == int(layer.f32_cost) > 0 for layer in done.layers)
    best = required(done)
    assert best.cost <= best.f32_cost and best.drop <= 0.2
    with pytest.raises(UsageError, match="instructions are counted, no time"):
        under_contract(model, net.samples(1), max_latency="8ms", target="linux-arm64", **QUICK)
