"""Memory planning: when each buffer of a program lives, and where in the arena it goes (placement.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from toolchain.ir.graph import Graph
from toolchain.lowering.banks import Rooms, accesses, copies_of, only_copied, spread
from toolchain.lowering.lifetimes import buffer_of, scratch_name, shapes
from toolchain.lowering.overlaps import replaced
from toolchain.lowering.packing import pack
from toolchain.lowering.placement import Item, Tie, place
from toolchain.lowering.program import (
    LINK_BYTES,
    MOVE_VARIANT,
    STAY_VARIANT,
    WAIT_VARIANT,
    KernelCall,
    MemoryPlan,
    Operand,
    Placement,
)
from toolchain.lowering.views import Views, views_of

ALIGN, STREAMED_ALIGN = 16, 8
COUNTER_BYTES = 4
Planned = tuple[tuple[KernelCall, ...], MemoryPlan]
"""Calls with their operands at their places, and the plan of the memory."""


def buffers(
    graph: Graph, calls: Sequence[KernelCall], root: Mapping[str, str], outside: frozenset[str] = frozenset()
) -> tuple[Item, ...]:
    """Buffers of all computed values and of scratch. Call i is step i + 1; step 0 is where inputs are written.

    outside: roots that the caller owns; they take no part. Every input lives from step 0, an output to the end.
    """
    end = len(calls) + 1
    whole = {value.name: value.type.bytes for value in graph.values()}
    first: dict[str, int] = {root[value.name]: 0 for value in graph.inputs}
    last: dict[str, int] = {root[value.name]: 0 for value in graph.inputs}
    for step, call in enumerate(calls, start=1):
        for operand in call.operands:
            if operand.value is not None:
                name = root[operand.value.name]
                first.setdefault(name, step)
                last[name] = step
    for value in graph.outputs:
        last[root[value.name]] = end
    found = [Item(n, whole[n], first[n], last[n]) for n in first if n not in outside]
    for step, call in enumerate(calls, start=1):
        scratch = [Item(scratch_name(call, i), o.scratch_bytes, step, step) for i, o in enumerate(call.operands)]
        found += [buffer for buffer in scratch if buffer.bytes]
    return tuple(found)


def plan_memory(
    graph: Graph, calls: Sequence[KernelCall], outside: frozenset[str] = frozenset(), rooms: Rooms | None = None
) -> Planned:
    """The calls of a program with the offsets of parts in their buffers, and its arena. outside: values that the caller owns.

    rooms: memories to share out, None for one. Buffers are placed as wholes, and so that results follow behind what is read of
    their operands; the lower arena is taken.
    """
    views = views_of(graph)
    calls = at_places(calls, views)
    root, away = views.roots, frozenset(views.roots[name] for name in outside)
    items = buffers(graph, calls, root, away)
    fine = shapes(graph, calls, root, {}, away, fine=True)
    packed = pack(fine, ALIGN, replaced=replaced(graph, calls, root))
    pieces = _pieces(graph, calls, views, frozenset(item.name for item in items))
    hollow = [replace(item, bytes=0) if item.name in pieces else item for item in items]
    parts = [part for found in pieces.values() for part, _ in found]
    ties = [Tie(name, part.name, at) for name, found in pieces.items() for part, at in found]
    placed = place((*hollow, *parts), ALIGN, ties)
    over = packed.height < placed.height
    offsets, height = (packed.offsets, packed.height) if over else (placed.offsets, placed.height)
    hulls = {shape.name: shape.hull for shape in fine}
    placements = tuple(Placement(item.name, offsets[item.name], item.bytes, *hulls[item.name]) for item in items if item.bytes)
    greedy = placed.height if placed.greedy is None else placed.greedy
    bound = min(packed.lower_bound, placed.lower_bound)
    arena = max(-(-height // ALIGN), 1) * ALIGN
    buffer_of = _buffer_of(views, {item.name for item in items})
    found = calls, MemoryPlan(placements, buffer_of, arena, ALIGN, bound, greedy, arena <= max(bound, ALIGN))
    return _in_banks(graph, found, {}, away, rooms, ALIGN)


def at_places(calls: Sequence[KernelCall], views: Views) -> tuple[KernelCall, ...]:
    """The calls with operands at their places in the buffers of larger values; those with a buffer of their own stay in it."""
    return tuple(replace(call, operands=tuple(_at_place(o, views.places) for o in call.operands)) for call in calls)


def _at_place(operand: Operand, places: Mapping[str, tuple[str, int]]) -> Operand:
    if operand.value is None or operand.place is not None:
        return operand
    _, within = places.get(operand.value.name, ("", 0))
    return replace(operand, offset=operand.offset + within) if within else operand


def _pieces(graph: Graph, calls: Sequence[KernelCall], views: Views, names: frozenset[str]) -> dict[str, list[tuple[Item, int]]]:
    """By buffer that holds smaller values: items of its bytes with equal lives, and the byte at which each starts."""
    shared = views.shared & names
    root = views.roots
    found = shapes(graph, calls, root, {}, frozenset(root.values()) - shared) if shared else ()
    return {
        shape.name: [
            (Item(f"{shape.name}#{piece.first}#{first}", piece.end - piece.first, first, last), piece.first)
            for piece in shape.pieces
            for first, last in piece.steps
        ]
        for shape in found
        if shape.name in shared
    }


def _buffer_of(views: Views, names: Collection[str]) -> Mapping[str, tuple[str, int]]:
    """Where values live, and the other buffers (scratch, rows), each in itself."""
    located = {value: (root, within) for value, (root, within) in views.places.items() if root in names}
    return {**located, **{name: (name, 0) for name in names if name not in located}}


def plan_streamed(
    graph: Graph,
    calls: Sequence[KernelCall],
    buffer_bytes: Mapping[str, int],
    outside: frozenset[str] = frozenset(),
    rooms: Rooms | None = None,
) -> Planned:
    """The arena of a program with streamed segments, and its calls without moves that come to nothing.

    calls: parts at their offsets. buffer_bytes: sizes of the buffers of tensors that are never whole. Where rows of the input are
    waited for, they are counted behind all buffers. rooms: memories to share out, None for one.
    """
    views = views_of(graph)
    root = views.roots
    away = frozenset(root[name] for name in outside)
    fine = shapes(graph, calls, root, buffer_bytes, away, fine=True)
    packed = pack(fine, STREAMED_ALIGN, replaced=replaced(graph, calls, root))
    offsets = packed.offsets
    kept = _without_idle_moves(calls, offsets, root)
    items = shapes(graph, kept, root, buffer_bytes, away, fine=True)
    placements = tuple(Placement(item.name, offsets[item.name], item.bytes, *item.hull) for item in items)
    buffer_of = _buffer_of(views, {item.name for item in items})
    counted = any(call.variant == WAIT_VARIANT for call in calls)
    counter = -(-packed.height // COUNTER_BYTES) * COUNTER_BYTES if counted else None
    more = COUNTER_BYTES * counted
    arena, bound = (-(-max(size + more, 1) // ALIGN) * ALIGN for size in (packed.height, packed.lower_bound))
    found = tuple(calls), MemoryPlan(placements, buffer_of, arena, ALIGN, bound, packed.greedy, arena == bound, counter)
    in_banks = _in_banks(graph, found, buffer_bytes, away, rooms, STREAMED_ALIGN)
    return in_banks if in_banks is not found else (kept, found[1])


def _in_banks(
    graph: Graph, plain: Planned, buffer_bytes: Mapping[str, int], away: frozenset[str], rooms: Rooms | None, align: int
) -> Planned:
    """Buffers, and constants that are worth it, in several memories; as they are where one is as good, or none hold them."""
    calls, plan = plain
    if rooms is None or rooms.is_plain or rooms.leaves(plan.arena_bytes):
        return plain
    views = views_of(graph)
    root = views.roots
    calls, constants = copies_of(calls) if rooms.copies else (calls, {})
    items = shapes(graph, calls, root, buffer_bytes, away, fine=True)
    pairs = replaced(graph, calls, root)
    counted = plan.row_counter is not None
    found = spread(items, pairs, accesses(calls, root), rooms, constants, align, COUNTER_BYTES * counted)
    if found is None:
        return plain
    kept = _without_idle_moves(only_copied(calls, found.offsets), found.offsets, root)
    items = shapes(graph, kept, root, buffer_bytes, away, fine=True)
    placements = tuple(Placement(item.name, found.offsets[item.name], item.bytes, *item.hull) for item in items)
    links = found.first_end + LINK_BYTES * len(found.further)
    return kept, replace(
        plan,
        placements=placements,
        buffer_of=_buffer_of(views, {item.name for item in items}),
        arena_bytes=found.arena_bytes,
        lower_bound_bytes=found.lower_bound,
        greedy_bytes=found.greedy,
        proven=False,
        row_counter=links if counted else None,
        further=found.further,
        links=found.first_end,
        copied={name: constant for name, constant in constants.items() if name in found.offsets},
        waits=found.waits,
        least_waits=found.least_waits,
    )


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
