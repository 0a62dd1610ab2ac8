"""The runtime's C++ tests, and its CPU detection, on the other targets."""

from __future__ import annotations

import os
import subprocess

import pytest

from tiercast.codegen.build import build
from tiercast.rig import emulator
from tiercast.target import find_target

TESTS = ("cpu", "overlap", "pool", "quiet", "session", "verify")
ARMS = ("linux-arm64", "linux-armv7")
# What each of qemu's models has, of what kernels may need.
FEATURES = {
    ("linux-arm64", "cortex-a53"): "neon",
    ("linux-arm64", "cortex-a76"): "neon,fp16,dotprod",
    ("linux-arm64", "max"): "neon,fp16,dotprod,i8mm",
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
