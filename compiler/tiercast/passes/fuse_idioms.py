"""Activations that exporters write out in arithmetic become one operation: x·sigmoid(x), x·clip(x+3,0,6)/6,
erf gelu...

They are recognised by what they compute, not by how they are written: the arithmetic is evaluated on a row of
numbers and compared with the activations we know. A formula may be written in any way and is found; one that
differs is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, remove_dead
from tiercast.ir.report import PassReport
from tiercast.ir.slots import set_attribute
from tiercast.ops.program import text
from tiercast.ops.registry import shape
from tiercast.passes.epilogue import program_of

_MOST_NODES = 10  # a formula of more nodes is no activation
_TOLERANCE = 2e-6  # relative to 1 + |value|; f32 constants such as 0.70710677 cost 1e-8
_NEAR = np.concatenate([np.linspace(-12, 12, 241), [-80, -40, -20, 20, 40, 80]])
_ZERO = 120  # _NEAR[_ZERO] is 0
_FAR = np.array([-1e30, -1e6, -1e3, 1e3, 1e6, 1e30])  # only where nothing is exponentiated

Function = Callable[..., np.ndarray]


def fuse_idioms(model: ir.Model) -> PassReport:
    """Rewrites each elementwise formula of one f32 value that equals a known activation to it, in place."""
    report = PassReport("fuse_idioms")
    places = {node: index for index, node in enumerate(model.graph)}
    for node in list(model.graph):
        program = program_of(node)
        if (
            program is None
            or (len(program) == 1 and program[0].op in _NAMED)
            or node.outputs[0].dtype != ir.DataType.FLOAT
        ):
            continue
        found = _recognise(node, places)
        if found is not None and found != (text(program)[0], node.inputs[0]):
            line, base = found
            node.resize_inputs(1)
            node.replace_input_with(0, base)
            set_attribute(node, "program", [line])
            report.apply(node, f"is {line}")
    remove_dead(model.graph)
    return report


def _recognise(node: ir.Node, places: Mapping[ir.Node, int]) -> tuple[str, ir.Value] | None:
    """The program line and its input. Nodes behind it open, the latest first; the furthest match counts."""
    frontier = {value for value in node.inputs if value is not None and not _is_number(value)}
    found: tuple[str, ir.Value] | None = None
    for _ in range(_MOST_NODES):
        if len(frontier) == 1:
            base = next(iter(frontier))
            line = _name(node, base) if shape(base) == shape(node.outputs[0]) else None
            found = found if line is None else (line, base)
        latest = max(frontier, key=lambda value: _place(value, places), default=None)
        producer = latest.producer() if latest is not None else None
        if (
            latest is None
            or producer is None
            or program_of(producer) is None
            or latest.dtype != ir.DataType.FLOAT
        ):
            return found
        frontier.discard(latest)
        frontier |= {value for value in producer.inputs if value is not None and not _is_number(value)}
    return found


def _place(value: ir.Value, places: Mapping[ir.Node, int]) -> int:
    producer = value.producer()
    return -1 if producer is None else places[producer]


def _is_number(value: ir.Value) -> bool:
    data = array(value)
    return data is not None and data.size == 1


def _name(node: ir.Node, base: ir.Value) -> str | None:
    """The line that computes of `base` (as i0) what `node` does."""
    near = _evaluate(node.outputs[0], {base: _NEAR})
    if near is None or not np.all(np.isfinite(near)):
        return None
    for op in ("silu", "gelu", "gelu_tanh", "mish", "softplus", "sigmoid", "tanh"):
        if _close(near, _FUNCTIONS[op](_NEAR)):
            return f"{op} i0"
    far = _evaluate(node.outputs[0], {base: _FAR})
    if far is None or not np.all(np.isfinite(far)):
        return None
    return _piecewise(np.concatenate([near, far]), np.concatenate([_NEAR, _FAR]))


def _piecewise(values: np.ndarray, points: np.ndarray) -> str | None:
    """relu, clip, leaky_relu, hard_sigmoid or hard_swish, with the parameters that certain points show."""
    at = dict(zip(points.tolist(), values.tolist(), strict=True))
    lowest, highest = at[-1e30], at[1e30]
    lines = [
        ("relu", ()),
        ("hard_swish", ()),
        ("clip", (lowest if lowest > -1e30 else -math.inf, highest if highest < 1e30 else math.inf)),
        ("leaky_relu", (-at[-1e3] / 1e3,)),
        (
            "hard_sigmoid",
            ((values[_ZERO + 1] - values[_ZERO]) / (points[_ZERO + 1] - points[_ZERO]), values[_ZERO]),
        ),
    ]
    for op, parameters in lines:
        if op == "leaky_relu" and parameters == (1.0,):
            continue  # the identity
        if op == "clip" and parameters == (-math.inf, math.inf):
            continue
        if _close(values, _FUNCTIONS[op](points, *parameters)):
            return " ".join([op, "i0", *(repr(float(item)) for item in parameters)])
    return None


def _close(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.all(np.abs(left - right) <= _TOLERANCE * (1 + np.abs(right))))


def _evaluate(value: ir.Value, known: dict[ir.Value, np.ndarray]) -> np.ndarray | None:
    """The value in double precision where `known` gives the base's; None for an opcode no activation has."""
    if value in known:
        return known[value]
    data, producer = array(value), value.producer()
    if data is not None:
        return data.reshape(-1).astype(np.float64) if data.size == 1 else None
    program = program_of(producer)
    if program is None or producer is None:
        return None
    lines: list[np.ndarray] = []
    for line in program:
        function = _FUNCTIONS.get(line.op)
        operands: list[np.ndarray] = []
        for item in line.operands:
            if not isinstance(item, str):
                operands.append(np.asarray(item, np.float64))
            elif item[0] == "t":
                operands.append(lines[int(item[1:])])
            else:
                source = producer.inputs[int(item[1:])]
                made = _evaluate(source, known) if source is not None else None
                if made is None:
                    return None
                operands.append(made)
        if function is None:
            return None
        with np.errstate(all="ignore"):
            lines.append(function(*operands))
    known[value] = lines[-1]
    return lines[-1]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp(x, 0))


def _clip(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(np.minimum(np.maximum(x, low), high))


def _hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return _clip(alpha * x + beta, 0, 1)


_erf = np.vectorize(math.erf, otypes=[np.float64])

_FUNCTIONS: dict[str, Function] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "identity": np.positive,
    "erf": _erf,
    "fma": lambda x, y, z: x * y + z,
    "clip": _clip,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "mish": lambda x: x * np.tanh(_softplus(x)),
}
_NAMED = frozenset(
    [
        *("relu", "clip", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "hard_swish", "hard_sigmoid"),
        *("silu", "gelu", "gelu_tanh", "mish", "softplus"),
    ]
)
