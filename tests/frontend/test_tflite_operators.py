"""Every TFLite operator gives what LiteRT gives: the whole way, from the file to the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.frontend.tflite_operators import CASES
from tiercast.frontend import load, reference
from tiercast.ir.spec import check
from tiercast.pipeline import compile
from tiercast.session import Session


@pytest.mark.native
@pytest.mark.parametrize("name", CASES)
def test_operator_gives_what_litert_gives(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    case = CASES[name]
    data, feeds = case.build(), case.feeds()
    check(load(data), "loaded")
    _, run = reference(data)
    expected = run(feeds)
    session = Session(compile(data, output=tmp_path / "m.tcpkg"))
    got = list(session.run(feeds).values())
    assert [array.dtype for array in got] == [array.dtype for array in expected]
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5)
