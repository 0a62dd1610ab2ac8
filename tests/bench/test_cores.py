"""Pipeline models: a loop whose cycles are known, the clamp, and the share of the peak."""

from __future__ import annotations

import shutil

import pytest

from tiercast.bench.cores import block_cycles, core_cycles, cores, disassemble, find_cores
from tiercast.counting import Block, Counts, Region
from tiercast.errors import UsageError

needs_llvm = pytest.mark.skipif(
    shutil.which("llvm-mca-19") is None or shutil.which("llvm-mc-19") is None,
    reason="llvm-mca-19 and llvm-mc-19 are not installed: apt-get install llvm-19",
)
# fmla v<n>.4s, v30.4s, v31.s[0] for 16 sums, then b.ne: two start per cycle on N1, latency hidden
FMLA = tuple(0x4F9F13C0 + register for register in range(16))
ADD = 0x91000400  # add x0, x0, #1


def test_every_core_is_complete() -> None:
    assert {"cortex-a53", "cortex-a55", "neoverse-n1", "neoverse-v1", "neoverse-v2"} <= set(cores())
    assert [core.name for core in find_cores("neoverse-n1,cortex-a53")] == ["neoverse-n1", "cortex-a53"]
    assert len(find_cores("all")) == len(cores())
    with pytest.raises(UsageError, match="no pipeline model"):
        find_cores("cortex-a78")


@needs_llvm
def test_words_become_assembler() -> None:
    assert disassemble((FMLA[1], ADD)) == ("\tfmla\tv1.4s, v30.4s, v31.s[0]", "\tadd\tx0, x0, #1")


@needs_llvm
def test_sixteen_independent_sums_run_at_the_peak() -> None:
    code = [disassemble(FMLA)]
    for name in ("neoverse-n1", "neoverse-v1"):
        core = cores()[name]
        assert block_cycles(code, core)[0] == pytest.approx(16 / core.fma_per_cycle, rel=0.05)


@needs_llvm
def test_the_clamp_holds_a_model_that_claims_too_much() -> None:
    core = cores()["cortex-a55"]
    assert core.clamp and block_cycles([disassemble(FMLA)], core)[0] >= 16


@needs_llvm
def test_a_run_is_the_sum_of_its_blocks_and_its_hot_loop_the_first_that_multiplies() -> None:
    blocks = (Block(1000, 0, "f", 0, (ADD,) * 40), Block(1000, 64, "f", 8, FMLA))
    counts = Counts({1: Region(64000, {"simd": 56000})}, blocks)
    found = core_cycles(counts, cores()["neoverse-n1"])
    assert found.loop_cycles == pytest.approx(8, rel=0.05)
    assert found.loop_percent_of_peak == pytest.approx(100, rel=0.05)
    assert found.cycles > 1000 * 40 and found.percent_of_peak is not None and found.percent_of_peak < 25


def test_nothing_that_multiplies_has_no_share() -> None:
    assert core_cycles(Counts({}, ()), cores()["neoverse-n1"]).percent_of_peak is None
