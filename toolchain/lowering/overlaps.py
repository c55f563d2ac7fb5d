"""Which kernels allow their result to lie over their operands, and how far.

What is said here of a kernel is seen on the running kernel by `tests/emulator/test_overlaps.py`, which traces its reads and
writes.
To allow a kernel here, add its name and let that test run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from toolchain.ir.graph import Graph
from toolchain.ir.types import TensorType
from toolchain.lowering.program import KernelCall, Operand
from toolchain.lowering.slices import Rows, input_height, is_even, needed, row_bytes

SCALAR = ("armv6m", "armv7m", "rv32im")
BY_ROWS = frozenset(
    {
        "armv7em.add_dsp",
        "armv7em.average_pool_2d_dsp",
        "armv7em.conv_2d_byte_dsp",
        "armv7em.conv_2d_dsp",
        "armv7em.conv_2d_winograd_dsp",
        "armv7em.depthwise_block_dsp",
        "armv7em.max_pool_2d_dsp",
        *(f"{folder}.conv_2d_quad_s8" for folder in SCALAR),
        "portable.average_pool_2d_s8",
        "portable.conv_2d_s8",
        "portable.depthwise_conv_2d_s8",
        "portable.integer_add",
        "portable.integer_mul",
        "portable.lut_8",
        "portable.max_pool_2d_s8",
        "portable.rescale",
        "portable.resize_nearest",
    }
)
"""Kernels that write the rows of their result in order, and then read no row above the window of the row that they write."""
IN_PLACE = frozenset(
    {
        "armv7em.add_dsp",
        "armv7em.depthwise_3x3_dsp",
        "armv7em.depthwise_dsp",
        *(f"{folder}.depthwise_conv_2d_plane_s8" for folder in SCALAR),
        "portable.integer_add",
        "portable.integer_mul",
        "portable.lut_8",
        "portable.rescale",
    }
)
"""Kernels that read no byte of an operand of as many channels after they have written the result's byte of the same place.

Elementwise ones, and those that go through one plane after the other: bytes of the same place are of the same channel.
"""


def images_by_rows(call: KernelCall) -> list[Operand]:
    """The operands that a call on whole tensors goes through row by row, its result the last one; none of other calls."""
    found = [operand for operand in call.operands if operand.value is not None]
    if call.variant not in BY_ROWS or not found[:-1] or not is_even(call.node):
        return []
    heights = [_height(operand) for operand in found]
    return found if heights[-1] > 1 and set(heights[:-1]) == {input_height(call.node)} else []


def _height(operand: Operand) -> int:
    """Rows of a whole image, 0 for other operands."""
    if operand.value is None or operand.rows is not None or operand.spoiled:
        return 0
    shape = operand.value.type.shape
    return shape[1] if len(shape) == 4 and shape[0] == 1 else 0


MOST_TURNS = 256
"""Rows of higher images are taken several at a time, so that tall images cost no more to plan."""


def steps_of(call: KernelCall) -> int:
    """Steps of a call in time: one for every row, or few of them, where it goes through whole images row by row."""
    return len(_turns(call)) if images_by_rows(call) else 1


def _turns(call: KernelCall) -> list[Rows]:
    """The rows of the result that are made one after the other."""
    height = call.node.output.type.shape[1]
    each = -(-height // MOST_TURNS)
    return [Rows(first, min(first + each, height)) for first in range(0, height, each)]


def in_turn(call: KernelCall, images: Sequence[Operand]) -> Iterator[list[Operand]]:
    """The rows of the images of such a call that it touches one after the other: those of its operands, those of its result."""
    for made in _turns(call):
        read = needed(call.node, made)
        yield [*(_part(operand, read) for operand in images[:-1]), _part(images[-1], made)]


def _part(operand: Operand, rows: Rows) -> Operand:
    """Some rows of a whole image."""
    if operand.value is None:
        raise ValueError("scratch has no rows")
    return replace(operand, rows=(rows.first, rows.end), offset=operand.offset + rows.first * row_bytes(operand.value))


def may_replace(call: KernelCall) -> list[Operand]:
    """The operands whose place the result of a call on whole tensors may take."""
    result = call.operands[-1]
    if call.variant not in IN_PLACE or result.value is None or result.rows is not None:
        return []
    made = result.value.type
    return [
        operand
        for operand in call.operands[:-1]
        if operand.value is not None and covers(operand.value.type, made) and operand.value.type.dtype is made.dtype
    ]


def covers(image: TensorType, result: TensorType) -> bool:
    """True for an image of as many channels as the result, and no fewer bytes."""
    return bool(image.shape) and image.shape[-1:] == result.shape[-1:] and image.bytes >= result.bytes


def replaced(graph: Graph, calls: Sequence[KernelCall], root: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Pairs of buffers of which the second may take exactly the place of the first: it is made by the last call that reads it."""
    first: dict[str, KernelCall] = {}
    last: dict[str, KernelCall] = {}
    for call in calls:
        for operand in call.operands:
            if operand.value is not None:
                first.setdefault(_buffer(operand, root), call)
                last[_buffer(operand, root)] = call
    given, kept = ({root[value.name] for value in values} for values in (graph.inputs, graph.outputs))
    found: set[tuple[str, str]] = set()
    for call in calls:
        for operand in may_replace(call):
            before, after = _buffer(operand, root), _buffer(call.operands[-1], root)
            own = _is_own(operand, root) and _is_own(call.operands[-1], root)
            if own and last[before] is call and first[after] is call and before not in kept and after not in given:
                found.add((before, after))
    return frozenset(found)


def _buffer(operand: Operand, root: Mapping[str, str]) -> str:
    return operand.place or (root[operand.value.name] if operand.value is not None else "")


def _is_own(operand: Operand, root: Mapping[str, str]) -> bool:
    """True for a tensor at the start of a buffer that holds nothing larger."""
    return operand.value is not None and operand.offset == 0 and root[operand.value.name] == operand.value.name
