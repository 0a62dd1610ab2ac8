"""Which of ONNX's node tests Tiercast must pass, and why each other one is not asked for."""

from __future__ import annotations

import onnx
from onnx import TensorProto, defs

_LISTED = """
    Conv ConvTranspose Gemm MatMul AveragePool MaxPool GlobalAveragePool GlobalMaxPool
    BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization
    Resize Upsample GridSample DepthToSpace SpaceToDepth Softmax LogSoftmax TopK ArgMax ArgMin
    Concat Split Slice Pad Transpose Reshape Flatten Squeeze Unsqueeze Identity Expand Tile
    Gather GatherElements GatherND
    ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum
    ReduceLogSumExp
    Relu LeakyRelu PRelu Elu Selu Celu Sigmoid Tanh HardSigmoid HardSwish Gelu Mish Softplus Softsign Swish
    ThresholdedRelu Shrink Clip
    Add Sub Mul Div Pow Mod Min Max Sum Mean Abs Neg Sqrt Exp Log Reciprocal Floor Ceil Round Sign Erf Sin Cos
    Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor
    Not Where IsNaN IsInf Cast Constant ConstantOfShape Shape Range Dropout
    GRU LSTM RNN
"""
OPERATORS = frozenset(_LISTED.split())

# Inputs that a static compiler reads while compiling: the test's own data is bound to them as initializers.
BOUND: dict[str, frozenset[str]] = {
    "Conv": frozenset({"W", "B"}),
    "ConvTranspose": frozenset({"W", "B"}),
    "GRU": frozenset({"W", "R", "B", "sequence_lens"}),
    "LSTM": frozenset({"W", "R", "B", "P", "sequence_lens"}),
    "RNN": frozenset({"W", "R", "B", "sequence_lens"}),
    "Reshape": frozenset({"shape"}),
    "Expand": frozenset({"shape"}),
    "Tile": frozenset({"repeats"}),
    "Slice": frozenset({"starts", "ends", "axes", "steps"}),
    "Pad": frozenset({"pads", "constant_value", "axes"}),
    "Resize": frozenset({"roi", "scales", "sizes"}),
    "Upsample": frozenset({"scales"}),
    "TopK": frozenset({"K"}),
    "Squeeze": frozenset({"axes"}),
    "Unsqueeze": frozenset({"axes"}),
    "Split": frozenset({"split"}),
    "ConstantOfShape": frozenset({"input"}),
    "Range": frozenset({"start", "limit", "delta"}),
    "Dropout": frozenset({"ratio", "training_mode"}),
} | {name: frozenset({"axes"}) for name in OPERATORS if name.startswith("Reduce")}

_CARRIED = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}


def operator(model: onnx.ModelProto) -> str | None:
    """The operator a (not expanded) node test is about; None for a test of several nodes."""
    return model.graph.node[0].op_type if len(model.graph.node) == 1 else None


def bound_inputs(model: onnx.ModelProto) -> set[str]:
    """Names of the graph inputs of a one-node test to bind as initializers."""
    (node,) = model.graph.node
    formal = [parameter.name for parameter in defs.get_schema(node.op_type, node.domain).inputs]
    wanted = BOUND.get(node.op_type, frozenset())
    return {name for name, parameter in zip(node.input, formal, strict=False) if name and parameter in wanted}


def out_of_scope(op: str | None, model: onnx.ModelProto) -> str | None:
    """None when the test must pass, else the rule that leaves it out."""
    if op is None:
        return "a graph of several operators"
    if op not in OPERATORS:
        return f"operator {op} is not on the list"
    values = [*model.graph.input, *model.graph.output]
    if not all(value.type.HasField("tensor_type") for value in values):
        return "sequences and optionals"
    kinds = {value.type.tensor_type.elem_type for value in values}
    if kinds - _CARRIED:
        names = sorted(TensorProto.DataType.Name(kind).lower() for kind in kinds - _CARRIED)
        return f"its data is {', '.join(names)}, not f32"
    return None if TensorProto.FLOAT in kinds else "it has no f32 data"


def exclusion(op: str, model: onnx.ModelProto) -> str | None:
    """Why a test within the scope is not asked for; None for all others."""
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in model.graph.node[0].attribute}
    if op == "BatchNormalization" and attributes.get("training_mode"):
        return "training mode"
    if op == "Dropout" and len(model.graph.node[0].input) > 2:
        return "training mode"
    if any(_is_empty(value) for value in (*model.graph.input, *model.graph.output)):
        return "empty tensors, which a static plan does not have"
    if op == "Resize":
        return _resize_exclusion(
            {key: item.decode() if isinstance(item, bytes) else item for key, item in attributes.items()}
        )
    return None


def _is_empty(value: onnx.ValueInfoProto) -> bool:
    return any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in value.type.tensor_type.shape.dim)


def _resize_exclusion(attributes: dict[str, object]) -> str | None:
    # The scope names nearest and bilinear with half-pixel, align-corners and asymmetric coordinates.
    mode, coordinates = (
        attributes.get("mode", "nearest"),
        attributes.get("coordinate_transformation_mode", "half_pixel"),
    )
    if attributes.get("antialias"):
        return "antialiased resize"
    if mode == "cubic":
        return "cubic resize"
    if coordinates not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        return f"{coordinates} coordinates"
    return None
