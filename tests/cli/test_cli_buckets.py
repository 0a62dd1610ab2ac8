"""A package of shape buckets through every command, on this machine and on an emulated one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli_commands import result
from test_cli_errors import USAGE, message

import tiercast
from tiercast.errors import UsageError
from tiercast.pipeline import compile_buckets

pytestmark = pytest.mark.native
SIZES = [(16, 16), (16, 32), (32, 16), (32, 32)]
SHAPES = "image:1x3x16..32x16..32"


@pytest.fixture(scope="module")
def buckets(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("buckets") / "b.tcpkg"
    return tiercast.compile(str(model), output=output, inputs={"image": (1, 3, (16, 32), (16, 32))})


def frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).standard_normal((1, 3, height, width)).astype(np.float32)


def test_each_bucket_computes_what_its_own_package_does(model: Path, buckets: Path, tmp_path: Path) -> None:
    session = tiercast.Session(buckets)
    kept: dict[tuple[int, int], np.ndarray] = {}
    for height, width in [*SIZES, *reversed(SIZES)]:
        (found,) = session.run({"image": frame(height, width)}).values()
        assert session.inputs[0].shape == (1, 3, height, width)
        if (height, width) in kept:
            assert np.array_equal(found, kept[height, width])
            continue
        kept[height, width] = found
        alone = tiercast.compile(model, output=tmp_path / "a.tcpkg", inputs={"image": (1, 3, height, width)})
        (expected,) = tiercast.Session(alone).run({"image": frame(height, width)}).values()
        assert np.array_equal(found, expected)


def test_constants_are_stored_once(model: Path, buckets: Path, tmp_path: Path) -> None:
    session = tiercast.Session(buckets)
    alone = [
        tiercast.Session(
            tiercast.compile(model, output=tmp_path / f"{h}x{w}.tcpkg", inputs={"image": (1, 3, h, w)})
        )
        for h, w in SIZES
    ]
    assert session.weights_bytes < sum(item.weights_bytes for item in alone) / 2
    assert session.arena_bytes == max(item.arena_bytes for item in alone)


def test_a_shape_of_no_bucket_is_refused(buckets: Path) -> None:
    session = tiercast.Session(buckets)
    session.select(2)
    with pytest.raises(UsageError, match=r"no bucket takes image 1x3x17x16; .*nothing is padded.*1x3x32x32"):
        session.run({"image": frame(17, 16)})
    with pytest.raises(UsageError, match="there is no bucket 4; it has 4"):
        session.select(4)
    assert session.bucket == 2


def test_compile_inspect_verify_bench(
    capsys: pytest.CaptureFixture[str], model: Path, buckets: Path, tmp_path: Path
) -> None:
    made = result(capsys, "compile", str(model), "-o", str(tmp_path / "b.tcpkg"), "--input", SHAPES)
    assert [item["inputs"]["image"][2:] for item in made["buckets"]] == [list(size) for size in SIZES]
    assert all(0 < item["shared_constants_bytes"] <= item["constants_bytes"] for item in made["buckets"])
    assert (tmp_path / "b.tcpkg").read_bytes() == buckets.read_bytes()
    found = result(capsys, "inspect", str(buckets), "--bucket", "3")
    assert (
        found["bucket"] == 3 and found["inputs"][0]["dims"] == [1, 3, 32, 32] and len(found["buckets"]) == 4
    )
    verdict = result(capsys, "verify", str(model), str(buckets))
    assert [item["bucket"] for item in verdict["buckets"]] == [0, 1, 2, 3] and verdict["ok"]
    assert result(capsys, "verify", str(model), str(buckets), "--bucket", "1")["bucket"] == 1
    times = result(capsys, "bench", str(buckets), "--seconds", "0.02")["packages"]
    assert [item["inputs"] for item in times] == [f"image 1x3x{height}x{width}" for height, width in SIZES]


def test_run_takes_the_bucket_of_the_array(
    capsys: pytest.CaptureFixture[str], buckets: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", frame(32, 16))
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    found = result(capsys, "run", str(buckets), "--input", f"image={tmp_path / 'x.npy'}")
    assert found["outputs"][0]["shape"] == [1, 4, 16, 8]
    words = ["run", str(buckets), "--input", f"image={tmp_path / 'x.png'}"]
    assert "say which with --bucket" in message(capsys, *words, code=USAGE)
    assert result(capsys, *words, "--bucket", "1")["outputs"][0]["shape"] == [1, 4, 8, 16]
    assert "there is no bucket 9" in message(capsys, "run", str(buckets), "--bucket", "9", code=USAGE)


def test_what_shows_one_shape_refuses_several(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    words = ["compile", str(model), "--input", SHAPES, "--print-after", "load"]
    assert "give --input one size each" in message(capsys, *words, code=USAGE)
    assert "only `tiercast compile`" in message(capsys, "inspect", str(model), "--input", SHAPES, code=USAGE)
    many = "image:1x3x1..64/1x16..32"
    text = message(
        capsys, "compile", str(model), "--input", many, "-o", str(tmp_path / "x.tcpkg"), code=USAGE
    )
    assert "64 x 2 sizes are 128 buckets, and a package holds 64" in text
    assert not (tmp_path / "x.tcpkg").exists()


def test_calibration_is_of_each_bucket(model: Path) -> None:
    batches = [{"image": frame(16, 16)}]
    with pytest.raises(UsageError, match="no calibration input is of the bucket image 1x3x16x32"):
        compile_buckets(
            model, "linux-arm64-v82", {"image": (1, 3, 16, (16, 32))}, precision="f16", calibrate=batches
        )


@pytest.mark.qemu("linux-arm64")
def test_the_target_runs_the_bucket_of_the_arrays(model: Path, tmp_path: Path) -> None:
    package = tiercast.compile(
        model, "linux-arm64", tmp_path / "arm.tcpkg", inputs={"image": (1, 3, 16, (16, 32))}
    )
    for width, number in ((16, 0), (32, 1)):
        assert tiercast.verify(model, package, cpu="cortex-a53", bucket=number).ok
        (found,) = tiercast.run_on_target(package, {"image": frame(16, width)}, "linux-arm64").values()
        assert found.shape == (1, 4, 8, width // 2)
