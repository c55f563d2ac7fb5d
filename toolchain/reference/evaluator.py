"""Runs a graph by the op table. Every backend is held to its bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.errors import DataError, ModelError
from toolchain.ir.graph import Graph, Node
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array


def is_quantized(node: Node) -> bool:
    """True when a node computes on stored integers by TFLite's specification."""
    return any(value.type.quant is not None for value in (*node.outputs, *node.inputs))


def run_node(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """Outputs of one node for concrete inputs. Raises ModelError(111) where the op has no integer meaning."""
    entry = OPS[node.op]
    if not is_quantized(node):
        with np.errstate(all="ignore"):
            return entry.real(node, inputs)
    dtype = next(value.type.dtype for value in (*node.inputs, *node.outputs) if value.type.quant is not None)
    if entry.integer is None or not entry.has_integer(dtype):
        raise ModelError(111, node.name, f"{node.op} has no integer meaning on {dtype}", "Keep this node in float")
    return entry.integer(node, inputs)


def evaluate(graph: Graph, inputs: Sequence[Array], keep: Sequence[str] = ()) -> dict[str, Array]:
    """Values of the graph's outputs, and of those named in `keep`, by name.

    inputs: one array per graph input, of its stored type and exact shape. Raises DataError(201, 202) otherwise.
    Values are dropped after their last use, so memory stays near the peak of one inference.
    """
    values = dict(bind(graph, inputs))
    values.update(graph.constants)
    wanted = {*(output.name for output in graph.outputs), *keep}
    uses = Counter(value.name for node in graph.nodes for value in node.inputs)
    for node in graph.nodes:
        results = run_node(node, [values[value.name] for value in node.inputs])
        for output, result in zip(node.outputs, results, strict=True):
            values[output.name] = result.astype(output.type.dtype.numpy, copy=False).reshape(output.type.shape)
        for value in node.inputs:
            uses[value.name] -= 1
            if uses[value.name] == 0 and value.name not in wanted:
                values.pop(value.name, None)
    return {name: values[name] for name in wanted if name in values}


def run(graph: Graph, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """Outputs of the graph in order for one sample."""
    values = evaluate(graph, inputs)
    return tuple(values[output.name] for output in graph.outputs)


def bind(graph: Graph, inputs: Sequence[Array]) -> Mapping[str, Array]:
    """Inputs by name after checking count, shape and element type."""
    if len(inputs) != len(graph.inputs):
        raise DataError(201, graph.name, f"{len(inputs)} inputs were given, the graph has {len(graph.inputs)}", "Give one each")
    for value, array in zip(graph.inputs, inputs, strict=True):
        if array.shape != value.type.shape:
            raise DataError(201, value.name, f"shape {array.shape} was given, {value.type.shape} is needed", "Reshape the sample")
        if array.dtype != value.type.dtype.numpy:
            raise DataError(202, value.name, f"{array.dtype} was given, {value.type.dtype.numpy} is needed", "Convert the sample")
    return {value.name: array for value, array in zip(graph.inputs, inputs, strict=True)}
