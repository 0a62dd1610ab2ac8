"""docs/adding.md is true: its examples are added to a copy of the tree, and are picked up, built and run."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from tests.scratch import ROOT, copy_tree, environment

pytestmark = pytest.mark.native
PAGE = ROOT / "docs" / "adding.md"
BLOCK = re.compile(r"^```\S+ file=(\S+)(?: before=(.+?))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW_ROW, NEW_OP_ROW = "conv2d_f32f32_avx2_4x16", "lrn_f32f32_portable"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with every example of the page added."""
    import tiercast._native
    import tiercast.package.schema

    folder = copy_tree(
        tmp_path_factory.mktemp("tree"), "compiler", "kernels", "targets", "runtime", "CMakeLists.txt"
    )
    for path, before, text in BLOCK.findall(PAGE.read_text()):
        add(folder / path, before, text)
    package = folder / "compiler" / "tiercast"
    shutil.copy(tiercast._native.__file__, package)
    if not (package / "package" / "schema.py").exists():
        shutil.copy(str(tiercast.package.schema.__file__), package / "package" / "schema.py")
    return folder


def add(path: Path, before: str, text: str) -> None:
    """Writes a block as a new file, or into one before the first line that begins with `before`."""
    if not before:
        assert not path.exists(), f"{path} is there already; take another example"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return
    content = path.read_text()
    at = content.index(f"\n{before}") + 1
    path.write_text(content[:at] + text + content[at:])


def run_python(tree: Path, script: str, *arguments: object) -> Any:
    """What a script prints as JSON when it runs on the copy."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(tree), cwd=tree)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def save(
    path: Path, nodes: list[onnx.NodeProto], dims: tuple[int, ...], **weights: np.ndarray
) -> onnx.ModelProto:
    """A model of f32 nodes from "x" to "y" of equal shape."""
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "example",
        [helper.make_tensor_value_info("x", kind, dims)],
        [helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.save(model, path)
    return model


COMPILE = """
    import json, sys
    from pathlib import Path
    from tiercast.package.file import write_package
    from tiercast.pipeline import compile_plan
    model, target, prefer, output = sys.argv[1:]
    done = compile_plan(model, target, prefer=prefer or None)
    write_package(done.plan, Path(output))
    print(json.dumps([step.kernel for step in done.plan.steps]))
"""


@pytest.fixture(scope="module")
def program(tree: Path) -> Path:
    """The copy's own tiercast-run, with a library of just the new rows and their fallbacks."""
    script = """
        import json, sys
        from pathlib import Path
        from tiercast.codegen.build import build
        print(json.dumps(str(build("host", Path(sys.argv[1]), frozenset(sys.argv[2:])))))
    """
    return (
        Path(run_python(tree, script, tree / "build", NEW_ROW, NEW_OP_ROW, "copy_anyany_portable"))
        / "tiercast-run"
    )


def run_package(program: Path, package: Path, x: np.ndarray) -> np.ndarray:
    """The first output of a package run by `program`."""
    x.tofile(package.with_suffix(".bin"))
    command = [
        program,
        package,
        "--input",
        f"x={package.with_suffix('.bin')}",
        "--output-dir",
        package.with_suffix(".out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.fromfile(package.with_suffix(".out") / "0.bin", np.float32)


def reference(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime makes of x."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, {"x": x})]


def test_the_page_has_an_example_of_each() -> None:
    places = [path for path, _, _ in BLOCK.findall(PAGE.read_text())]
    for room in (
        "kernels/conv2d/",
        "compiler/tiercast/ops/",
        "kernels/lrn/",
        "targets/",
        "passes/",
        "frontend/",
        "my_ops/kernels/",
    ):
        assert any(room in path for path in places), room


def test_the_kernel_variant_is_listed_and_rendered(tree: Path) -> None:
    script = """
        import json
        from tiercast.codegen.render import render_row, sources
        from tiercast.kernel import rows_of
        from tiercast.target import find_target
        row = rows_of("conv2d_f32f32")[0]
        listed = [source.path for source in sources(find_target("host"))]
        print(json.dumps([row.name, f"{row.name}.cc" in listed, f"TC_KERNEL({row.name}," in render_row(row)]))
    """
    assert run_python(tree, script) == [NEW_ROW, True, True]


@pytest.mark.slow
def test_the_kernel_variant_is_built_and_bound(tree: Path, program: Path, tmp_path: Path) -> None:
    from tiercast import _native

    if "avx2" not in _native.cpu_features():
        pytest.skip("this CPU lacks avx2")
    random = np.random.default_rng(0)
    weight = random.standard_normal((21, 8, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    model = save(tmp_path / "conv.onnx", [node], (1, 8, 9, 9), w=weight)
    package = tmp_path / "conv.tcpkg"
    assert NEW_ROW in run_python(tree, COMPILE, tmp_path / "conv.onnx", "host", NEW_ROW, package)
    listing = subprocess.run([program, package, "--list"], capture_output=True, text=True, check=True).stdout
    assert NEW_ROW in [step["kernel"] for step in json.loads(listing)["steps"]]
    x = random.standard_normal((1, 8, 9, 9)).astype(np.float32)
    (wanted,) = reference(model, x)
    np.testing.assert_allclose(run_package(program, package, x), wanted.reshape(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_op_compiles_and_runs(tree: Path, program: Path, tmp_path: Path) -> None:
    node = helper.make_node("LRN", ["x"], ["y"], size=5, alpha=0.2, bias=1.5)
    model = save(tmp_path / "lrn.onnx", [node], (2, 11, 4, 3))
    package = tmp_path / "lrn.tcpkg"
    assert NEW_OP_ROW in run_python(tree, COMPILE, tmp_path / "lrn.onnx", "host", NEW_OP_ROW, package)
    x = np.random.default_rng(0).standard_normal((2, 11, 4, 3)).astype(np.float32)
    (wanted,) = reference(model, x)
    np.testing.assert_allclose(run_package(program, package, x), wanted.reshape(-1), rtol=1e-5, atol=1e-6)


def test_the_op_is_not_there_without_the_example(tmp_path: Path) -> None:
    from tiercast.pipeline import compile_plan

    save(tmp_path / "lrn.onnx", [helper.make_node("LRN", ["x"], ["y"], size=5)], (2, 11, 4, 3))
    kernels = [step.kernel for step in compile_plan(tmp_path / "lrn.onnx", "linux-arm64").plan.steps]
    assert len(kernels) > 3 and not any(name.startswith("lrn") for name in kernels)


def test_the_target_is_listed_and_decides_the_kernels(tree: Path, tmp_path: Path) -> None:
    listing = """
        import json
        from tiercast.target import targets
        print(json.dumps(sorted(targets())))
    """
    assert "linux-arm64-v86" in run_python(tree, listing)
    weight = np.ones((8, 8, 3, 3), np.float32)
    save(tmp_path / "conv.onnx", [helper.make_node("Conv", ["x", "w"], ["y"])], (1, 8, 9, 9), w=weight)
    plain = run_python(tree, COMPILE, tmp_path / "conv.onnx", "linux-arm64", "", tmp_path / "a.tcpkg")
    newer = run_python(tree, COMPILE, tmp_path / "conv.onnx", "linux-arm64-v86", "", tmp_path / "b.tcpkg")
    assert any(name.endswith("_ooo") for name in newer) and not any(name.endswith("_ooo") for name in plain)


def test_the_pass_is_a_stage_and_rewrites(tree: Path, tmp_path: Path) -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Abs", ["s"], ["y"])]
    save(tmp_path / "abs.onnx", nodes, (1, 7))
    script = """
        import json, sys
        from tiercast.pipeline import compile_plan, stage_names
        done = compile_plan(sys.argv[1], "linux-arm64")
        applied = [line for report in done.reports if report.name == "remove_abs" for line in report.applied]
        print(json.dumps(["remove_abs" in stage_names(), len(applied)]))
    """
    assert run_python(tree, script, tmp_path / "abs.onnx") == [True, 1]


def test_the_format_is_read(tree: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "plain.onnx", [helper.make_node("Relu", ["x"], ["y"])], (1, 7))
    packed = tmp_path / "model.onnx.gz"
    packed.write_bytes(gzip.compress(model.SerializeToString()))
    assert run_python(tree, COMPILE, packed, "linux-arm64", "", tmp_path / "x.tcpkg")


@pytest.fixture(scope="module")
def vignette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of its own with the page's custom op and the model that uses it; `my_ops` is in it."""
    folder = tmp_path_factory.mktemp("own")
    for path, before, text in BLOCK.findall(PAGE.read_text()):
        if path.startswith(("my_ops/", "vignette_model")):
            add(folder / path, before, text)
    return folder


def save_vignette(path: Path) -> Path:
    """Vignette, ReLU and another Vignette with its default strength, as an ONNX file."""
    nodes = [
        helper.make_node("Vignette", ["x"], ["a"], domain="acme.camera", strength=0.75),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Vignette", ["b"], ["y"], domain="acme.camera"),
    ]
    model = save(path, nodes, (1, 3, 8, 9))
    model.opset_import.append(helper.make_opsetid("acme.camera", 1))
    onnx.save(model, path)
    return path


def test_the_custom_op_compiles_runs_and_is_verified(vignette: Path, tmp_path: Path) -> None:
    import tiercast

    model = save_vignette(tmp_path / "m.onnx")
    package = tiercast.compile(model, output=tmp_path / "m.tcpkg", ops=vignette / "my_ops")
    assert tiercast.verify(model, package, ops=vignette / "my_ops").ok
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 9)).astype(np.float32)
    session = tiercast.Session(package)
    assert [step["kernel"] for step in session.steps].count("vignette_f32f32_portable") == 2
    down, across = np.linspace(-1, 1, 8), np.linspace(-1, 1, 9)
    square = (down[:, None] ** 2 + across**2) / 2
    wanted = np.maximum(x * (1 - 0.75 * square), 0) * (1 - 0.5 * square)
    np.testing.assert_allclose(session.run({"x": x})["y"], wanted, atol=1e-6)


def test_the_custom_op_comes_from_pytorch(vignette: Path, tmp_path: Path) -> None:
    import tiercast

    source = f"{vignette / 'vignette_model.py'}:make"
    package = tiercast.compile(source, output=tmp_path / "n.tcpkg", ops=vignette / "my_ops")
    assert tiercast.verify(source, package, ops=vignette / "my_ops").ok


@pytest.mark.slow
@pytest.mark.qemu("linux-arm64")
def test_the_custom_op_runs_on_arm(vignette: Path, tmp_path: Path) -> None:
    import tiercast
    from tiercast.optest import run_samples

    model = save_vignette(tmp_path / "m.onnx")
    package = tiercast.compile(model, "linux-arm64", tmp_path / "m.tcpkg", ops=vignette / "my_ops")
    assert tiercast.verify(model, package, cpu="cortex-a53", ops=vignette / "my_ops").ok
    results = run_samples([vignette / "my_ops"], "linux-arm64", "cortex-a53")
    assert len(results) == 2 and all(item.ok and item.difference is not None for item in results)
