"""Calls that compute nothing: rows and tensors move, and the rows of an input that comes line by line arrive."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir.graph import Graph, Node, Value
from toolchain.lowering.kernels.common import fields
from toolchain.lowering.program import MOVE_VARIANT, WAIT_VARIANT, KernelCall, Operand
from toolchain.lowering.slices import row_bytes

MOVE = "move"
"""The op of calls that move rows; no node of a graph has it."""
FEED = "push_row"
"""The op of the node that stands for an input which comes row by row; it has no operands."""
UNCOMPUTED = frozenset({MOVE, FEED})
"""Ops of calls that compute nothing."""
HEADER = "move.h"
CYCLES_PER_BYTE, CYCLES_PER_CALL = 0.8, 70
INSTRUCTIONS_PER_WORD, INSTRUCTIONS_PER_CALL = 1.05, 40
INSTRUCTIONS_PER_ROW, CYCLES_PER_ROW = 40, 60


def move_call(source: Operand, target: Operand, node: Node | None = None) -> KernelCall:
    """The call that moves a value, or rows of it, to another place, which may overlap the old one.

    node: what it is a part of, None for a move of its own.
    """
    if source.value is None:
        raise ValueError("only tensors move")
    size = source.touched_bytes
    return KernelCall(
        node or Node(MOVE, (source.value,), (source.value,)),
        MOVE_VARIANT,
        HEADER,
        "strop_move",
        "strop_copy_shape",
        fields(bytes=size),
        (source, target),
        move_instructions(size),
        round(CYCLES_PER_CALL + CYCLES_PER_BYTE * size),
    )


def move_instructions(size: int) -> int:
    """Predicted instructions of a move of so many bytes."""
    return round(INSTRUCTIONS_PER_CALL + INSTRUCTIONS_PER_WORD * size / 4)


def fed(graph: Graph) -> Graph:
    """The graph whose only input comes row by row: a node makes it. Raises ValueError where it has more, or no image."""
    if len(graph.inputs) != 1 or len(shape := graph.inputs[0].type.shape) != 4 or shape[0] != 1 or 0 in shape:
        raise ValueError("only one image of shape (1, height, width, channels) can come row by row")
    return replace(graph, inputs=(), nodes=(Node(FEED, (), graph.inputs), *graph.nodes))


def slot_of(value: Value) -> str:
    """The buffer into which the next row of an input is written."""
    return f"{value.name}#row"


def feed_calls(node: Node, first: int, end: int, start: int) -> tuple[KernelCall, ...]:
    """The calls that take rows first to end: each waits for a row and moves it on. start: the row at which the buffer begins."""
    value, calls = node.output, list[KernelCall]()
    for row in range(first, end):
        arriving = Operand("void", value, rows=(row, row + 1), place=slot_of(value))
        inside = Operand("void", value, rows=(row, row + 1), offset=(row - start) * row_bytes(value), writable=True)
        calls += (_wait(node, arriving), move_call(arriving, inside, node))
    return tuple(calls)


def unread_calls(node: Node, first: int) -> tuple[KernelCall, ...]:
    """The calls that wait for the rows from a first one on, which nothing reads: the result is there with the last row."""
    value = node.output
    places = (Operand("void", value, rows=(row, row + 1), place=slot_of(value)) for row in range(first, value.type.shape[1]))
    return tuple(_wait(node, place) for place in places)


def _wait(node: Node, arriving: Operand) -> KernelCall:
    place = (replace(arriving, writable=True),)
    return KernelCall(node, WAIT_VARIANT, HEADER, "", "", (), place, INSTRUCTIONS_PER_ROW, CYCLES_PER_ROW)


def feed_instructions(node: Node, rows: int) -> int:
    """Predicted instructions of taking so many rows."""
    return rows * (INSTRUCTIONS_PER_ROW + move_instructions(row_bytes(node.output)))
