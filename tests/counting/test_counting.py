"""The instruction counter on a program whose instructions are known, and on a package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kernels.samples import Sample, plan_for, rows_for
from tiercast.counting import count_instructions, count_package
from tiercast.errors import PackageError
from tiercast.package.file import write_package
from tiercast.target import find_target

ARM = find_target("linux-arm64")
pytestmark = pytest.mark.qemu("linux-arm64")
# class -> instructions that belong to it, with the multiply-accumulates each is worth
INSTRUCTIONS = {
    "fma_f32": {
        "fmla v0.4s, v1.4s, v2.4s": 4,
        "fmla v0.4s, v1.4s, v2.s[3]": 4,
        "fmla v0.2s, v1.2s, v2.2s": 2,
    },
    "fma_f16": {"fmla v0.8h, v1.8h, v2.8h": 8, "fmla v0.8h, v1.8h, v2.h[7]": 8},
    "fma_f16f32": {
        "fmlal v0.4s, v1.4h, v2.4h": 4,
        "fmlal2 v0.4s, v1.4h, v2.4h": 4,
        "fmlal v0.4s, v1.4h, v2.h[1]": 4,
        "fmlal2 v0.4s, v1.4h, v2.h[1]": 4,
    },
    "fma_scalar": {"fmadd s0, s1, s2, s3": 1},
    "dot_i8": {"sdot v0.4s, v1.16b, v2.4b[1]": 16, "udot v0.4s, v1.16b, v2.16b": 16},
    "mmla_i8": {"smmla v0.4s, v1.16b, v2.16b": 32},
    "simd": {"fmul v0.4s, v1.4s, v2.s[1]": 0, "fadd v0.4s, v1.4s, v2.4s": 0, "zip1 v0.4s, v1.4s, v2.4s": 0},
    "vector_load": {
        "ldr q0, [sp]": 0,
        "ldp q0, q1, [sp]": 0,
        "ld1 {v0.4s}, [x1]": 0,
        "ld1r {v0.4s}, [x1]": 0,
        "ldr q0, [sp], #0": 0,
    },
    "vector_store": {"stp q0, q1, [x1]": 0, "str q0, [x1]": 0, "st4 {v0.4s-v3.4s}, [x1]": 0},
    "load": {"ldr x2, [x1]": 0, "ldrsw x2, [x1]": 0, "ldp x2, x3, [x1]": 0, "ldrb w2, [x1]": 0},
    "store": {"str x2, [x1]": 0, "stp x2, x3, [x1]": 0},
    "integer": {"add x2, x2, #1": 0, "madd x2, x3, x3, x2": 0, "prfm pldl1keep, [x1]": 0},
}
PROGRAM = """
  .globl _start
_start:
  sub x1, sp, #256
  and x1, x1, #-64
  fmla v0.4s, v1.4s, v2.4s
  mov x8, #0x1EAF
  mov x0, #7
  svc #0
  .rept 10
  {body}
  .endr
  mov x0, #0
  svc #0
  mov x8, #93
  mov x0, #{status}
  svc #0
"""


def program(folder: Path, body: str, status: int = 0) -> str:
    source, binary = folder / "program.s", folder / "program"
    source.write_text(PROGRAM.format(body=body, status=status))
    flags = [
        "--target=aarch64-linux-gnu",
        "-march=armv8.2-a+fp16+fp16fml+dotprod+i8mm",
        "-nostdlib",
        "-static",
    ]
    subprocess.run(["clang-19", *flags, "-fuse-ld=lld-19", source, "-o", binary], check=True)
    return str(binary)


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_counts_each_class_exactly(name: str, tmp_path: Path) -> None:
    lines = INSTRUCTIONS[name]
    counts = count_instructions([program(tmp_path, "\n  ".join(lines))], "max")
    extra = {"integer": 1, "branch": 1}  # mov and svc end the region
    found = {key: count - extra.get(key, 0) for key, count in counts.regions[7].classes.items()}
    assert {key: count for key, count in found.items() if count} == {name: 10 * len(lines)}
    assert counts.regions[7].macs == 10 * sum(lines.values())
    assert list(counts.regions) == [7]
    assert counts.total.instructions == sum(block.instructions for block in counts.blocks)


def test_says_what_the_program_said(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="exit code 3"):
        count_instructions([program(tmp_path, "nop", status=3)], "max")


def test_counts_every_step_of_a_package(tmp_path: Path) -> None:
    row = next(row for row in rows_for(ARM) if row.folder == "conv2d" and row.isa == "neon")
    plan = plan_for(Sample("conv2d", 5), row, ARM)
    assert plan is not None
    steps, counts = count_package(write_package(plan, tmp_path / "conv.tcpkg"), "cortex-a76")
    assert counts.total.instructions >= sum(step.counted.instructions for step in steps)
    for step in steps:
        assert step.counted.macs >= step.macs
