"""Counting AArch64 rows: exact, repeatable, and by the row that was asked for."""

from __future__ import annotations

import pytest

from tiercast.bench.cores import find_cores
from tiercast.bench.counted import count_kernels, facts
from tiercast.errors import UsageError

pytestmark = [pytest.mark.native, pytest.mark.slow, pytest.mark.qemu("linux-arm64")]


def test_counts_repeat_and_name_their_rows() -> None:
    first, second = count_kernels("softmax"), count_kernels("softmax", cores=find_cores("neoverse-n1"))
    assert [(row.row, row.case, row.instructions) for row in first] == [
        (row.row, row.case, row.instructions) for row in second
    ]
    assert first and all(row.row == "softmax_f32f32_neon" and row.instructions > 1000 for row in first)
    assert all(facts(row)["cycles"]["neoverse-n1"]["cycles"] > 0 for row in second)


def test_a_product_multiplies_what_was_planned() -> None:
    rows = {row.case: row for row in count_kernels("matmul", "neon")}
    row = rows["Matmul(24x96, const 96x32, const 32)"]
    assert row.macs == 24 * 96 * 32 and row.per_mac is not None and 0.25 < row.per_mac < 1


def test_an_instruction_set_of_another_machine() -> None:
    with pytest.raises(UsageError, match="not of linux-arm64"):
        count_kernels(isa="avx2")
