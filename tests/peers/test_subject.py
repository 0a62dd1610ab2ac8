"""A subject's folder tells other processes everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiercast.peers.subject import Subject, read_calibration, read_subject, write_calibration


def test_an_int8_subject_is_read_as_it_was_written(tmp_path: Path) -> None:
    samples = [{"b": np.full((2, 3), at, np.float32), "a": np.zeros(1, np.float32)} for at in range(12)]
    write_calibration(tmp_path / "samples.npz", samples)
    (tmp_path / "m.onnx").write_bytes(b"model")
    plain = Subject("m", tmp_path, tmp_path / "m.onnx", "m:f", 7)
    int8 = Subject("m", tmp_path, tmp_path / "m.onnx", "m:f", 7, tmp_path / "samples.npz", 21.5)
    for made in (plain, int8):
        made.write_facts()
        assert read_subject(tmp_path) == made
    assert (plain.precision, int8.precision) == ("f32", "int8") and plain.digest() != int8.digest()
    stored = read_calibration(tmp_path / "samples.npz")
    assert [sample["b"][0, 0] for sample in stored] == list(range(12)) and list(stored[0]) == ["b", "a"]
