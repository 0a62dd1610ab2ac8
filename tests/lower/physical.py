"""Small physical graphs for tests, built the way legalisation builds them, with numpy as their judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from tiercast.ops.layouter import Layouter
from tiercast.ops.registry import DOMAIN, dense_strides, shape


@dataclass
class PhysicalGraph:
    """A physical graph under construction; `arrays` holds what numpy says each value is."""

    layout: Layouter = field(default_factory=Layouter)
    inputs: list[ir.Value] = field(default_factory=list)
    arrays: dict[ir.Value, np.ndarray] = field(default_factory=dict)

    def input(self, *dims: int) -> ir.Value:
        """A new f32 graph input of distinct numbers around zero."""
        index = len(self.inputs)
        value = ir.Value(name=f"x{index}", shape=ir.Shape(dims), type=ir.TensorType(ir.DataType.FLOAT))
        self.inputs.append(value)
        count = int(np.prod(dims))
        self.arrays[value] = (np.arange(count, dtype=np.float32) - count // 2 + index / 8).reshape(dims)
        return value

    def relu(self, x: ir.Value) -> ir.Value:
        """An elementwise step: takes and gives strided windows."""
        return self._emit("Pointwise", [x], {"program": ["relu i0"]}, np.maximum(self.arrays[x], 0))

    def reverse(self, x: ir.Value) -> ir.Value:
        """A Copy that reverses the elements of x: it reads dense memory only."""
        count = int(np.prod(shape(x)))
        strides = [-step for step in dense_strides(shape(x))]
        attributes = {
            "dims": list(shape(x)),
            "in_strides": strides,
            "offset": count - 1,
            "shape": list(shape(x)),
        }
        return self._emit("Copy", [x], attributes, self.arrays[x].reshape(-1)[::-1].reshape(shape(x)))

    def reshape(self, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        """The same elements under another shape."""
        return self._emit("Reshape", [x], {"shape": list(dims)}, self.arrays[x].reshape(dims))

    def slice(self, x: ir.Value, axis: int, start: int, size: int) -> ir.Value:
        """`size` elements along one axis, from `start` on."""
        starts, sizes = [0] * len(shape(x)), list(shape(x))
        starts[axis], sizes[axis] = start, size
        picked = np.take(self.arrays[x], range(start, start + size), axis)
        return self._emit("Slice", [x], {"starts": starts, "sizes": sizes}, picked)

    def concat(self, pieces: Sequence[ir.Value], axis: int) -> ir.Value:
        """Pieces one after another along an axis."""
        return self._emit(
            "Concat", pieces, {"axis": axis}, np.concatenate([self.arrays[x] for x in pieces], axis)
        )

    def model(self, *outputs: ir.Value) -> ir.Model:
        """The finished model."""
        graph = ir.Graph(
            self.inputs,
            outputs,
            nodes=self.layout.nodes,
            initializers=list(self.layout.initializers.values()),
            opset_imports={"": 23, DOMAIN: 1},
            name="physical",
        )
        return ir.Model(graph, ir_version=10)

    def feed(self) -> dict[str, np.ndarray]:
        """The arrays of the graph inputs by name."""
        return {str(value.name): self.arrays[value] for value in self.inputs}

    def _emit(
        self, op: str, inputs: Sequence[ir.Value], attributes: dict[str, object], result: np.ndarray
    ) -> ir.Value:
        (made,) = self.layout.emit(op, list(inputs), attributes)
        assert shape(made) == result.shape
        self.arrays[made] = result
        return made
