"""Local response normalisation (Krizhevsky et al. 2012, §3.3) as arithmetic."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import insert_before, like, new_constant, static_shape, take_over


def expand_response_norm(node: ir.Node) -> str | None:
    """x / (bias + alpha / size * Σ x²)^beta over `size` neighbouring channels, for an ONNX LRN of x
    [N,C,H,W].

    The sum over channels is a 1x1 convolution with a band of ones, which keeps channels-last order and runs
    as a matrix product. Inserts the nodes, gives them the node's uses, returns None; or the refusal, with
    nothing changed.
    """
    source, graph, out = node.inputs[0], node.graph, node.outputs[0]
    shape = static_shape(source)
    if source is None or shape is None or len(shape) != 4 or not isinstance(graph, ir.Graph):
        return "its input is no image of static shape"
    size = node.attributes["size"].as_int()
    alpha, beta, bias = (_number(node, *item) for item in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    channels = shape[1]
    distance = np.arange(channels)[None, :] - np.arange(channels)[:, None]  # input minus output channel
    band = (distance >= -((size - 1) // 2)) & (distance <= size // 2)
    weight = (band * (alpha / size)).astype(np.float32).reshape(channels, channels, 1, 1)
    constants = {
        "weight": weight,
        "bias": np.full(channels, bias, np.float32),
        "power": np.asarray(-beta, np.float32),
    }
    made = {name: new_constant(graph, f"{out.name}.{name}", data) for name, data in constants.items()}
    square, total, factor, result = (
        like(out, f"{out.name}.{name}") for name in ("square", "sum", "factor", "result")
    )
    insert_before(
        node,
        [
            ir.node("Mul", [source, source], outputs=[square], name=square.name),
            ir.node("Conv", [square, made["weight"], made["bias"]], outputs=[total], name=total.name),
            ir.node("Pow", [total, made["power"]], outputs=[factor], name=factor.name),
            ir.node("Mul", [source, factor], outputs=[result], name=node.name),
        ],
    )
    take_over(out, result)
    return None


def _number(node: ir.Node, name: str, default: float) -> float:
    return node.attributes[name].as_float() if name in node.attributes else default
