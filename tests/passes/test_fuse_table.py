"""Tables of bytes become lookups, and give what ONNX says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from tiercast.frontend import load, reference
from tiercast.package.file import write_package
from tiercast.passes.fuse_table import fuse_table
from tiercast.pipeline import compile_plan
from tiercast.session import Session


def model(kind: str, table: np.ndarray) -> onnx.ModelProto:
    made = parser.parse_model(
        f'<ir_version: 11, opset_import: ["" : 23]> g ({kind}[2,256] x) => (int8[2,256] y)'
        "{ i = Cast<to=6>(x)\n y = Gather<axis=0>(t, i) }"
    )
    made.graph.initializer.append(numpy_helper.from_array(table, "t"))
    return made


@pytest.mark.native
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_table_is_one_step(kind: str, tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    proto = model(kind, table)
    every = np.arange(256, dtype=np.uint8).view(kind)
    x = np.stack([every, every[::-1]])
    done = compile_plan(proto)
    assert [step.op for step in done.plan.steps] == ["lookup_anyany"]
    (got,) = Session(write_package(done.plan, tmp_path / "m.tcpkg")).run({"x": x}).values()
    np.testing.assert_array_equal(got, reference(proto)[1]({"x": x})[0])


def test_a_shorter_table_stays_a_gather() -> None:
    hub = load(model("uint8", np.zeros(255, np.int8)))
    fuse_table(hub)
    assert "Gather" in [node.op_type for node in hub.graph]
