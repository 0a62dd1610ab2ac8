"""A small folder of custom ops for tests: `Twice`, which doubles f32 of any shape."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

OP = '''
from tiercast.ops.registry import Op, dtype, shape


class Twice(Op):
    """y = 2 x."""

    onnx = ("test.domain::Twice",)
    inputs = ("x",)
    strided_inputs = STRIDED

    def legalize(self, node, layout):
        (made,) = layout.emit("Twice", [layout.plain(node.inputs[0])])
        layout.bind(node.outputs[0], made)

    def infer(self, node):
        return [(dtype(node.inputs[0]), shape(node.inputs[0]))]

    def reference(self, node, x):
        return [x * 2]

    def lower(self, node, low):
        low.call(node, low.choose("twice_f32f32"), list(node.inputs), list(node.outputs), {})
'''.replace("STRIDED", "False")
MANIFEST = """
[op]
name = "twice"
doc = "doubles"
[[kernel]]
in = "f32"
out = "f32"
isa = "portable"
template = "portable.cc.j2"
[[sample]]
inputs = ["3x5"]
"""
CHECK = """
#include "views/rules.h"
extern "C" const char* tc_check_twice(const tc_call* call) {
  TC_RULE(sane_call(call, 1, 1, 1), "twice: operands are missing or out of range");
  const tc_view &x = call->inputs[0], &y = call->outputs[0];
  TC_RULE(x.dtype == TC_F32 && y.dtype == TC_F32 && same_dims(x, y), "twice: not f32");
  TC_RULE(dense(x) && dense(y), "twice: not dense");
  return nullptr;
}
"""
PORTABLE = """
#include "simd/kernel_row.h"
#include "views/rules.h"
namespace {
static int64_t work(const tc_call* call) { return count_of(call->inputs[0]); }
static void run(const tc_call* call, int64_t begin, int64_t end) {
  const float* x = static_cast<const float*>(call->inputs[0].data);
  float* y = static_cast<float*>(call->outputs[0].data);
  for (int64_t i = begin; i < end; ++i) y[i] = 2.0f * x[i];
}
}  // namespace
TC_KERNEL(${row.name}, "${row.op}", ${row.needs_mask}, tc_check_twice);
"""


def make_ops(folder: Path, **changed: str) -> Path:
    """Writes the folder; op, manifest, check, portable: text that stands instead of the usual one."""
    kernels = folder / "kernels" / "twice"
    kernels.mkdir(parents=True)
    (folder / "twice.py").write_text(changed.get("op", OP))
    (kernels / "kernels.toml").write_text(changed.get("manifest", MANIFEST))
    (kernels / "check.cc.j2").write_text(changed.get("check", CHECK))
    (kernels / "portable.cc.j2").write_text(changed.get("portable", PORTABLE))
    return folder


def twice_model(path: Path, opset: int = 23) -> Path:
    """relu(twice(x)) + 1 of x: 1x3x4."""
    nodes = [
        helper.make_node("Twice", ["x"], ["a"], domain="test.domain", name="double"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "twice",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("one", TensorProto.FLOAT, (), [1.0])],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("test.domain", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path
