"""Replays who owns every byte of the arena, call by call, from the calls and offsets of a program alone.

Every byte has an owner: a byte of a tensor, of a copied constant, scratch, or nobody. A call must find the bytes of the tensors
that it reads where it reads them, touch nothing outside its buffers, and write nowhere that it also reads. A byte destroyed too
early, or spoiled by the call that read it before, is found missing when it is read. The bytes of a tensor that no call writes are
those that its node moves there by its meaning. Copies of constants must outlast the run. A call that goes through images row by
row (overlaps.py) reads and writes them in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product

import numpy as np

from toolchain.ir.graph import Value
from toolchain.ir.types import Array
from toolchain.lowering.overlaps import images_by_rows, in_turn, may_replace
from toolchain.lowering.program import (
    LINK_BYTES,
    MOVE_VARIANT,
    POOL_SUMS,
    STAY_VARIANT,
    WAIT_VARIANT,
    Constant,
    KernelCall,
    Operand,
    Program,
)
from toolchain.reference.evaluator import run_node

NOBODY = -1
Span = tuple[int, int]
COUNTER_BYTES = 4


def faults(program: Program) -> list[str]:
    """What is wrong with the memory of a program, one sentence each; empty when nothing is."""
    return list(_Replay(program).run())


class _Replay:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.arena = np.full(program.plan.arena_bytes, NOBODY, np.int64)
        self.producers = program.graph.producers()
        makers = (call.node for call in program.calls if call.variant not in (MOVE_VARIANT, STAY_VARIANT))
        self.written = {name for node in makers for name in _names(node.outputs)}
        self.owners: dict[str, Array] = {}
        self.copies: dict[object, int] = {}
        self.sizes = {placed.name: placed.bytes for placed in program.plan.placements}
        self.starts = {placed.name: placed.offset for placed in program.plan.placements}

    def run(self) -> Iterator[str]:
        """Every fault in order."""
        for placed in self.program.plan.placements:
            if placed.offset + placed.bytes > self.program.plan.arena_bytes:
                yield f"{placed.name} ends at {placed.offset + placed.bytes}, above the arena"
        yield from self._reserved()
        for name, constant in self.program.plan.copied.items():
            yield from self._write("the start", Operand("void", constant=constant, place=name), 0)
        for value in self.program.graph.inputs:
            yield from self._write("the input", Operand("void", value, writable=True), 0)
        for number, call in enumerate(self.program.calls, 1):
            yield from self._call(f"call {number}, {call.node.op} {call.node.name},", call)
        for value in self.program.graph.outputs:
            yield from self._read("the output", Operand("void", value), 0, None)
        for name, constant in self.program.plan.copied.items():
            yield from self._read("the next run", Operand("void", constant=constant, place=name), 0, None)

    def _reserved(self) -> Iterator[str]:
        """Buffers that cross from one bank into the next, and what the first bank holds besides where buffers lie."""
        plan = self.program.plan
        for placed in plan.placements:
            if plan.bank(placed.offset) != plan.bank(max(placed.offset + placed.bytes - 1, placed.offset)):
                yield f"{placed.name} lies in two banks"
        kept = [] if plan.row_counter is None else [("the rows are counted", plan.row_counter, COUNTER_BYTES)]
        kept += [("the addresses of banks are kept", plan.links, LINK_BYTES * len(plan.further))] if plan.further else []
        for what, start, size in kept:
            inside = 0 <= start <= plan.first_bytes - size
            if not inside or any(_meet((p.offset, p.offset + p.bytes), (start, start + size)) for p in plan.placements):
                yield f"{what} at {start}, inside a buffer or above the first bank"

    def _call(self, who: str, call: KernelCall) -> Iterator[str]:
        if call.variant == WAIT_VARIANT and any(operand.offset for operand in call.operands):
            yield f"{who} waits for a row elsewhere than where the caller writes it"
        images = images_by_rows(call)
        whole = [(index, operand) for index, operand in enumerate(call.operands) if not _among(operand, images)]
        yield from self._shared(who, call, images)
        for index, operand in whole:
            if operand.spoiled or not operand.is_written:
                yield from self._read(who, operand, index, call)
        for parts in in_turn(call, images) if images else ():
            for part in parts[:-1]:
                yield from self._read(who, part, 0, call)
            yield from self._write(who, parts[-1], 0, call)
        for index, operand in whole:
            if operand.is_written:
                yield from self._write(who, operand, index, call)

    def _shared(self, who: str, call: KernelCall, images: Sequence[Operand]) -> Iterator[str]:
        """Bytes that a call writes and uses otherwise, too, but for a result over images that it goes through row by row."""
        if call.variant in (MOVE_VARIANT, STAY_VARIANT):
            return
        turns = list(in_turn(call, images)) if images else []
        inside: list[tuple[Operand, list[Span]]] = []
        for index, operand in enumerate(call.operands):
            if self._buffer(operand, index, call) is not None:
                parts = [part for turn in turns for part, image in zip(turn, images, strict=True) if image is operand]
                inside.append((operand, [self._span(part, index, call) for part in parts or [operand]]))
        for (one, spans), (other, other_spans) in combinations(inside, 2):
            grown = spans == other_spans and call.variant == POOL_SUMS
            in_turn_ = _among(one, images) and _among(other, images) and other.is_written and not one.is_written
            over = spans[0][0] == other_spans[0][0] and other is call.operands[-1] and _among(one, may_replace(call))
            used = one.is_written or other.is_written
            met = next((both for both in product(spans, other_spans) if _meet(*both)), None)
            if met is not None and used and not (grown or in_turn_ or over):
                first, end = max(met[0][0], met[1][0]), min(met[0][1], met[1][1])
                yield f"{who} writes bytes {first} to {end} that it also uses otherwise"

    def _buffer(self, operand: Operand, index: int, call: KernelCall | None) -> str | None:
        """The buffer in the arena that an operand lies in, None for constants in flash and what the caller owns."""
        if operand.constant is not None:
            return operand.place
        if operand.value is None:
            return f"{call.node.name}#scratch{index}" if call is not None else None
        name = operand.place or self.program.root_of[operand.value.name]
        return name if name in self.sizes else None

    def _span(self, operand: Operand, index: int, call: KernelCall | None) -> tuple[int, int]:
        start = self.starts[self._buffer(operand, index, call) or ""] + operand.offset
        return start, start + operand.touched_bytes

    def _owned(self, value: Value | Constant, operand: Operand) -> Array:
        """The owners of the bytes that an operand means."""
        if isinstance(value, Constant):
            start = self.copies.setdefault(value.key, -2 - (len(self.copies) << 32))
            return start - np.arange(value.bytes)
        first = 0 if operand.rows is None else operand.rows[0] * (value.type.bytes // value.type.shape[1])
        size = value.type.dtype.bits // 8
        owners = self._elements(value).reshape(-1, 1) + np.arange(size)
        return owners.reshape(-1)[first : first + operand.touched_bytes]

    def _elements(self, value: Value) -> Array:
        """The owner of the first byte of every element, in the value's shape."""
        if value.name not in self.owners:
            node = self.producers.get(value.name)
            if node is None or value.name in self.written:
                first = len(self.owners) << 32
                self.owners[value.name] = first + np.arange(0, value.type.bytes, value.type.dtype.bits // 8).reshape(
                    value.type.shape
                )
            else:
                moved = run_node(node, [self._elements(each) for each in node.inputs])
                self.owners |= dict(zip(_names(node.outputs), moved, strict=True))
        return self.owners[value.name]

    def _read(self, who: str, operand: Operand, index: int, call: KernelCall | None) -> Iterator[str]:
        held = operand.constant or operand.value
        if held is None or self._buffer(operand, index, call) is None:
            return
        first, end = self._span(operand, index, call)
        if (self.arena[first:end] != self._owned(held, operand)[: max(len(self.arena) - first, 0)]).any():
            name = operand.place if isinstance(held, Constant) else held.name
            yield f"{who} reads {name} rows {operand.rows} at {first}, where something else lies"

    def _write(self, who: str, operand: Operand, index: int, call: KernelCall | None = None) -> Iterator[str]:
        name = self._buffer(operand, index, call)
        if name is None:
            return
        first, end = self._span(operand, index, call)
        if operand.offset < 0 or operand.offset + operand.touched_bytes > self.sizes[name]:
            yield f"{who} writes bytes {operand.offset} to {operand.offset + end - first} of {name}, which has {self.sizes[name]}"
        left = None if operand.spoiled else operand.constant or operand.value
        owners = NOBODY if left is None else self._owned(left, operand)[: max(len(self.arena) - first, 0)]
        self.arena[first:end] = owners


def _meet(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _among(operand: Operand, others: Iterable[Operand]) -> bool:
    return any(operand is other for other in others)


def _names(values: Iterable[Value]) -> Iterator[str]:
    return (value.name for value in values)
