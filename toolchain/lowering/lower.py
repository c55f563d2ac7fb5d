"""Lowering: a graph and a target become a Program."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from targets.model import Target
from toolchain.errors import TargetError, UsageError
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import make_node
from toolchain.lowering.chains import choose_chain, table_chains
from toolchain.lowering.moves import FEED, fed, feed_calls
from toolchain.lowering.order import ordered
from toolchain.lowering.parts import with_parts
from toolchain.lowering.plan import plan_memory, plan_streamed
from toolchain.lowering.program import Choice, KernelCall, Program
from toolchain.lowering.segments import Slicer, choices_of
from toolchain.lowering.shrink import shrink
from toolchain.lowering.streaming import Streaming
from toolchain.lowering.variants import NOTHING, SLACK, Objective, choose, every_choice
from toolchain.lowering.views import roots, views_of

EXCHANGE: Final = 6.0
"""Percent of RAM that a percent of work has to save, for the objective `ram`."""
LEAST_RAM: Final = "least ram"
"""What is tried when the objective `ram` does not fit: row by row, whatever the work."""
NO_KERNELS: Mapping[str, str] = MappingProxyType({})
Attempt = Objective | Literal["least ram"]
InterfaceMode = Literal["arena", "caller", "rows"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use, in bytes; None is the target's own memory."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None


def lower(
    graph: Graph,
    target: Target,
    io: InterfaceMode = "arena",
    limits: Limits | None = None,
    objective: Objective = "balanced",
    fixed: Mapping[str, str] = NO_KERNELS,
) -> Program:
    """The program of a graph on a target.

    io: `arena` keeps inputs and outputs in the arena, `caller` takes pointers to them, `rows` takes the only input, an image, row
    by row, whatever the objective. objective: what kernels are chosen
    for; when the result does not fit the target, row by row is tried, then kernels that need less flash, before giving up.
    fixed: names of variants by the name of the node that must use them.
    Raises TargetError 305 (no kernel), 301 (RAM), 302 (weights exceed flash), UsageError 901 (rows of what is no image).
    """
    own = with_parts(with_own_outputs(graph), fixed)
    root = roots(own)
    outside = frozenset(root[value.name] for value in (*own.inputs, *own.outputs)) if io == "caller" else frozenset[str]()
    faults: list[TargetError] = []
    attempts: tuple[Attempt, ...] = (objective, "ram", LEAST_RAM, "size")
    better = ordered(own, root)
    orders: tuple[Graph, ...] = (own,) if better is own else (own, better)
    if io == "rows":
        orders = tuple(map(_fed, orders))
        attempts = (objective, LEAST_RAM)
    for attempt in dict.fromkeys(attempts):
        programs = [_attempted(each, target, outside, attempt, fixed, by_rows=io == "rows") for each in orders]
        program = min(programs, key=lambda each: each.plan.arena_bytes)
        fault = _misfit(program, limits or Limits())
        if fault is None:
            return program
        faults.append(fault)
    raise faults[0]


def _attempted(
    graph: Graph, target: Target, outside: frozenset[str], attempt: Attempt, fixed: Mapping[str, str], *, by_rows: bool
) -> Program:
    """The program of a graph in its order. by_rows: row by row whatever is attempted."""
    if attempt == LEAST_RAM:
        return _streamed(graph, target, outside, fixed, math.inf)
    if attempt == "ram" or by_rows:
        return _streamed(graph, target, outside, fixed, SLACK[attempt])
    return _plain(graph, target, outside, attempt, fixed)


def _plain(graph: Graph, target: Target, outside: frozenset[str], objective: Objective, fixed: Mapping[str, str]) -> Program:
    """The program that runs every layer on whole tensors."""
    choices = _choices(graph, target, objective, fixed, outside)
    calls = tuple(call for choice in choices for call in choice.calls)
    calls, plan = plan_memory(graph, calls, outside)
    return Program(graph, target, calls, plan, roots(graph), choices)


def _streamed(graph: Graph, target: Target, outside: frozenset[str], fixed: Mapping[str, str], slack: float) -> Program:
    """The program of the least arena that does no more than `slack` times the least work; parts of it run row by row."""
    whole = whole_calls(graph, target, fixed, outside)
    streaming = Streaming(graph, Slicer(graph, target, fixed), whole, outside)
    path = streaming.best(slack * streaming.least_work(), EXCHANGE if slack < math.inf else 0.0)
    calls, plan = plan_streamed(graph, streaming.calls(path), path.buffer_bytes, outside)
    pushed = graph.nodes[0].output if graph.nodes and graph.nodes[0].op == FEED else None
    return Program(graph, target, calls, plan, roots(graph), tuple(choices_of(calls)), pushed)


def _fed(graph: Graph) -> Graph:
    """The graph whose input comes row by row. Raises UsageError 901 where it cannot."""
    try:
        return fed(graph)
    except ValueError as fault:
        shapes = ", ".join(f"{value.name} {value.type.shape}" for value in graph.inputs)
        raise UsageError(901, "--io rows", f"{fault}; the model takes {shapes}", "Use --io arena or --io caller") from fault


def whole_calls(
    graph: Graph, target: Target, fixed: Mapping[str, str], outside: frozenset[str] = NOTHING
) -> dict[tuple[int, int], tuple[tuple[KernelCall, ...], ...]]:
    """The ways to run every node on whole tensors, the fastest and that of the least scratch, and chains of tables in a row.

    By the first and end of the nodes. outside: roots of values that the caller owns.
    """
    found: dict[tuple[int, int], tuple[tuple[KernelCall, ...], ...]] = {}
    free = views_of(graph).free
    for index, node in enumerate(graph.nodes):
        if node.op == FEED:
            found[index, index + 1] = (feed_calls(node, 0, node.output.type.shape[1], 0),)
        elif node.name in free:
            found[index, index + 1] = ((),)
        else:
            choices = every_choice(graph, node, target, fixed.get(node.name), outside)
            fast = choose(graph, node, target, "speed", fixed.get(node.name), outside)
            small = min(choices, key=lambda choice: (choice.scratch_bytes, choice.instructions))
            found[index, index + 1] = (fast.calls,) if small.scratch_bytes == fast.scratch_bytes else (fast.calls, small.calls)
    for chain in table_chains(graph).values():
        first = graph.nodes.index(chain[0])
        if graph.nodes[first : first + len(chain)] == chain:
            found[first, first + len(chain)] = (choose_chain(graph, chain, target).calls,)
    return found


def _choices(
    graph: Graph, target: Target, objective: Objective, fixed: Mapping[str, str], outside: frozenset[str]
) -> tuple[Choice, ...]:
    """The choice for every node that needs code; a chain of tables is one choice, made at its last node."""
    chains, free = table_chains(graph), views_of(graph).free
    options: list[list[Choice]] = []
    for node in graph.nodes:
        chain = chains.get(node.name, (node,))
        if node.name in free or node is not chain[-1]:
            continue
        if len(chain) > 1:
            options.append([choose_chain(graph, chain, target)])
        elif objective == "size" and node.name not in fixed:
            options.append(every_choice(graph, node, target, kept=outside))
        else:
            options.append([choose(graph, node, target, objective, fixed.get(node.name), outside)])
    return tuple(shrink(options, target.core.costs)) if objective == "size" else tuple(found[0] for found in options)


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


def _misfit(program: Program, limits: Limits) -> TargetError | None:
    """Why the arena or the weights do not fit, or None when they do."""
    target, plan = program.target, program.plan
    ram = target.ram.bytes if limits.ram_bytes is None else min(limits.ram_bytes, target.ram.bytes)
    if plan.arena_bytes > ram:
        what = f"activations need {plan.arena_bytes:,} B, {target.ram.name} has {ram:,} B; the peak is at {_peak(program)}"
        return TargetError(301, target.name, what, "Use a smaller input or model, or a target with more RAM")
    largest = max((memory for memory in target.memories if memory.role == "flash"), key=lambda memory: memory.bytes)
    flash = largest.bytes if limits.flash_bytes is None else min(limits.flash_bytes, largest.bytes)
    if program.weight_bytes > flash:
        what = f"weights need {program.weight_bytes:,} B, {largest.name} has {flash:,} B"
        return TargetError(302, target.name, what, "Use a smaller model, fewer bits, or a target with more flash")
    return None


def _peak(program: Program) -> str:
    """The layer at which most is alive, with its largest buffers, for a message."""
    placements = program.plan.placements
    change = [0] * (len(program.calls) + 3)
    for placed in placements:
        change[placed.first] += placed.bytes
        change[placed.last + 1] -= placed.bytes
    alive = list(itertools.accumulate(change))
    step = alive.index(max(alive))
    largest = sorted((p for p in placements if p.first <= step <= p.last), key=lambda p: -p.bytes)[:2]
    layer = program.calls[step - 1].node.name if 1 <= step <= len(program.calls) else "the inputs" if step == 0 else "the outputs"
    return f"{layer}, with {' and '.join(f'{p.name} of {p.bytes:,} B' for p in largest)}"
