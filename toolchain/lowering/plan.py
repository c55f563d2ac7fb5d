"""Memory planning: when each buffer of a program lives, and where in the arena it goes (placement.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolchain.ir.graph import Graph
from toolchain.lowering.lifetimes import buffer_of, scratch_name, shapes
from toolchain.lowering.packing import pack
from toolchain.lowering.placement import Item, place
from toolchain.lowering.program import MOVE_VARIANT, STAY_VARIANT, WAIT_VARIANT, KernelCall, MemoryPlan, Placement
from toolchain.lowering.views import roots

ALIGN, STREAMED_ALIGN = 16, 8
COUNTER_BYTES = 4


def buffers(graph: Graph, calls: Sequence[KernelCall], outside: frozenset[str] = frozenset()) -> tuple[Item, ...]:
    """Buffers of all computed values and of scratch. Call i is step i + 1; step 0 is where inputs are written.

    outside: values that the caller owns; they take no part. Every input lives from step 0, an output to the end.
    """
    root = roots(graph)
    end = len(calls) + 1
    first: dict[str, int] = {root[value.name]: 0 for value in graph.inputs}
    last: dict[str, int] = {root[value.name]: 0 for value in graph.inputs}
    size: dict[str, int] = {root[value.name]: value.type.bytes for value in graph.inputs}
    for step, call in enumerate(calls, start=1):
        for operand in call.operands:
            if operand.value is not None:
                name = root[operand.value.name]
                first.setdefault(name, step)
                last[name] = step
                size[name] = max(size.get(name, 0), operand.value.type.bytes)
    for value in graph.outputs:
        last[root[value.name]] = end
    found = [Item(n, size[n], first[n], last[n]) for n in first if n not in outside]
    for step, call in enumerate(calls, start=1):
        scratch = [Item(scratch_name(call, i), o.scratch_bytes, step, step) for i, o in enumerate(call.operands)]
        found += [buffer for buffer in scratch if buffer.bytes]
    return tuple(found)


def plan_memory(graph: Graph, calls: Sequence[KernelCall], outside: frozenset[str] = frozenset()) -> MemoryPlan:
    """The arena of a program. outside: names of values that the caller owns."""
    root = roots(graph)
    shared_outside = frozenset(root[name] for name in outside)
    items = buffers(graph, calls, shared_outside)
    placed = place(items, ALIGN)
    placements = tuple(Placement(item.name, placed.offsets[item.name], item.bytes, item.first, item.last) for item in items)
    names = set(placed.offsets)
    located: Mapping[str, tuple[str, int]] = {v: (r, 0) for v, r in root.items() if r in names}
    scratch = {name: (name, 0) for name in names if name not in located}
    greedy = placed.height if placed.greedy is None else placed.greedy
    arena = max(placed.height, ALIGN)
    return MemoryPlan(placements, {**located, **scratch}, arena, ALIGN, placed.lower_bound, greedy, placed.proven)


def plan_streamed(
    graph: Graph, calls: Sequence[KernelCall], buffer_bytes: Mapping[str, int], outside: frozenset[str] = frozenset()
) -> tuple[tuple[KernelCall, ...], MemoryPlan]:
    """The arena of a program with streamed segments, and its calls without the moves that came to nothing.

    buffer_bytes: sizes of the buffers of tensors that are never whole. Where rows of the input are waited for, they are counted
    behind all buffers.
    """
    root = roots(graph)
    away = frozenset(root[name] for name in outside)
    packed = pack(shapes(graph, calls, root, buffer_bytes, away), STREAMED_ALIGN)
    offsets = packed.offsets
    kept = _without_idle_moves(calls, offsets, root)
    items = shapes(graph, kept, root, buffer_bytes, away)
    placements = tuple(Placement(item.name, offsets[item.name], item.bytes, *item.hull) for item in items)
    names = {item.name for item in items}
    located = {v: (r, 0) for v, r in root.items() if r in names}
    others = {name: (name, 0) for name in names if name not in located}
    counted = any(call.variant == WAIT_VARIANT for call in calls)
    counter = -(-packed.height // COUNTER_BYTES) * COUNTER_BYTES if counted else None
    more = COUNTER_BYTES * counted
    arena, bound = (-(-max(size + more, 1) // ALIGN) * ALIGN for size in (packed.height, packed.lower_bound))
    return kept, MemoryPlan(placements, {**located, **others}, arena, ALIGN, bound, packed.greedy, arena == bound, counter)


def _without_idle_moves(
    calls: Sequence[KernelCall], offsets: Mapping[str, int], root: Mapping[str, str]
) -> tuple[KernelCall, ...]:
    """The calls but for moves of whole tensors between buffers at the same place, which become one buffer.

    Moves of rows to where they are stay as calls without code.
    """
    kept: list[KernelCall] = []
    same: dict[str | None, str | None] = {}
    for call in calls:
        call = replace(call, operands=tuple(replace(o, place=same.get(o.place, o.place)) for o in call.operands))
        if call.variant != MOVE_VARIANT:
            kept.append(call)
            continue
        source, target = (buffer_of(call, i, root) or "" for i in (0, -1))
        stays = all(name in offsets for name in (source, target)) and (
            offsets[source] + call.operands[0].offset == offsets[target] + call.operands[-1].offset
        )
        if stays and call.operands[0].rows is None and source != target:
            same[call.operands[-1].place] = call.operands[0].place
        else:
            kept.append(replace(call, variant=STAY_VARIANT, instructions=0, cycles=0) if stays else call)
    return tuple(kept)
