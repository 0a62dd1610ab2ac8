"""Which of ONNX's tests are about operators and dtypes of the inference set, what a test's inputs become, and
the classes of what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, defs

_LISTED = """
    Abs Add And ArgMax ArgMin Attention AveragePool BatchNormalization Cast Ceil Clip Concat Constant
    ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div
    DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish
    Identity InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    MatMul MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow QLinearConv QLinearMatMul
    QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum
    Relu Reshape Resize Round ScatterND Selu Shape Sigmoid Sign Sin Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh Tile TopK Transpose Unsqueeze Upsample Where
"""
OPERATORS = frozenset(_LISTED.split())
_DTYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
    }
)

# Inputs that a static compiler reads while compiling: the test's own data is bound to them as initializers.
_BOUND: dict[str, frozenset[str]] = {
    "AffineGrid": frozenset({"size"}),
    "BlackmanWindow": frozenset({"size"}),
    "CastLike": frozenset({"target_type"}),
    "CausalConvWithState": frozenset({"weight", "bias"}),
    "CenterCropPad": frozenset({"shape"}),
    "Col2Im": frozenset({"image_shape", "block_shape"}),
    "ConstantOfShape": frozenset({"input"}),
    "Conv": frozenset({"W", "B"}),
    "ConvInteger": frozenset({"w", "w_zero_point"}),
    "ConvTranspose": frozenset({"W", "B"}),
    "CumProd": frozenset({"axis"}),
    "CumSum": frozenset({"axis"}),
    "DFT": frozenset({"dft_length", "axis"}),
    "DeformConv": frozenset({"W", "B"}),
    "Dropout": frozenset({"ratio", "training_mode"}),
    "Expand": frozenset({"shape"}),
    "GRU": frozenset({"W", "R", "B", "sequence_lens"}),
    "HammingWindow": frozenset({"size"}),
    "HannWindow": frozenset({"size"}),
    "LSTM": frozenset({"W", "R", "B", "P", "sequence_lens"}),
    "Loop": frozenset({"M", "cond"}),
    "MaxUnpool": frozenset({"output_shape"}),
    "MelWeightMatrix": frozenset(
        {"num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"}
    ),
    "NonMaxSuppression": frozenset({"max_output_boxes_per_class", "iou_threshold", "score_threshold"}),
    "OneHot": frozenset({"depth", "values"}),
    "Pad": frozenset({"pads", "constant_value", "axes"}),
    "QLinearConv": frozenset({"w", "w_scale", "w_zero_point", "B"}),
    "RNN": frozenset({"W", "R", "B", "sequence_lens"}),
    "Range": frozenset({"start", "limit", "delta"}),
    "Reshape": frozenset({"shape"}),
    "Resize": frozenset({"roi", "scales", "sizes"}),
    "STFT": frozenset({"frame_step", "window", "frame_length"}),
    "Slice": frozenset({"starts", "ends", "axes", "steps"}),
    "Split": frozenset({"split"}),
    "Squeeze": frozenset({"axes"}),
    "Tile": frozenset({"repeats"}),
    "TopK": frozenset({"K"}),
    "Trilu": frozenset({"k"}),
    "Unsqueeze": frozenset({"axes"}),
    "Upsample": frozenset({"scales"}),
}
_REDUCED = frozenset({"axes"})
_SIZED_BY_DATA = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})
_SMALL = frozenset(
    kind
    for name, kind in TensorProto.DataType.items()
    if name.startswith(("FLOAT8", "FLOAT4", "INT4", "UINT4", "INT2", "UINT2"))
)


def in_scope(name: str, model: onnx.ModelProto) -> bool:
    """Whether a node test has operators of the inference set only, with data of f32, f16, s8, u8, s32, s64 or
    bool."""
    nodes = model.graph.node
    known = all(node.op_type in OPERATORS and (not node.domain or "_expanded" in name) for node in nodes)
    return known and _kinds(model) <= _DTYPES


def bound_inputs(model: onnx.ModelProto) -> set[str]:
    """Names of the graph inputs to bind as initializers."""
    found: set[str] = set()
    for node in model.graph.node:
        reduces = node.op_type.startswith("Reduce")
        wanted = _BOUND.get(node.op_type, _REDUCED if reduces else frozenset())
        if wanted:
            formal = [parameter.name for parameter in defs.get_schema(node.op_type, node.domain).inputs]
            pairs = zip(node.input, formal, strict=False)
            found |= {name for name, parameter in pairs if name and parameter in wanted}
    return found


def refusal_class(model: onnx.ModelProto) -> str:
    """The class of reasons that a test which is refused belongs to, by what its model holds."""
    kinds, nodes = _kinds(model), list(_nodes(model.graph))
    operators = {node.op_type for node in nodes}
    if any("training" in node.domain for node in nodes):
        return "training operators (ai.onnx.preview.training)"
    if "training" in model.graph.name:
        return "training mode"
    texts = any(name.startswith(("String", "Regex", "TfIdf")) for name in operators)
    if TensorProto.STRING in kinds or texts:
        return "strings"
    holders = operators - {"ReverseSequence"}
    if -1 in kinds or any("Sequence" in name or "Optional" in name for name in holders):
        return "sequences and optionals as values"
    if kinds & _SMALL:
        return "floats of 8 bits, numbers of 4 and 2 bits"
    if any(name.startswith("Random") or name in ("Bernoulli", "Multinomial") for name in operators):
        return "random numbers"
    if operators & _SIZED_BY_DATA:
        return "results whose size depends on data"
    if TensorProto.DOUBLE in kinds:
        return "arithmetic in f64"
    if _has_empty(model):
        return "empty tensors"
    if operators & {"Loop", "Scan", "If"}:
        return "control flow that is not static"
    return "operators and forms of them that are missing"


def _kinds(model: onnx.ModelProto) -> set[int]:
    ports = [*model.graph.input, *model.graph.output]
    return {port.type.tensor_type.elem_type if port.type.HasField("tensor_type") else -1 for port in ports}


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _has_empty(model: onnx.ModelProto) -> bool:
    return any(
        dim.HasField("dim_value") and dim.dim_value == 0
        for port in (*model.graph.input, *model.graph.output)
        for dim in port.type.tensor_type.shape.dim
    )
