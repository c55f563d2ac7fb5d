"""Neighbouring tables of bytes become one: requantize, activation, requantize cost what one of them costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from targets.model import Target
from toolchain.ir.graph import Graph, Node
from toolchain.lowering.kernels.lut import bind_bytes, bind_chain, feeds
from toolchain.lowering.program import Choice
from toolchain.lowering.variants import candidates


def table_chains(graph: Graph) -> Mapping[str, tuple[Node, ...]]:
    """Chains of at least two nodes, by the name of every node in them, where only the last one's result is read elsewhere."""
    users, ends = graph.users(), {value.name for value in graph.outputs}
    found: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        if len(node.outputs) != 1 or node.name in found:
            continue
        chain: tuple[Node, ...] = (node,)
        while (
            chain[-1].name not in ends and len(after := users.get(chain[-1].name, [])) == 1 and feeds(graph, chain[-1], after[0])
        ):
            chain += (after[0],)
        if len(chain) > 1:
            found |= {each.name: chain for each in chain}
    return found


def choose_chain(graph: Graph, chain: tuple[Node, ...], target: Target) -> Choice:
    """The call of one table for a whole chain."""
    last = chain[-1]
    tables = [variant for variant in candidates(graph, last, target) if variant.bind is bind_bytes]
    variant = min(tables, key=lambda each: each.predict(graph, last, target).instructions)
    (call,) = variant.calls(graph, last, target)
    made = bind_chain(graph, chain)
    return Choice(last, (replace(call, shape=made.shape, operands=made.operands),), None)
