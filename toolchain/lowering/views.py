"""Values that share memory: an op that moves nothing costs nothing.

Values of the same bytes (reshape, a transpose of ones) are one cell. A cell may lie inside another one, at an offset: the parts
of a concat in its result, slices in what they are cut from, where a part is one run of bytes. Every value is written once, so
bytes that are the same stay the same. A graph input or output is never a part: the caller knows its buffer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from toolchain.ir.graph import Graph, Node, Value

WORD_BYTES = 4
"""Kernels load words where a tensor starts at one: fewer cycles on Cortex-M3 and M4, and loads of 32 bits on MVE's fast paths.

So a part starts at a word and at its element; no kernel needs more. Only what MOVED_BY writes may start anywhere.
"""
MOVED_BY = frozenset({"copy", "broadcast_to"})
"""Ops whose kernels write from any address on."""


@dataclass(frozen=True, slots=True)
class Views:
    """places: the value whose buffer holds each value, and at which byte, by value name. free: names of nodes without code.

    shared: names of values whose buffers hold smaller ones.
    """

    places: Mapping[str, tuple[str, int]]
    free: frozenset[str]
    shared: frozenset[str]

    @property
    def roots(self) -> Mapping[str, str]:
        """The value whose buffer holds each value, by value name."""
        return {name: root for name, (root, _) in self.places.items()}


def views_of(graph: Graph) -> Views:
    """What shares memory in a graph."""
    cells = Cells(graph)
    free = {node.name for node in graph.nodes if cells.joins(node) or cells.nest(node)}
    places = {value.name: cells.place(value.name) for value in graph.values()}
    return Views(places, frozenset(free), frozenset(cells.root(name) for name in cells.parent))


def roots(graph: Graph) -> Mapping[str, str]:
    """The value whose buffer holds each value, by value name; it may be larger."""
    return views_of(graph).roots


def may_share(graph: Graph, node: Node) -> bool:
    """True when the node may be one that needs no code, by itself alone."""
    return _joins(node, graph.constants) or bool(parts_of(node))


class Cells:
    """Cells of a graph, and which lie inside which. parent: cell and byte offset within it, by cell."""

    def __init__(self, graph: Graph) -> None:
        self.constants = graph.constants
        self.cell: dict[str, str] = {}
        self.parent: dict[str, tuple[str, int]] = {}
        self.producers, self.users = graph.producers(), graph.users()
        for node in graph.nodes:
            if self.joins(node):
                self.cell[node.output.name] = self.of(node.inputs[0].name)
        self._ends = {self.of(value.name) for value in (*graph.inputs, *graph.outputs)}

    def of(self, name: str) -> str:
        """The cell of a value."""
        return self.cell.get(name, name)

    def root(self, cell: str) -> str:
        """The outermost cell around a cell."""
        while cell in self.parent:
            cell, _ = self.parent[cell]
        return cell

    def place(self, name: str) -> tuple[str, int]:
        """The value whose buffer holds a value, and at which byte."""
        cell, offset = self.of(name), 0
        while cell in self.parent:
            cell, within = self.parent[cell]
            offset += within
        return cell, offset

    def joins(self, node: Node) -> bool:
        """True when the node's output is its input's bytes, and both are computed."""
        return _joins(node, self.constants)

    def nest(self, node: Node) -> bool:
        """Put the parts of a node into the whole; True when all of them fit and the node needs no code."""
        parts = parts_of(node)
        if not parts:
            return False
        whole = node.output if node.op == "concat" else node.inputs[0]
        if whole.name in self.constants:
            return False
        before = dict(self.parent)
        for part, offset in parts:
            if not self.fits(part, offset):
                self.parent = before
                return False
            self.put(part, whole, offset)
        return True

    def put(self, part: Value, whole: Value, offset: int) -> None:
        """Let a part lie in the whole."""
        self.parent[self.of(part.name)] = (self.of(whole.name), offset)

    def fits(self, part: Value, offset: int) -> bool:
        """True when a value may lie at an offset of another: computed, in no other yet, at a word or written from anywhere."""
        cell = self.of(part.name)
        if part.name in self.constants or cell in self._ends or cell in self.parent:
            return False
        producer, readers = self.producers.get(part.name), self.users.get(part.name, ())
        moved = producer is not None and producer.op in MOVED_BY and len(readers) <= 1
        return moved or offset % max(WORD_BYTES, part.type.dtype.bits // 8) == 0


def parts_of(node: Node) -> tuple[tuple[Value, int], ...]:
    """The inputs of a concat or the outputs of a slice or split, with their byte offsets in the whole.

    None where a part is not a single run of bytes, or is empty.
    """
    element, odd = divmod(node.output.type.dtype.bits, 8)
    if odd or any(value.type.elements == 0 for value in (*node.inputs, *node.outputs)):
        return ()
    match node.op:
        case "concat" | "split":
            axis, parts = node.attrs.axis, node.inputs if node.op == "concat" else node.outputs
            if math.prod(node.output.type.shape[:axis]) != 1:
                return ()
            starts = [sum(part.type.bytes for part in parts[:index]) for index in range(len(parts))]
            return tuple(zip(parts, starts, strict=True))
        case "slice":
            start = _start_of_run(node)
            return () if start is None else ((node.output, start * element),)
        case _:
            return ()


def _start_of_run(node: Node) -> int | None:
    """The element of the input at which the output of a slice starts, None where it is not one run of elements."""
    shape, taken = node.inputs[0].type.shape, node.output.type.shape
    cut = [axis for axis, (size, kept) in enumerate(zip(shape, taken, strict=True)) if size != kept]
    forward = all(size == 1 or step == 1 for size, step in zip(taken, node.attrs.step, strict=True))
    if not forward or not cut or math.prod(taken[: cut[-1]]) != 1:
        return None
    return sum(begin * math.prod(shape[axis + 1 :]) for axis, begin in enumerate(node.attrs.begin))


def _joins(node: Node, constants: Collection[str]) -> bool:
    return bool(node.inputs) and node.inputs[0].name not in constants and _keeps_bytes(node)


def _keeps_bytes(node: Node) -> bool:
    """True when the first output is the first input, byte for byte."""
    shape = node.inputs[0].type.shape
    match node.op:
        case "reshape":
            return True
        case "transpose":
            moved = [axis for axis in node.attrs.perm if shape[axis] != 1]
            return moved == sorted(moved)
        case "reverse":
            return all(shape[axis] == 1 for axis in node.attrs.axes)
        case "slice":
            forward = all(size == 1 or step > 0 for size, step in zip(shape, node.attrs.step, strict=True))
            return forward and shape == node.output.type.shape
        case "space_to_depth" | "depth_to_space":
            return node.attrs.block == 1
        case "pad" | "tile" | "broadcast_to" | "concat" | "split":
            alone = len(node.inputs) == len(node.outputs) == 1
            return alone and node.inputs[0].type.elements == node.output.type.elements
        case _:
            return False
