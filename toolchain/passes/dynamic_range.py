"""Dynamic range: layers that store int8 weights compute on integers, with inputs quantized at run time."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir.graph import Graph, Node
from toolchain.ir.ops.dynamic import DYNAMIC, takes_dynamic
from toolchain.ir.types import DType
from toolchain.ir.verifier import verify
from toolchain.passes.quantize_rules import WEIGHTS


def with_dynamic_range(graph: Graph) -> Graph:
    """The graph whose layers read the int8 weights that `store_weights` made, where the op has a dynamic range form.

    Other layers (transposed convolutions, weights with a scale for every block) go on making their weights real.
    """
    makers = {node.output.name: node for node in graph.nodes if node.op == "dequantize" and _is_int8_constant(graph, node)}
    nodes = [_dynamic(node, makers) for node in graph.nodes]
    needed = {value.name for value in (*graph.outputs, *(value for node in nodes for value in node.inputs))}
    kept = [node for node in nodes if node.output.name in needed or node.output.name not in makers]
    return verify(graph.rewrite(kept, graph.constants))


def _is_int8_constant(graph: Graph, node: Node) -> bool:
    return node.inputs[0].name in graph.constants and node.inputs[0].type.dtype is DType.I8


def _dynamic(node: Node, makers: dict[str, Node]) -> Node:
    maker = makers.get(node.inputs[WEIGHTS].name) if node.op in DYNAMIC else None
    if maker is None:
        return node
    inputs = (*node.inputs[:WEIGHTS], maker.inputs[0], *node.inputs[WEIGHTS + 1 :])
    op = DYNAMIC[node.op]
    return node if takes_dynamic(op, [value.type for value in inputs]) else replace(node, op=op, inputs=inputs)
