"""Writes .tflite files without TensorFlow, by the builder functions of TFLite's schema package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
import tflite

KINDS = {
    np.dtype(np.float32): "FLOAT32",
    np.dtype(np.float16): "FLOAT16",
    np.dtype(np.int8): "INT8",
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.int16): "INT16",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.bool_): "BOOL",
}


class Graph:
    """A subgraph under construction; tensors are added first, operators in the order in which they run."""

    def __init__(self) -> None:
        self.tensors: list[dict[str, Any]] = []
        self.operators: list[dict[str, Any]] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    def tensor(self, name: str, shape: Sequence[int], kind: str = "FLOAT32", **more: Any) -> int:
        """Adds a tensor. more: data, scales, zeros, axis, signature, variable, buffer, sparse."""
        self.tensors.append({"name": name, "shape": list(shape), "kind": kind, **more})
        return len(self.tensors) - 1

    def input(self, name: str, shape: Sequence[int], kind: str = "FLOAT32", **more: Any) -> int:
        self.inputs.append(self.tensor(name, shape, kind, **more))
        return self.inputs[-1]

    def constant(self, data: Any, name: str = "", **more: Any) -> int:
        array = np.asarray(data)
        name = name or f"constant{len(self.tensors)}"
        return self.tensor(name, array.shape, more.pop("kind", KINDS[array.dtype]), data=array, **more)

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        table: str = "",
        custom: str = "",
        custom_options: bytes = b"",
        **options: Any,
    ) -> None:
        made = {"kind": kind, "inputs": inputs, "outputs": outputs, "table": table, "options": options}
        self.operators.append({**made, "custom": custom, "custom_options": custom_options})

    def result(self, name: str = "y", shape: Sequence[int] = (1,), kind: str = "FLOAT32", **more: Any) -> int:
        """An output; LiteRT infers its shape, so that only the type counts."""
        self.outputs.append(self.tensor(name, shape, kind, **more))
        return self.outputs[-1]


def write(graphs: Graph | Sequence[Graph], signature: Mapping[str, Mapping[str, int]] | None = None) -> bytes:
    """The bytes of a .tflite file. signature: {"inputs": {name: tensor}, "outputs": ...} of the first."""
    return _Writer([graphs] if isinstance(graphs, Graph) else list(graphs)).write(signature)


class _Writer:
    def __init__(self, graphs: Sequence[Graph]) -> None:
        self._graphs = graphs
        self._b = flatbuffers.Builder(1024)
        self._buffers: list[np.ndarray | dict[str, int]] = [np.zeros(0, np.uint8)]
        ops = [op for graph in graphs for op in graph.operators]
        self._codes = list(dict.fromkeys((op["kind"], op["custom"]) for op in ops))

    def write(self, signature: Mapping[str, Mapping[str, int]] | None) -> bytes:
        b = self._b
        graphs = self._offsets("Model", "Subgraphs", [self._graph(graph) for graph in self._graphs])
        codes = self._offsets("Model", "OperatorCodes", [self._code(*code) for code in self._codes])
        buffers = self._offsets("Model", "Buffers", [self._buffer(data) for data in self._buffers])
        signatures = self._signature(signature) if signature else None
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddBuffers(b, buffers)
        if signatures is not None:
            tflite.ModelAddSignatureDefs(b, signatures)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _offsets(self, table: str, field: str, items: Sequence[int]) -> int:
        getattr(tflite, f"{table}Start{field}Vector")(self._b, len(items))
        for item in reversed(items):
            self._b.PrependUOffsetTRelative(item)
        return int(self._b.EndVector())

    def _graph(self, graph: Graph) -> int:
        b = self._b
        tensors = self._offsets("SubGraph", "Tensors", [self._tensor(tensor) for tensor in graph.tensors])
        operators = self._offsets("SubGraph", "Operators", [self._operator(op) for op in graph.operators])
        inputs = b.CreateNumpyVector(np.asarray(graph.inputs, np.int32))
        outputs = b.CreateNumpyVector(np.asarray(graph.outputs, np.int32))
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddOperators(b, operators)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        return int(tflite.SubGraphEnd(b))

    def _tensor(self, tensor: Mapping[str, Any]) -> int:
        b = self._b
        buffer = 0
        if tensor.get("data") is not None or "buffer" in tensor:
            raw = np.frombuffer(np.ascontiguousarray(tensor.get("data", 0)).tobytes(), np.uint8)
            self._buffers.append(tensor.get("buffer", raw))
            buffer = len(self._buffers) - 1
        name = b.CreateString(tensor["name"])
        shape = b.CreateNumpyVector(np.asarray(tensor["shape"], np.int32))
        signature = tensor.get("signature")
        open_shape = None if signature is None else b.CreateNumpyVector(np.asarray(signature, np.int32))
        quantization = self._quantization(tensor) if "scales" in tensor else None
        sparsity = None
        if tensor.get("sparse"):
            tflite.SparsityParametersStart(b)
            sparsity = tflite.SparsityParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddName(b, name)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, getattr(tflite.TensorType, tensor["kind"]))
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddIsVariable(b, bool(tensor.get("variable")))
        if open_shape is not None:
            tflite.TensorAddShapeSignature(b, open_shape)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        if sparsity is not None:
            tflite.TensorAddSparsity(b, sparsity)
        return int(tflite.TensorEnd(b))

    def _quantization(self, tensor: Mapping[str, Any]) -> int:
        b = self._b
        scales = np.atleast_1d(np.asarray(tensor["scales"], np.float32))
        zeros = np.broadcast_to(np.asarray(tensor.get("zeros", 0), np.int64), scales.shape)
        scale, zero = b.CreateNumpyVector(scales), b.CreateNumpyVector(np.array(zeros))
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale)
        tflite.QuantizationParametersAddZeroPoint(b, zero)
        tflite.QuantizationParametersAddQuantizedDimension(b, tensor.get("axis", 0))
        return int(tflite.QuantizationParametersEnd(b))

    def _operator(self, op: Mapping[str, Any]) -> int:
        b = self._b
        inputs = b.CreateNumpyVector(np.asarray(op["inputs"], np.int32))
        outputs = b.CreateNumpyVector(np.asarray(op["outputs"], np.int32))
        raw = np.frombuffer(op["custom_options"], np.uint8)
        blob = b.CreateNumpyVector(raw) if raw.size else None
        options = self._options(op["table"], op["options"]) if op["table"] else None
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, self._codes.index((op["kind"], op["custom"])))
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        if blob is not None:
            tflite.OperatorAddCustomOptions(b, blob)
        if options is not None:
            if hasattr(tflite.BuiltinOptions, op["table"]):
                tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, op["table"]))
                tflite.OperatorAddBuiltinOptions(b, options)
            else:
                tflite.OperatorAddBuiltinOptions2Type(b, getattr(tflite.BuiltinOptions2, op["table"]))
                tflite.OperatorAddBuiltinOptions2(b, options)
        return int(tflite.OperatorEnd(b))

    def _options(self, table: str, options: Mapping[str, Any]) -> int:
        b = self._b
        made = {
            name: b.CreateNumpyVector(np.asarray(value, np.int32)) if isinstance(value, list) else value
            for name, value in options.items()
        }
        getattr(tflite, f"{table}Start")(b)
        for name, value in made.items():
            getattr(tflite, f"{table}Add{name}")(b, value)
        return int(getattr(tflite, f"{table}End")(b))

    def _code(self, kind: str, custom: str) -> int:
        b = self._b
        name = b.CreateString(custom) if custom else None
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(b, number)
        tflite.OperatorCodeAddVersion(b, 2 if kind == "BROADCAST_TO" else 1)
        if name is not None:
            tflite.OperatorCodeAddCustomCode(b, name)
        return int(tflite.OperatorCodeEnd(b))

    def _buffer(self, data: np.ndarray | dict[str, int]) -> int:
        b = self._b
        vector = None
        if isinstance(data, np.ndarray) and data.size:
            # LiteRT wants constants aligned to 16 bytes.
            b.StartVector(1, data.size, 16)
            b.head = b.Head() - data.size
            b.Bytes[b.Head() : b.Head() + data.size] = data.tobytes()
            vector = b.EndVector()
        tflite.BufferStart(b)
        if vector is not None:
            tflite.BufferAddData(b, vector)
        if isinstance(data, dict):
            tflite.BufferAddOffset(b, data["offset"])
            tflite.BufferAddSize(b, data["size"])
        return int(tflite.BufferEnd(b))

    def _signature(self, signature: Mapping[str, Mapping[str, int]]) -> int:
        b = self._b
        vectors = {}
        for side, field in (("inputs", "Inputs"), ("outputs", "Outputs")):
            maps = []
            for name, index in signature[side].items():
                text = b.CreateString(name)
                tflite.TensorMapStart(b)
                tflite.TensorMapAddName(b, text)
                tflite.TensorMapAddTensorIndex(b, index)
                maps.append(int(tflite.TensorMapEnd(b)))
            vectors[side] = self._offsets("SignatureDef", field, maps)
        key = b.CreateString("serving_default")
        tflite.SignatureDefStart(b)
        tflite.SignatureDefAddInputs(b, vectors["inputs"])
        tflite.SignatureDefAddOutputs(b, vectors["outputs"])
        tflite.SignatureDefAddSignatureKey(b, key)
        return self._offsets("Model", "SignatureDefs", [int(tflite.SignatureDefEnd(b))])
