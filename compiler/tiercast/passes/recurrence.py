"""LSTM, GRU and RNN that the recurrent kernels do not take, step by step in other operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.expansion import Expansion, known_shape, option
from tiercast.passes.unroll_loops import MAX_TRIPS

_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
# The functions' default alpha and beta (ONNX's Operators.md, LSTM); those not listed have none.
_ALPHAS = {"Affine": 1.0, "LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "ScaledTanh": 1.0}
_ALPHAS |= {"HardSigmoid": 0.2, "Elu": 1.0}
_BETAS = {"Affine": 0.0, "ScaledTanh": 1.0, "HardSigmoid": 0.5}
_PLAIN = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}
_SPELLED = {name.lower(): name for name in _ALPHAS} | _PLAIN

Activation = Callable[[ir.Value], ir.Value]


def is_unusual_recurrence(node: ir.Node) -> bool:
    """Whether a recurrent node has other activations than the default ones, sequences of several lengths,
    clipping, peepholes or coupled gates.
    """
    x, lengths, peepholes = _input(node, 0), _input(node, 4), _input(node, 7)
    directions = 2 if option(node, "direction", "forward") == "bidirectional" else 1
    usual = [name.lower() for name in _DEFAULTS[node.op_type] * directions]
    names = [name.lower() for name in option(node, "activations", usual)]
    if names != usual or option(node, "clip", None) is not None or option(node, "input_forget", 0):
        return True
    if lengths is not None and x is not None and x.shape is not None:
        known = array(lengths)
        steps = x.shape[1 if option(node, "layout", 0) else 0]
        if known is None or bool((known != steps).any()):
            return True
    known = array(peepholes)
    return peepholes is not None and (known is None or bool(known.any()))


def expand_recurrence(node: ir.Node) -> str | None:
    """One product with W for all steps, then each step's gates (ONNX's LSTM, GRU and RNN, with layouts 0
    and 1). Rows whose sequence has ended keep their state and give zeros.
    """
    build, cell = Expansion(node), node.op_type
    batch_first, hidden = bool(option(node, "layout", 0)), known_shape(_input(node, 2))[2]
    swapped = [1, 0, 2] if batch_first else [0, 1, 2]
    x = build.op("Transpose", node.inputs[0], perm=swapped) if batch_first else node.inputs[0]
    dims = known_shape(node.inputs[0])
    steps, batch, features = (dims[axis] for axis in swapped)
    if steps > MAX_TRIPS:
        return f"it has {steps} steps, and {MAX_TRIPS} at most are unrolled"
    rows = build.reshape(x, steps * batch, features)
    direction = option(node, "direction", "forward")
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    chosen = list(_activations(node, build, len(backwards)))
    count = len(_DEFAULTS[cell])
    sequences, states = [], []
    for at, turned in enumerate(backwards):
        side = _Side(node, build, at, hidden, chosen[at * count : (at + 1) * count])
        projected = side.project(rows, steps, batch)
        state = [side.start(index, batch, batch_first) for index in ((5, 6) if cell == "LSTM" else (5,))]
        made: list[ir.Value] = []
        for step in reversed(range(steps)) if turned else range(steps):
            now = build.op("Gather", projected, np.array(step, np.int64), axis=0)
            after = side.step(cell, now, state)
            seen, state = side.mask(step, after, state)
            made.append(build.op("Unsqueeze", seen, np.array([0], np.int64)))
        ordered = made[::-1] if turned else made
        sequences.append(build.op("Unsqueeze", build.op("Concat", *ordered, axis=0), np.array([1], np.int64)))
        states.append([build.op("Unsqueeze", item, np.array([0], np.int64)) for item in state])
    results = [build.op("Concat", *sequences, axis=1)]
    results += [build.op("Concat", *parts, axis=0) for parts in zip(*states, strict=True)]
    if batch_first:
        orders = [[2, 0, 1, 3], [1, 0, 2], [1, 0, 2]]
        results = [
            build.op("Transpose", item, perm=order) for item, order in zip(results, orders, strict=False)
        ]
    build.finish(*results)
    return None


@dataclass
class _Side:
    """One direction of a recurrent node: its weights and how a step goes."""

    node: ir.Node
    build: Expansion
    at: int
    hidden: int
    functions: Sequence[Activation]

    def project(self, rows: ir.Value, steps: int, batch: int) -> ir.Value:
        """[steps, batch, gates * hidden]: the inputs of all steps times W, with W's bias."""
        product = self.build.op("MatMul", rows, self._turned(1))
        if _input(self.node, 3) is not None:
            product = self.build.op("Add", product, self._bias(state=False))
        return self.build.reshape(product, steps, batch, -1)

    def start(self, index: int, batch: int, batch_first: bool) -> ir.Value:
        """[batch, hidden]: the initial state of input `index`, or zeros."""
        given = _input(self.node, index)
        if given is None:
            return self.build.op("Identity", np.zeros((batch, self.hidden), np.float32))
        return self.build.op("Gather", given, np.array(self.at, np.int64), axis=1 if batch_first else 0)

    def step(self, cell: str, projected: ir.Value, state: Sequence[ir.Value]) -> list[ir.Value]:
        """The states after one step; projected: [batch, gates * hidden] of this step."""
        if cell == "LSTM":
            return self._lstm(projected, *state)
        if cell == "GRU":
            return [self._gru(projected, *state)]
        return [self._act(0, self.build.op("Add", projected, self._recurrent(state[0])))]

    def mask(
        self, step: int, after: list[ir.Value], before: list[ir.Value]
    ) -> tuple[ir.Value, list[ir.Value]]:
        """What the step gives, and the states it leaves, in rows that are that long."""
        lengths = _input(self.node, 4)
        if lengths is None:
            return after[0], after
        longer = self.build.op("Greater", lengths, np.array(step, np.int32))
        running = self.build.op("Unsqueeze", longer, np.array([1], np.int64))
        kept = [self.build.op("Where", running, new, old) for new, old in zip(after, before, strict=True)]
        return self.build.op("Where", running, after[0], 0.0), kept

    def _lstm(self, projected: ir.Value, h: ir.Value, c: ir.Value) -> list[ir.Value]:
        build = self.build
        i, o, f, g = self._gates(build.op("Add", projected, self._recurrent(h)), 4)
        i = self._act(0, self._peeped(i, 0, c))
        forgotten = self._act(0, self._peeped(f, 2, c))
        if option(self.node, "input_forget", 0):
            forgotten = build.op("Sub", 1.0, i)
        kept = build.op("Mul", forgotten, c)
        cell = build.op("Add", kept, build.op("Mul", i, self._act(1, g)))
        seen = self._act(0, self._peeped(o, 1, cell))
        return [build.op("Mul", seen, self.functions[2](cell)), cell]

    def _gru(self, projected: ir.Value, h: ir.Value) -> ir.Value:
        build, hidden = self.build, self.hidden
        z, r, candidate = self._gates(projected, 3)
        if option(self.node, "linear_before_reset", 0):
            of_z, of_r, product = self._gates(self._recurrent(h), 3)
        else:
            of_z, of_r = self._gates(self._recurrent(h, 0, 2 * hidden), 2)
        z = self._act(0, build.op("Add", z, of_z))
        r = self._act(0, build.op("Add", r, of_r))
        if option(self.node, "linear_before_reset", 0):
            product = build.op("Mul", r, product)
        else:
            product = self._recurrent(build.op("Mul", r, h), 2 * hidden, 3 * hidden)
        new = self._act(1, build.op("Add", candidate, product))
        return build.op("Add", build.op("Mul", build.op("Sub", 1.0, z), new), build.op("Mul", z, h))

    def _recurrent(self, h: ir.Value, first: int = 0, last: int | None = None) -> ir.Value:
        """The state times columns of R, with R's bias."""
        columns = known_shape(_input(self.node, 2))[1] if last is None else last
        weight = self._columns(self._turned(2), first, columns, axis=1)
        product = self.build.op("MatMul", h, weight)
        if _input(self.node, 3) is None:
            return product
        return self.build.op("Add", product, self._columns(self._bias(state=True), first, columns, axis=0))

    def _gates(self, value: ir.Value, count: int) -> list[ir.Value]:
        return [self._columns(value, at * self.hidden, (at + 1) * self.hidden, axis=1) for at in range(count)]

    def _columns(self, value: ir.Value, first: int, last: int, axis: int) -> ir.Value:
        return self.build.op("Slice", value, *(np.array([item], np.int64) for item in (first, last, axis)))

    def _turned(self, index: int) -> ir.Value:
        """[k, gates * hidden]: W or R of this direction."""
        own = self.build.op("Gather", _input(self.node, index), np.array(self.at, np.int64), axis=0)
        return self.build.op("Transpose", own, perm=[1, 0])

    def _bias(self, state: bool) -> ir.Value:
        own = self.build.op("Gather", _input(self.node, 3), np.array(self.at, np.int64), axis=0)
        half = known_shape(_input(self.node, 3))[1] // 2
        return self._columns(own, half * state, half * (1 + state), axis=0)

    def _peeped(self, gate: ir.Value, which: int, c: ir.Value) -> ir.Value:
        peepholes = _input(self.node, 7)
        if peepholes is None:
            return gate
        own = self.build.op("Gather", peepholes, np.array(self.at, np.int64), axis=0)
        weight = self._columns(own, which * self.hidden, (which + 1) * self.hidden, axis=0)
        return self.build.op("Add", gate, self.build.op("Mul", weight, c))

    def _act(self, which: int, value: ir.Value) -> ir.Value:
        """A gate's function of its sum, which `clip` bounds."""
        clip = option(self.node, "clip", None)
        if clip is not None:
            value = self.build.op("Clip", value, -float(clip), float(clip))
        return self.functions[which](value)


def _activations(node: ir.Node, build: Expansion, directions: int) -> Iterator[Activation]:
    """The functions by name; alphas and betas go, in order, to those that take one."""
    alphas, betas = option(node, "activation_alpha", []), option(node, "activation_beta", [])
    for spelled in option(node, "activations", _DEFAULTS[node.op_type] * directions):
        name = _SPELLED.get(spelled.lower())
        if name is None:
            raise ValueError(f"activation {spelled!r} is not one of {', '.join(sorted(_SPELLED.values()))}")
        alpha = (alphas.pop(0) if alphas else _ALPHAS[name]) if name in _ALPHAS else None
        beta = (betas.pop(0) if betas else _BETAS[name]) if name in _BETAS else None
        yield _activation(build, name, alpha, beta)


def _activation(build: Expansion, name: str, alpha: float | None, beta: float | None) -> Activation:
    if name == "Affine":
        return lambda x: build.op("Add", build.op("Mul", x, alpha), beta)
    if name == "ScaledTanh":
        return lambda x: build.op("Mul", build.op("Tanh", build.op("Mul", x, beta)), alpha)
    given = {key: value for key, value in (("alpha", alpha), ("beta", beta)) if value is not None}
    return lambda x: build.op(name, x, **given)


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None
