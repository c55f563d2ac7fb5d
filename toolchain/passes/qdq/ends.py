"""Inputs and outputs of the graph become integers with the parameters of the conversions beside them."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType
from toolchain.passes.pattern import drop_unread


def integer_ends(graph: Graph) -> Graph:
    """The graph whose float32 inputs and outputs are stored integers wherever a quantize or dequantize stands beside them."""
    return _integer_outputs(_integer_inputs(graph))


def _integer_inputs(graph: Graph) -> Graph:
    """Inputs in the form that their first quantize gives them; other readers get a dequantize."""
    names = names_of(graph)
    users, ends = graph.users(), {value.name for value in graph.outputs}
    inputs: list[Value] = []
    alias: dict[str, Value] = {}
    nodes: list[Node] = []
    for value in graph.inputs:
        readers = users.get(value.name, [])
        first = next((r for r in readers if r.op == "quantize" and r.output.name not in ends), None)
        quant = None if first is None else first.output.type.quant
        if value.type.dtype is not DType.F32 or first is None or quant is None or quant.axis is not None or value.name in ends:
            inputs.append(value)
            continue
        stored = Value(value.name, first.output.type)
        inputs.append(stored)
        same = [r for r in readers if r.op == "quantize" and r.output.type == stored.type and r.output.name not in ends]
        alias |= {reader.output.name: stored for reader in same}
        if len(same) < len(readers):
            back = make_node("dequantize", (stored,), (names.fresh(f"{value.name}_real"),))
            nodes.append(back)
            alias[value.name] = back.output
    for node in graph.nodes:
        if not (node.op == "quantize" and node.output.name in alias):
            nodes.append(replace(node, inputs=tuple(alias.get(value.name, value) for value in node.inputs)))
    return replace(graph, inputs=tuple(inputs)).rewrite(nodes)


def _integer_outputs(graph: Graph) -> Graph:
    """Outputs as they are before their dequantize, under their own names."""
    names, producers = names_of(graph), graph.producers()
    fixed = {value.name for value in (*graph.inputs, *graph.outputs)} | set(graph.constants)
    renames: dict[str, str] = {}
    copied: set[str] = set()
    for value in graph.outputs:
        producer = producers.get(value.name)
        if producer is None or producer.op != "dequantize":
            continue
        stored = producer.inputs[0].name
        renames[value.name] = names.fresh(f"{value.name}_real")
        if stored in fixed or stored in renames:
            copied.add(value.name)
        else:
            renames[stored] = value.name
    renamed = graph.map_values(lambda value: replace(value, name=renames.get(value.name, value.name)))
    producers = renamed.producers()
    nodes = list(renamed.nodes)
    outputs: list[Value] = []
    for old, value in zip(graph.outputs, renamed.outputs, strict=True):
        if old.name not in renames:
            outputs.append(value)
            continue
        source = producers[value.name].inputs[0]
        if old.name in copied:
            nodes.append(make_node("copy", (source,), (old.name,)))
            source = nodes[-1].output
        outputs.append(source)
    return renamed.rewrite(drop_unread(nodes, {value.name for value in outputs}), outputs=tuple(outputs))
