"""The runtime's C++ tests, and its CPU detection, on the other targets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tiercast.codegen.build import build
from tiercast.rig import emulator
from tiercast.target import find_target

TESTS = ("cores", "cpu", "overlap", "pool", "quiet", "session", "verify")
ARMS = ("linux-arm64", "linux-armv7")
# What each of qemu's models has, of what kernels may need.
FEATURES = {
    ("linux-arm64", "cortex-a53"): "neon",
    ("linux-arm64", "cortex-a76"): "neon,fp16,dotprod,ooo",
    ("linux-arm64", "cortex-a72"): "neon,ooo",
    ("linux-arm64", "max"): "neon,fp16,dotprod,i8mm,ooo",
    ("linux-armv7", "cortex-a9"): "none",  # NEON, but without VFPv4
    ("linux-armv7", "cortex-a15"): "neon",
}


@pytest.mark.parametrize("target", [pytest.param(name, marks=pytest.mark.qemu(name)) for name in ARMS])
def test_runtime_tests_pass_emulated(target: str) -> None:
    folder = build(target, goals=("runtime_tests",))
    for test in TESTS:
        command = [*emulator(find_target(target), None), str(folder / f"{test}_test")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{test}: {done.stderr[-3000:]}"


@pytest.mark.parametrize(
    ("target", "cpu"), [pytest.param(*case, marks=pytest.mark.qemu(case[0])) for case in FEATURES]
)
def test_detection_tells_what_the_cpu_has(target: str, cpu: str) -> None:
    folder = build(target, goals=("cpu_test",))
    environment = {**os.environ, "TIERCAST_EXPECTED_FEATURES": FEATURES[target, cpu]}
    command = [*emulator(find_target(target), cpu), str(folder / "cpu_test")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@pytest.mark.qemu("linux-arm64")
@pytest.mark.parametrize("file", ["cpu_capacity", "cpufreq/cpuinfo_max_freq"])
def test_big_and_little_cores_are_found_in_sys(tmp_path: Path, file: str) -> None:
    folder = build("linux-arm64", goals=("cores_test",))
    libraries = Path(emulator(find_target("linux-arm64"), None)[-1])
    (tmp_path / "lib").symlink_to(libraries / "lib")
    speeds = {core: 446 + 578 * core for core in os.sched_getaffinity(0)}
    for core, speed in speeds.items():  # qemu shows a file under its prefix instead of the machine's own
        path = tmp_path / "sys/devices/system/cpu" / f"cpu{core}" / file
        path.parent.mkdir(parents=True)
        (path.parents[file.count("/")] / "cpu_capacity").write_text("")  # hides the machine's own
        path.write_text(f"{speed}\n")
    expected = " ".join(f"{core}={speed}" for core, speed in sorted(speeds.items()))
    done = subprocess.run(
        ["qemu-aarch64", "-L", str(tmp_path), str(folder / "cores_test")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TIERCAST_EXPECTED_SPEEDS": expected},
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
