"""Statistics for normalisation are taken by the convolution before it, where it can."""

import numpy as np
import pytest
from graphs import feeds, keeps_physical_result, op_types, physical

from tiercast.lower.lowering import lower_graph
from tiercast.package.file import write_package
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_statistics import fuse_statistics
from tiercast.pipeline import resolve
from tiercast.session import Session

random = np.random.default_rng(0)
CONV = "c = Conv<pads=[1,1,1,1]>(x, w)"


def model_of(body: str = CONV, batch: int = 1, end: str = "y = Relu(n)", size: int = 20):
    """`body` computes c from x [batch,16,size,size]; it is normalised."""
    return physical(
        f"""(float[{batch},16,{size},{size}] x) => (float[{batch},16,{size},{size}] y) {{
          {body}
          n = InstanceNormalization(c, s, b)
          {end}
        }}""",
        w=random.standard_normal((16, 16, 3, 3)).astype(np.float32),
        d=random.standard_normal((16, 1, 3, 3)).astype(np.float32),
        p=random.standard_normal((16, 16, 1, 1)).astype(np.float32),
        s=np.ones(16, np.float32),
        b=np.zeros(16, np.float32),
    )


@pytest.mark.native
@pytest.mark.parametrize("end", ["y = Relu(n)", "y = Add(n, c)"])
def test_a_convolution_takes_the_statistics_whoever_else_reads_it(end: str) -> None:
    model = model_of(end=end)
    keeps_physical_result(model, fuse_statistics)
    assert "ChannelStatistics" not in op_types(model)


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "batch", "why"),
    [
        (CONV, 2, "they are of one image, it has 2"),
        ("c = Conv<dilations=[2,2], pads=[2,2,2,2]>(x, w)", 1, "it is dilated"),
        ("a = Conv<pads=[1,1,1,1]>(x, w)\n c = Relu(a)", 1, "it has an activation, a residual or a gate"),
        ("c = Conv<group=16, pads=[1,1,1,1]>(x, d)", 1, "DepthwiseConv2d takes no statistics"),
        ("c = Conv(x, p)", 1, "is no Winograd convolution"),
        ("c = Identity(x)", 1, "Copy takes no statistics"),
    ],
)
def test_refusals_name_the_reason(body: str, batch: int, why: str) -> None:
    model = model_of(body, batch)
    report = keeps_physical_result(model, fuse_activation, fuse_statistics)[1]
    assert not report.changed
    assert why in report.refused[0][1]


@pytest.mark.native
def test_a_convolution_takes_one_set_of_statistics() -> None:
    model = model_of(end="m = InstanceNormalization(c, b, s)\n y = Add(n, m)")
    (report,) = keeps_physical_result(model, fuse_statistics)
    assert "has statistics already" in report.refused[0][1]
    assert op_types(model).count("ChannelStatistics") == 1


@pytest.mark.native
def test_results_do_not_depend_on_threads(tmp_path) -> None:
    model = model_of(size=100)
    fuse_statistics(model)
    plan = lower_graph(model, resolve("host"))
    assert any(step.op.startswith("winograd") and len(step.outputs) == 2 for step in plan.steps)
    package = write_package(plan, tmp_path / "m.tcpkg")
    one, three = (Session(package, threads=threads).run(feeds(model)) for threads in (1, 3))
    assert all(np.array_equal(one[name], three[name]) for name in one)
