"""Whole TFLite models: right, and without a step that only turns axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.frontend.tflite_models import MODELS
from tiercast.frontend import reference
from tiercast.package.file import write_package
from tiercast.passes.transposition import transposes
from tiercast.pipeline import compile_plan
from tiercast.session import Session


@pytest.mark.native
@pytest.mark.parametrize("int8", [False, True], ids=["f32", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_right_without_transposes(name: str, int8: bool, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    data = MODELS[name](int8)
    done = compile_plan(data)
    assert transposes(done.model) == []
    (port,) = done.plan.inputs
    random = np.random.default_rng(0)
    image = random.uniform(-1, 1, port.dims).astype(np.float32)
    image = np.rint(image / 0.03).astype(np.int8) if int8 else image
    expected = reference(data)[1]({port.name: image})
    got = Session(write_package(done.plan, tmp_path / "m.tcpkg")).run({port.name: image})
    for mine, theirs in zip(got.values(), expected, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert len(np.unique(theirs)) > 4
        if int8 and mine.dtype == np.int8:
            assert np.mean(np.abs(mine.astype(int) - theirs.astype(int)) <= 1) >= 0.999
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
