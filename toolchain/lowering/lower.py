"""Lowering: a graph and a target become a Program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from targets.model import Target
from toolchain.errors import UsageError
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import make_node
from toolchain.lowering.banks import Rooms, rooms_of
from toolchain.lowering.limits import Limits, choose_plan
from toolchain.lowering.moves import fed
from toolchain.lowering.order import ordered
from toolchain.lowering.parts import with_parts
from toolchain.lowering.plans import Plans
from toolchain.lowering.program import Program
from toolchain.lowering.stored import with_stored_weights
from toolchain.lowering.variants import Objective
from toolchain.lowering.views import roots

NO_KERNELS: Mapping[str, str] = MappingProxyType({})
NO_LIMITS = Limits()
InterfaceMode = Literal["arena", "caller", "rows"]


def lower(
    graph: Graph,
    target: Target,
    io: InterfaceMode = "arena",
    limits: Limits = NO_LIMITS,
    objective: Objective = "balanced",
    fixed: Mapping[str, str] = NO_KERNELS,
    rooms: Rooms | None = None,
) -> Program:
    """The program of a graph on a target: the cheapest by the objective that keeps the limits and fits the target.

    io: `arena` keeps inputs and outputs in the arena, `caller` takes pointers to them, `rows` takes the only input, an image, row
    by row, whatever the objective. fixed: names of variants by the name of the node that must use them. rooms: memories to use,
    the default RAM where None.
    Raises TargetError 305 (no kernel), UsageError 901 (rows of what is no image), and what `choose_plan` raises.
    """
    return choose_plan(plans_of(graph, target, io, objective, fixed, rooms), limits, objective).program


def plans_of(
    graph: Graph,
    target: Target,
    io: InterfaceMode = "arena",
    objective: Objective = "balanced",
    fixed: Mapping[str, str] = NO_KERNELS,
    rooms: Rooms | None = None,
) -> Plans:
    """All ways to run a graph on a target, in its own order or one of less memory, whichever takes less by the objective.

    Raises UsageError 901 (rows of what is no image).
    """
    own = with_parts(with_own_outputs(with_stored_weights(graph)), fixed)
    root = roots(own)
    outside = frozenset(root[value.name] for value in (*own.inputs, *own.outputs)) if io == "caller" else frozenset[str]()
    better = ordered(own, root)
    orders = (own,) if better is own else (own, better)
    found = [Plans(_fed(each) if io == "rows" else each, target, outside, fixed, rooms or rooms_of(target)) for each in orders]
    return min(found, key=lambda plans: plans.preferred(objective).figures.arena_bytes) if len(found) > 1 else found[0]


def _fed(graph: Graph) -> Graph:
    """The graph whose input comes row by row. Raises UsageError 901 where it cannot."""
    try:
        return fed(graph)
    except ValueError as fault:
        shapes = ", ".join(f"{value.name} {value.type.shape}" for value in graph.inputs)
        raise UsageError(901, "--io rows", f"{fault}; the model takes {shapes}", "Use --io arena or --io caller") from fault


def with_own_outputs(graph: Graph) -> Graph:
    """The graph with a copy before every output that is a constant, an input's buffer, or shared with another output."""
    root, names = roots(graph), names_of(graph)
    taken = {root[value.name] for value in graph.inputs}
    nodes: list[Node] = list(graph.nodes)
    outputs: list[Value] = []
    for value in graph.outputs:
        shared = value.name in graph.constants or root[value.name] in taken
        taken.add(root[value.name])
        if shared:
            copy = make_node("copy", (value,), (names.fresh(f"{value.name}_out"),))
            nodes.append(copy)
            outputs.append(copy.output)
        else:
            outputs.append(value)
    return replace(graph, nodes=tuple(nodes), outputs=tuple(outputs))
