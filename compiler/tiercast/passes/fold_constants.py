"""Computes at compile time whatever does not depend on input data, shapes included (onnxsim)."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as onnx_ir_passes

from tiercast.errors import ModelError
from tiercast.ir.report import PassReport

# Batch norm has a pass of its own that also knows depthwise and transposed convolutions; fuse_qkv renames
# values, and the Pad fusions come later, on physical nodes, where reflect and edge pads fuse as well.
_SKIPPED = ["fuse_qkv", "fuse_pad_into_conv", "fuse_pad_into_pool", "fuse_consecutive_reduce_unsqueeze"]


def fold_constants(model: ir.Model) -> PassReport:
    """Folds constants and simplifies, in place; input and output names stay.

    Raises ModelError when onnxsim can't take the model.
    """
    import onnxsim  # here, because it takes 1.8 s to import

    report = PassReport("fold_constants")
    before = model.graph.num_nodes()
    try:
        proto, _ = onnxsim.simplify(
            ir.to_proto(model), skip_fuse_bn=True, skipped_optimizers=_SKIPPED, certify=False
        )
    except Exception as error:  # onnxsim raises RuntimeError, ValueError and onnx's own errors
        raise ModelError(f"onnxsim can't simplify the model: {error}") from error
    _adopt(model, proto)
    if model.graph.num_nodes() != before:
        report.applied.append(f"{before} nodes -> {model.graph.num_nodes()}")
    return report


def _adopt(model: ir.Model, proto: onnx.ModelProto) -> None:
    folded = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    onnx_ir_passes.RemoveInitializersFromInputsPass()(folded)
    onnx_ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(folded)
    folded.graph.sort()
    model.graph = folded.graph
