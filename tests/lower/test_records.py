"""Files of measured times: written and read back, found for a CPU, refused when they are something else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tiercast.errors import UsageError
from tiercast.records import Records, describe_cpu, find_records, read_records, record_path, write_records
from tiercast.target import find_target

ARM = dataclasses.replace(find_target("linux-arm64"), tuned_cpu="Cortex A76")
KEYS = [f"Conv2d(1x{n}x{n}x32, 32x32x3x3, -) -> 1x{n}x{n}x32" for n in range(4, 12)]
RECORDS = Records("Cortex A76").with_times({key: {"direct": 5.0 + len(key), "other": 6.0} for key in KEYS})


def test_what_is_written_is_read_back_and_found_by_cpu(tmp_path: Path) -> None:
    path = record_path(ARM, "Cortex A76", tmp_path)
    assert path.name == "linux-arm64-cortex-a76.json"
    write_records(RECORDS, ARM, path)
    assert read_records(path, ARM) == RECORDS == find_records(ARM, tmp_path)
    assert set(RECORDS.model) == {"direct", "other"}


def test_newer_times_go_before_older_ones() -> None:
    newer = RECORDS.with_times({KEYS[0]: {"direct": 1.0}, "new": {"direct": 2.0}})
    assert newer.times[KEYS[0]] == {"direct": 1.0, "other": 6.0} and newer.times["new"] == {"direct": 2.0}
    assert newer.times[KEYS[1]] == RECORDS.times[KEYS[1]]


def test_a_folder_without_records_for_the_cpu_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no records of target linux-arm64 on Cortex A76"):
        find_records(ARM, tmp_path)
    with pytest.raises(UsageError, match="names no tuned_cpu"):
        find_records(dataclasses.replace(ARM, tuned_cpu=""), tmp_path)
    assert find_records(dataclasses.replace(ARM, folder=tmp_path)) is None


GOOD: dict[str, Any] = {
    "format": 1,
    "target": "linux-arm64",
    "cpu": "x",
    "unit": "us",
    "times": {"k": {"a": 1.0}},
    "model": {},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 7}, "format 7, this Tiercast reads 1; tune again"),
        ({"target": "host"}, "it is of target 'host', not 'linux-arm64'"),
        ({"unit": "hours"}, "unit must be one of us, instructions"),
        ({"cpu": 3}, "cpu a text"),
        ({"times": [1]}, "times must map keys"),
        ({"times": {"k": 3}}, "times must map keys"),
        ({"times": {"k": {"a": -1}}}, "'a' on 'k' is -1; must be positive"),
        ({"times": {"k": {"a": True}}}, "must be positive"),
        ({"times": {"k": {"a": float("nan")}}}, "must be positive"),
        ({"model": {"a": [1, 2]}}, "must be 4 numbers >= 0"),
        ({"model": {"a": [1, 2, -1, 0]}}, "must be 4 numbers >= 0"),
        ({"model": None}, "model must map"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "records.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(UsageError, match=message) as caught:
        read_records(path, ARM)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100000, "\udc80"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "records.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=r"not a file of records|format"):
        read_records(path, ARM)
    with pytest.raises(UsageError, match="not a file of records"):
        read_records(tmp_path / "none.json", ARM)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (
            "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nmodel\t: 3\n",
            "AMD EPYC family 26 model 2",
        ),
        (
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
            "ARM implementer 0x41 part 0xd0b",
        ),
        ("model name\t: some core\n", "some core"),
        ("", ""),
    ],
)
def test_a_cpu_is_known_by_its_generation(cpuinfo: str, name: str) -> None:
    assert describe_cpu(cpuinfo) == name
