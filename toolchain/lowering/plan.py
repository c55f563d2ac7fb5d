"""Memory planning: when each buffer lives, and where in the arena it goes.

Greedy by size: the largest buffer first, each at the lowest offset where no buffer of an overlapping lifetime is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from toolchain.ir.graph import Graph
from toolchain.lowering.lifetimes import buffer_of, scratch_name, shapes
from toolchain.lowering.packing import pack
from toolchain.lowering.program import KernelCall, MemoryPlan, Placement
from toolchain.lowering.stream import MOVE
from toolchain.lowering.views import roots

ALIGN, STREAMED_ALIGN = 16, 8


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes that must not overlap others between two steps. Step 0 is before the first call (inputs are written)."""

    name: str
    bytes: int
    first: int
    last: int


def align_up(size: int, align: int) -> int:
    """The next multiple of `align`."""
    return -(-size // align) * align


def buffers(graph: Graph, calls: Sequence[KernelCall], outside: frozenset[str] = frozenset()) -> tuple[Buffer, ...]:
    """Buffers of all computed values and of scratch. Call i is step i + 1; outputs live through the last step.

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
    found = [Buffer(n, size[n], first[n], last[n]) for n in first if n not in outside]
    for step, call in enumerate(calls, start=1):
        scratch = [Buffer(scratch_name(call, i), o.scratch_bytes, step, step) for i, o in enumerate(call.operands)]
        found += [buffer for buffer in scratch if buffer.bytes]
    return tuple(found)


def place(items: Sequence[Buffer], align: int = ALIGN) -> tuple[Placement, ...]:
    """Offsets of the buffers, greedy by size; ties go to the earlier lifetime, then the name."""
    placed: list[Placement] = []
    for item in sorted(items, key=lambda b: (-b.bytes, b.first, b.name)):
        busy = sorted((p.offset, p.offset + p.bytes) for p in placed if p.first <= item.last and item.first <= p.last)
        offset = 0
        for start, stop in busy:
            if offset + item.bytes <= start:
                break
            offset = max(offset, align_up(stop, align))
        placed.append(Placement(item.name, offset, item.bytes, item.first, item.last))
    return tuple(placed)


def plan_memory(graph: Graph, calls: Sequence[KernelCall], outside: frozenset[str] = frozenset()) -> MemoryPlan:
    """The arena of a program. outside: names of values that the caller owns."""
    root = roots(graph)
    shared_outside = frozenset(root[name] for name in outside)
    placements = place(buffers(graph, calls, shared_outside))
    names = {placement.name for placement in placements}
    located: Mapping[str, tuple[str, int]] = {v: (r, 0) for v, r in root.items() if r in names}
    scratch = {name: (name, 0) for name in names if name not in located}
    arena = max((p.offset + p.bytes for p in placements), default=0)
    return MemoryPlan(placements, {**located, **scratch}, align_up(max(arena, 1), ALIGN), ALIGN)


def plan_streamed(
    graph: Graph, calls: Sequence[KernelCall], buffer_bytes: Mapping[str, int], outside: frozenset[str] = frozenset()
) -> tuple[tuple[KernelCall, ...], MemoryPlan]:
    """The arena of a program with streamed segments, and its calls without the moves that came to nothing.

    buffer_bytes: sizes of the buffers of tensors that are never whole.
    """
    root = roots(graph)
    away = frozenset(root[name] for name in outside)
    offsets = pack(shapes(graph, calls, root, buffer_bytes, away), STREAMED_ALIGN).offsets
    kept = _without_idle_moves(calls, offsets, root)
    items = shapes(graph, kept, root, buffer_bytes, away)
    placements = tuple(Placement(item.name, offsets[item.name], item.bytes, *item.hull) for item in items)
    names = {item.name for item in items}
    located = {v: (r, 0) for v, r in root.items() if r in names}
    others = {name: (name, 0) for name in names if name not in located}
    arena = max((p.offset + p.bytes for p in placements), default=1)
    return kept, MemoryPlan(placements, {**located, **others}, align_up(arena, ALIGN), ALIGN)


def _without_idle_moves(
    calls: Sequence[KernelCall], offsets: Mapping[str, int], root: Mapping[str, str]
) -> tuple[KernelCall, ...]:
    """The calls but for moves between buffers at the same place, which become one buffer."""
    kept: list[KernelCall] = []
    same: dict[str | None, str | None] = {}
    for call in calls:
        call = replace(call, operands=tuple(replace(o, place=same.get(o.place, o.place)) for o in call.operands))
        source, target = (buffer_of(call, i, root) for i in (0, -1))
        if call.node.op == MOVE and source != target and offsets[source or ""] == offsets[target or ""]:
            same[call.operands[-1].place] = call.operands[0].place
        else:
            kept.append(call)
    return tuple(kept)
