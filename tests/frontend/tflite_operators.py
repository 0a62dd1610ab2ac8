"""One small model per operator and option: what LiteRT and Tiercast both run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tflite

from tests.frontend.tflite_writer import KINDS, Graph, write

SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
ACT = tflite.ActivationFunctionType
RANDOM = np.random.default_rng(3)


def real(*dims: int) -> np.ndarray:
    """A constant of normal numbers."""
    return RANDOM.standard_normal(dims).astype(np.float32)


def ints(*numbers: Any) -> np.ndarray:
    """A constant s32 vector, or table."""
    return np.array(numbers, np.int32)


@dataclass
class Run:
    """An input that is given at run time: dims, type, and the range of its random elements."""

    dims: tuple[int, ...]
    dtype: Any = np.float32
    low: float = -2.0
    high: float = 2.0


@dataclass
class Case:
    """inputs: a Run, a constant array, or None for an absent one. outputs: their types."""

    kind: str
    inputs: list[Any]
    table: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Any, ...] = (np.float32,)
    shape: tuple[int, ...] = (1,)  # LiteRT infers it, apart from SLICE's

    def build(self) -> bytes:
        """The file."""
        graph, indices = Graph(), []
        for at, item in enumerate(self.inputs):
            if item is None:
                indices.append(-1)
            elif isinstance(item, Run):
                indices.append(graph.input(f"x{at}", item.dims, KINDS[np.dtype(item.dtype)]))
            else:
                indices.append(graph.constant(item, f"c{at}"))
        made = [
            graph.result(f"y{at}", self.shape, KINDS[np.dtype(item)]) for at, item in enumerate(self.outputs)
        ]
        graph.op(self.kind, indices, made, self.table, **self.options)
        return write(graph)

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs by name."""
        random = np.random.default_rng(seed)
        arrays = {}
        for at, item in enumerate(self.inputs):
            if isinstance(item, Run):
                if item.dtype is np.bool_:
                    arrays[f"x{at}"] = random.integers(0, 2, item.dims).astype(np.bool_)
                elif np.issubdtype(item.dtype, np.integer):
                    arrays[f"x{at}"] = random.integers(int(item.low), int(item.high) + 1, item.dims).astype(
                        item.dtype
                    )
                else:
                    arrays[f"x{at}"] = random.uniform(item.low, item.high, item.dims).astype(item.dtype)
        return arrays


IMAGE = Run((1, 6, 5, 4))
WIDE = Run((2, 6, 5, 4))
POSITIVE = Run((1, 3, 4), low=0.1)


def conv(image: Run, weight: np.ndarray, depthwise: int = 0, **options: Any) -> Case:
    columns = weight.shape[3] if depthwise else weight.shape[0]
    table = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    chosen = {"StrideH": 1, "StrideW": 1, "Padding": SAME, **options}
    chosen |= {"DepthMultiplier": depthwise} if depthwise else {}
    inputs = [image, weight, real(columns)]
    return Case("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, table, chosen)


def transposed(size: list[int], weight: np.ndarray, bias: bool = False, **options: Any) -> Case:
    chosen = {"StrideH": 2, "StrideW": 2, "Padding": SAME, **options}
    inputs = [ints(*size), weight, IMAGE, *([real(weight.shape[0])] if bias else [])]
    return Case("TRANSPOSE_CONV", inputs, "TransposeConvOptions", chosen)


def pool(kind: str, **options: Any) -> Case:
    chosen = {"StrideH": 2, "StrideW": 2, "FilterHeight": 3, "FilterWidth": 2, "Padding": SAME, **options}
    return Case(kind, [Run((1, 6, 5, 4), low=0.1)], "Pool2DOptions", chosen)


def binary(
    kind: str, table: str = "", a: Any = WIDE, b: Any = WIDE, out: Any = np.float32, **options: Any
) -> Case:
    return Case(kind, [a, b], table, options, (out,))


def reduction(kind: str, axes: list[int], keeps: bool, x: Run = WIDE, out: Any = np.float32) -> Case:
    return Case(kind, [x, ints(*axes)], "ReducerOptions", {"KeepDims": keeps}, (out,))


def strided(x: Run, begin: list[int], end: list[int], strides: list[int], **masks: int) -> Case:
    return Case("STRIDED_SLICE", [x, ints(*begin), ints(*end), ints(*strides)], "StridedSliceOptions", masks)


def resized(kind: str, size: list[int], x: Run = WIDE, **options: Any) -> Case:
    table = "ResizeBilinearOptions" if kind == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    return Case(kind, [x, ints(*size)], table, options)


def lstm(time_major: bool = False) -> Case:
    steps, batch, features, hidden = 5, 2, 3, 4
    dims = (steps, batch, features) if time_major else (batch, steps, features)
    weights = [real(hidden, features) for _ in range(4)] + [real(hidden, hidden) for _ in range(4)]
    inputs = [Run(dims), *weights, None, None, None, *(real(hidden) for _ in range(4)), None, None]
    inputs += ["state", "state"]
    options = {"FusedActivationFunction": ACT.TANH, "TimeMajor": time_major}
    return StateCase("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, "UnidirectionalSequenceLSTMOptions", options)


def rnn(time_major: bool = False) -> Case:
    dims = (5, 2, 3) if time_major else (2, 5, 3)
    inputs = [Run(dims), real(4, 3), real(4, 4), real(4), "state"]
    options = {"FusedActivationFunction": ACT.TANH, "TimeMajor": time_major}
    return StateCase("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, "SequenceRNNOptions", options)


class StateCase(Case):
    """A case whose "state" inputs are variables of the layer, [2, 4]."""

    def build(self) -> bytes:
        graph, indices = Graph(), []
        for at, item in enumerate(self.inputs):
            if item is None:
                indices.append(-1)
            elif isinstance(item, str):
                indices.append(graph.tensor(f"s{at}", (2, 4), variable=True))
            elif isinstance(item, Run):
                indices.append(graph.input(f"x{at}", item.dims))
            else:
                indices.append(graph.constant(item, f"c{at}"))
        graph.op(self.kind, indices, [graph.result("y0")], self.table, **self.options)
        return write(graph)


INTS = Run((2, 6, 5, 4), np.int32, -9, 9)
DIVISORS = Run((2, 6, 5, 4), np.int32, 1, 9)
BOOLS = Run((2, 3, 4), np.bool_)
VECTOR = Run((4,))

CASES: dict[str, Case] = {
    "conv": conv(WIDE, real(7, 3, 3, 4)),
    "conv-1x1": conv(IMAGE, real(7, 1, 1, 4)),
    "conv-valid-stride": conv(IMAGE, real(7, 3, 2, 4), Padding=VALID, StrideH=2),
    "conv-same-stride": conv(IMAGE, real(7, 3, 3, 4), StrideH=2, StrideW=2),
    "conv-dilated": conv(IMAGE, real(7, 3, 3, 4), DilationHFactor=2, DilationWFactor=2),
    "conv-relu6": conv(IMAGE, real(7, 3, 3, 4), FusedActivationFunction=ACT.RELU6),
    "conv-relu": conv(IMAGE, real(7, 3, 3, 4), FusedActivationFunction=ACT.RELU),
    "conv-relu-n1": conv(IMAGE, real(7, 3, 3, 4), FusedActivationFunction=ACT.RELU_N1_TO_1),
    "conv-grouped": conv(IMAGE, real(8, 3, 3, 2)),
    "depthwise": conv(WIDE, real(1, 3, 3, 4), depthwise=1),
    "depthwise-multiplier": conv(IMAGE, real(1, 3, 3, 8), depthwise=2, StrideH=2, StrideW=2),
    "depthwise-dilated": conv(IMAGE, real(1, 3, 3, 4), depthwise=1, DilationHFactor=2, DilationWFactor=2),
    "transpose-conv": transposed([1, 12, 10, 3], real(3, 3, 3, 4)),
    "transpose-conv-odd": transposed([1, 11, 9, 3], real(3, 3, 3, 4)),
    "transpose-conv-2x2": transposed([1, 12, 10, 3], real(3, 2, 2, 4)),
    "transpose-conv-1x1": transposed([1, 12, 10, 3], real(3, 1, 1, 4)),
    "transpose-conv-valid": transposed([1, 13, 11, 3], real(3, 3, 3, 4), Padding=VALID),
    "transpose-conv-bias": transposed([1, 12, 10, 3], real(3, 4, 4, 4), bias=True),
    "transpose-conv-relu": transposed(
        [1, 12, 10, 3], real(3, 4, 4, 4), bias=True, FusedActivationFunction=ACT.RELU
    ),
    "fully-connected": Case("FULLY_CONNECTED", [Run((3, 8)), real(5, 8), real(5)], "FullyConnectedOptions"),
    "fully-connected-image": Case(
        "FULLY_CONNECTED",
        [IMAGE, real(5, 120)],
        "FullyConnectedOptions",
        {"FusedActivationFunction": ACT.RELU},
    ),
    "fully-connected-keep": Case(
        "FULLY_CONNECTED",
        [Run((2, 3, 8)), real(5, 8), real(5)],
        "FullyConnectedOptions",
        {"KeepNumDims": True},
    ),
    "batch-matmul": binary("BATCH_MATMUL", "BatchMatMulOptions", Run((2, 3, 4)), Run((2, 4, 5))),
    "batch-matmul-adjoint": binary(
        "BATCH_MATMUL", "BatchMatMulOptions", Run((2, 1, 4, 3)), Run((3, 5, 4)), AdjX=True, AdjY=True
    ),
    **{
        f"{kind.lower()}-{name}": pool(kind, **more)
        for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
        for name, more in (
            ("same", {}),
            ("valid", {"Padding": VALID, "FusedActivationFunction": ACT.RELU6}),
        )
    },
    **{
        kind.lower(): binary(kind, f"{kind.capitalize()}Options", FusedActivationFunction=act, b=other)
        for kind, act, other in (
            ("ADD", ACT.RELU, WIDE),
            ("SUB", ACT.NONE, VECTOR),
            ("MUL", ACT.RELU6, Run((2, 1, 1, 4))),
            ("DIV", ACT.NONE, Run((1, 5, 1), low=0.5)),
        )
    },
    "add-scalar": binary("ADD", "AddOptions", b=np.float32(1.5)),
    "add-int": binary("ADD", "AddOptions", INTS, INTS, np.int32),
    "mul-constant": binary("MUL", "MulOptions", b=real(1, 1, 4)),
    "add-n": Case("ADD_N", [WIDE, WIDE, WIDE], "AddNOptions"),
    "maximum": binary("MAXIMUM", "MaximumMinimumOptions", b=VECTOR),
    "minimum": binary("MINIMUM", "MaximumMinimumOptions", INTS, INTS, np.int32),
    "pow": binary("POW", "PowOptions", POSITIVE, Run((1, 3, 4))),
    "squared-difference": binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", b=VECTOR),
    "floor-div": binary("FLOOR_DIV", "FloorDivOptions", b=Run((4,), low=0.5)),
    "floor-div-int": binary("FLOOR_DIV", "FloorDivOptions", INTS, DIVISORS, np.int32),
    "floor-mod": binary("FLOOR_MOD", "FloorModOptions", b=Run((4,), low=0.5)),
    "floor-mod-int": binary("FLOOR_MOD", "FloorModOptions", INTS, DIVISORS, np.int32),
    **{
        kind.lower(): binary(kind, "", INTS, INTS, np.bool_)
        for kind in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
    },
    "less-real": binary("LESS", "LessOptions", b=VECTOR, out=np.bool_),
    "logical-and": binary("LOGICAL_AND", "LogicalAndOptions", BOOLS, BOOLS, np.bool_),
    "logical-or": binary("LOGICAL_OR", "LogicalOrOptions", BOOLS, BOOLS, np.bool_),
    "logical-not": Case("LOGICAL_NOT", [BOOLS], "LogicalNotOptions", outputs=(np.bool_,)),
    "select": Case("SELECT", [Run((2,), np.bool_), Run((2, 3, 4)), Run((2, 3, 4))], "SelectOptions"),
    "select-v2": Case("SELECT_V2", [BOOLS, Run((2, 3, 4)), Run((4,))], "SelectV2Options"),
    **{
        kind.lower(): Case(kind, [WIDE])
        for kind in (
            *("ABS", "CEIL", "COS", "EXP", "FLOOR", "HARD_SWISH", "LOGISTIC", "NEG", "ROUND", "SIGN", "SIN"),
            *("TANH", "ELU", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "SQUARE", "ZEROS_LIKE"),
        )
    },
    **{kind.lower(): Case(kind, [POSITIVE]) for kind in ("LOG", "SQRT", "RSQRT")},
    "leaky-relu": Case("LEAKY_RELU", [WIDE], "LeakyReluOptions", {"Alpha": 0.3}),
    "gelu": Case("GELU", [WIDE], "GeluOptions"),
    "gelu-tanh": Case("GELU", [WIDE], "GeluOptions", {"Approximate": True}),
    "prelu": Case("PRELU", [WIDE, real(1, 1, 4)]),
    "cast": Case("CAST", [WIDE], "CastOptions", outputs=(np.int32,)),
    "cast-bool": Case("CAST", [BOOLS], "CastOptions", outputs=(np.float32,)),
    "mean-hw": reduction("MEAN", [1, 2], False),
    "mean-hw-keep": reduction("MEAN", [1, 2], True),
    "mean-channels": reduction("MEAN", [-1], True),
    "sum": reduction("SUM", [3], False),
    "reduce-max": reduction("REDUCE_MAX", [0, 2], True),
    "reduce-min": reduction("REDUCE_MIN", [1], False),
    "reduce-prod": reduction("REDUCE_PROD", [2], False),
    "reduce-any": reduction("REDUCE_ANY", [1], False, BOOLS, np.bool_),
    "reduce-all": reduction("REDUCE_ALL", [1], True, BOOLS, np.bool_),
    "softmax": Case("SOFTMAX", [WIDE], "SoftmaxOptions", {"Beta": 1.0}),
    "softmax-beta": Case("SOFTMAX", [Run((3, 7))], "SoftmaxOptions", {"Beta": 0.5}),
    "log-softmax": Case("LOG_SOFTMAX", [Run((3, 7))], "LogSoftmaxOptions"),
    "l2-normalization": Case("L2_NORMALIZATION", [Run((3, 7))], "L2NormOptions"),
    "local-response-normalization": Case(
        "LOCAL_RESPONSE_NORMALIZATION",
        [IMAGE],
        "LocalResponseNormalizationOptions",
        {"Radius": 1, "Bias": 1.0, "Alpha": 0.3, "Beta": 0.7},
    ),
    "arg-max": Case("ARG_MAX", [WIDE, ints(3)], "ArgMaxOptions", {"OutputType": 2}, (np.int32,)),
    "arg-min": Case("ARG_MIN", [WIDE, ints(1)], "ArgMinOptions", {"OutputType": 4}, (np.int64,)),
    "topk": Case("TOPK_V2", [Run((2, 9)), np.int32(3)], "TopKV2Options", {}, (np.float32, np.int32)),
    "cumsum": Case("CUMSUM", [Run((2, 5, 3)), np.int32(1)], "CumsumOptions"),
    "cumsum-exclusive": Case(
        "CUMSUM", [Run((2, 5, 3)), np.int32(-1)], "CumsumOptions", {"Exclusive": True, "Reverse": True}
    ),
    "one-hot": Case(
        "ONE_HOT",
        [Run((2, 3), np.int32, -2, 5), np.int32(4), np.float32(2), np.float32(-1)],
        "OneHotOptions",
        {"Axis": -1},
    ),
    "gather": Case("GATHER", [WIDE, ints(2, 0, 2)], "GatherOptions", {"Axis": 1}),
    "gather-matrix": Case("GATHER", [WIDE, ints([2, 0], [1, 1])], "GatherOptions", {"Axis": 3}),
    "gather-batch": Case(
        "GATHER", [Run((2, 5, 3)), Run((2, 4), np.int32, 0, 4)], "GatherOptions", {"Axis": 1, "BatchDims": 1}
    ),
    "gather-nd": Case("GATHER_ND", [Run((4, 5, 3)), Run((6, 2), np.int32, 0, 3)], "GatherNdOptions"),
    "embedding-lookup": Case("EMBEDDING_LOOKUP", [Run((4,), np.int32, 0, 5), real(6, 3)]),
    "reshape": Case("RESHAPE", [WIDE, ints(2, -1, 4)], "ReshapeOptions"),
    "squeeze": Case("SQUEEZE", [Run((2, 1, 3, 1))], "SqueezeOptions", {"SqueezeDims": [1]}),
    "squeeze-all": Case("SQUEEZE", [Run((2, 1, 3, 1))], "SqueezeOptions"),
    "expand-dims": Case("EXPAND_DIMS", [Run((2, 3)), np.int32(-1)], "ExpandDimsOptions"),
    "transpose": Case("TRANSPOSE", [WIDE, ints(0, 3, 1, 2)], "TransposeOptions"),
    "concatenation": Case("CONCATENATION", [WIDE, Run((2, 6, 5, 3))], "ConcatenationOptions", {"Axis": 3}),
    "pack": Case("PACK", [Run((2, 3)), Run((2, 3))], "PackOptions", {"ValuesCount": 2, "Axis": 1}),
    "unpack": Case("UNPACK", [Run((2, 3))], "UnpackOptions", {"Num": 2, "Axis": 0}, (np.float32, np.float32)),
    "split": Case("SPLIT", [np.int32(3), WIDE], "SplitOptions", {"NumSplits": 2}, (np.float32, np.float32)),
    "split-v": Case(
        "SPLIT_V",
        [WIDE, ints(1, -1), np.int32(1)],
        "SplitVOptions",
        {"NumSplits": 2},
        (np.float32, np.float32),
    ),
    "tile": Case("TILE", [Run((2, 3)), ints(2, 3)], "TileOptions"),
    "broadcast-to": Case("BROADCAST_TO", [Run((3, 1)), ints(2, 3, 4)], "BroadcastToOptions"),
    "space-to-depth": Case("SPACE_TO_DEPTH", [Run((1, 6, 4, 3))], "SpaceToDepthOptions", {"BlockSize": 2}),
    "depth-to-space": Case("DEPTH_TO_SPACE", [Run((1, 3, 4, 12))], "DepthToSpaceOptions", {"BlockSize": 2}),
    "space-to-batch": Case(
        "SPACE_TO_BATCH_ND", [Run((1, 5, 4, 3)), ints(2, 2), ints([0, 1], [2, 0])], "SpaceToBatchNDOptions"
    ),
    "batch-to-space": Case(
        "BATCH_TO_SPACE_ND", [Run((4, 3, 3, 2)), ints(2, 2), ints([0, 1], [1, 0])], "BatchToSpaceNDOptions"
    ),
    "slice": Case("SLICE", [WIDE, ints(0, 1, 2, 0), ints(2, 3, -1, 4)], "SliceOptions", shape=(2, 3, 3, 4)),
    "strided-slice": strided(WIDE, [0, 1, 0, 0], [2, 6, 5, 4], [1, 2, 1, 3]),
    "strided-slice-negative": strided(WIDE, [0, -1, 0, 0], [2, 0, 5, 4], [1, -2, 1, 1], BeginMask=1),
    "strided-slice-shrink": strided(
        WIDE, [0, 2, 0, -1], [0, 3, 0, 0], [1, 1, 1, 1], ShrinkAxisMask=10, EndMask=5
    ),
    "strided-slice-ellipsis": strided(WIDE, [0, 1], [0, 3], [1, 1], EllipsisMask=1),
    "strided-slice-new-axis": strided(Run((3, 4)), [0, 0, 1], [0, 3, 3], [1, 1, 1], NewAxisMask=1),
    "pad": Case("PAD", [WIDE, ints([0, 0], [1, 2], [0, 3], [0, 1])], "PadOptions"),
    "padv2": Case("PADV2", [Run((2, 3)), ints([1, 0], [0, 2]), np.float32(1.5)], "PadV2Options"),
    "mirror-pad": Case(
        "MIRROR_PAD", [WIDE, ints([0, 0], [1, 2], [2, 1], [0, 0])], "MirrorPadOptions", {"Mode": 0}
    ),
    "mirror-pad-symmetric": Case(
        "MIRROR_PAD", [Run((3, 4)), ints([1, 3], [2, 0])], "MirrorPadOptions", {"Mode": 1}
    ),
    "reverse": Case("REVERSE_V2", [WIDE, ints(2)], "ReverseV2Options"),
    "dynamic-update-slice": Case("DYNAMIC_UPDATE_SLICE", [Run((4, 3)), Run((1, 3)), ints(2, 0)]),
    **{
        f"resize-{kind.split('_')[1].lower()}-{name}-{size[0]}": resized(kind, size, **more)
        for kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
        for name, more in (
            ("plain", {}),
            ("corners", {"AlignCorners": True}),
            ("half", {"HalfPixelCenters": True}),
        )
        for size in ([12, 10], [4, 7])
    },
    "shape": Case("SHAPE", [WIDE], "ShapeOptions", {"OutType": 2}, (np.int32,)),
    "rank": Case("RANK", [WIDE], "RankOptions", {}, (np.int32,)),
    "lstm": lstm(),
    "lstm-time-major": lstm(True),
    "rnn": rnn(),
    "rnn-time-major": rnn(True),
}
