"""From a frozen TensorFlow graph to ONNX: tf2onnx, with what it lacks, and its losses as errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx

from tiercast.errors import ModelError
from tiercast.frontend.tf_handlers import HANDLERS
from tiercast.frontend.tf_recurrence import fuse_recurrences

OPSET = 18  # the newest that tf2onnx writes


def to_onnx(
    graph: Any, inputs: Sequence[str], outputs: Sequence[str], names: Mapping[str, str], origin: str
) -> Any:
    """The ONNX model (opset 18) of a tf.Graph without variables.

    inputs, outputs: tensor names ("image:0") in order. names: tensor name -> the port's name in ONNX.
    Operators that tf2onnx does not know stay as they are, under TensorFlow's name: the hub refuses them all
    at once. Raises ModelError with every node that tf2onnx fails on.
    """
    from tf2onnx import optimizer, tfonnx
    from tf2onnx.optimizer.const_fold_optimizer import ConstFoldOptimizer
    from tf2onnx.optimizer.einsum_optimizer import EinsumOptimizer
    from tf2onnx.optimizer.identity_optimizer import IdentityOptimizer
    from tf2onnx.optimizer.loop_optimizer import LoopOptimizer

    # Not its optimiser of transposes: assign_layout leaves none where they are; moved about they hide what
    # a model computes.
    wanted = (ConstFoldOptimizer, LoopOptimizer, IdentityOptimizer, EinsumOptimizer)
    rewrite = {optimiser.__name__: optimiser for optimiser in wanted}
    with failures() as failed:
        try:
            made = tfonnx.process_tf_graph(
                graph,
                opset=OPSET,
                custom_op_handlers={name: (handler, []) for name, handler in HANDLERS.items()},
                input_names=list(inputs),
                output_names=list(outputs),
                tensors_to_rename=dict(names),
            )
            proto = optimizer.optimize_graph(made, catch_errors=True, optimizers=rewrite).make_model(origin)
        except Exception as error:  # tf2onnx raises whatever its handlers meet
            nodes = "\n".join(f"  {node}" for node in failed) or f"  {_first_line(error)}"
            raise ModelError(f"{origin}: tf2onnx can't convert\n{nodes}") from error
    fuse_recurrences(proto)
    _order_ports(proto.graph, [names[name] for name in inputs], graph, inputs)
    return proto


def _order_ports(proto: onnx.GraphProto, wanted: Sequence[str], graph: Any, tensors: Sequence[str]) -> None:
    """Inputs in the model's order; one that nothing reads, which tf2onnx drops, comes back."""
    known = {port.name: port for port in proto.input}
    for name, tensor in zip(wanted, tensors, strict=True):
        if name not in known:
            found = graph.get_tensor_by_name(tensor)
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(found.dtype.as_numpy_dtype))
            known[name] = onnx.helper.make_tensor_value_info(name, kind, found.shape.as_list())
    ports = [known[name] for name in wanted]
    del proto.input[:]
    proto.input.extend(ports)


@contextmanager
def failures() -> Iterator[list[str]]:
    """Keeps tf2onnx's log off the terminal and collects 'Conv2D "block/conv": why' of nodes it fails on."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None and isinstance(record.args, tuple):
                found.append(f"{record.args[0]}: {_first_line(record.exc_info[1])}")

    logger, handler = logging.getLogger("tf2onnx"), Collect()
    before = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [handler], False
    try:
        yield found
    finally:
        logger.handlers[:], logger.propagate = before


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
