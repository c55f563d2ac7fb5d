"""Weights of float layers that are stored in fewer bits: what a graph converts before every run, kernels read as it is stored."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType
from toolchain.lowering.kernels.stored_layers import reads_stored
from toolchain.passes.quantize_rules import WEIGHTS
from toolchain.reference.evaluator import run_node


def with_stored_weights(graph: Graph) -> Graph:
    """The graph whose layers read the stored weights themselves, where there is a kernel for that.

    Other conversions of int4, of blocks and of float16 have no kernel: those of constants are computed here, to float32.
    """
    makers = {node.name: node for node in graph.nodes if is_conversion(graph, node)}
    if not makers:
        return graph
    constants, nodes = dict(graph.constants), [_reading_stored(node, makers) for node in graph.nodes]
    needed = {value.name for value in (*graph.outputs, *(value for node in nodes for value in node.inputs))}
    kept: list[Node] = []
    for node in nodes:
        if node.name in makers and node.name not in needed:
            continue
        if node.name in makers and _has_no_kernel(node.inputs[0]):
            constants[node.name] = run_node(node, [graph.constants[node.inputs[0].name]])[0]
        else:
            kept.append(node)
    return graph.rewrite(kept, constants)


def is_conversion(graph: Graph, node: Node) -> bool:
    """True for what makes float32 numbers of a constant of integers with scales, or of float16."""
    if node.op not in ("dequantize", "cast") or node.inputs[0].name not in graph.constants:
        return False
    return node.output.type.dtype is DType.F32 and (node.op == "dequantize" or node.inputs[0].type.dtype is DType.F16)


def _reading_stored(node: Node, makers: dict[str, Node]) -> Node:
    maker = makers.get(node.inputs[WEIGHTS].name) if len(node.inputs) > WEIGHTS else None
    if maker is None or not reads_stored(node, maker.inputs[0].type):
        return node
    return replace(node, inputs=(*node.inputs[:WEIGHTS], maker.inputs[0], *node.inputs[WEIGHTS + 1 :]))


def _has_no_kernel(stored: Value) -> bool:
    quant = stored.type.quant
    return quant is None or quant.block is not None or stored.type.dtype is DType.I4
