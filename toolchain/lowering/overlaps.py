"""Which kernels allow their result to lie over their operands, and how far.

What is said here of a kernel is seen on the running kernel by `tests/emulator/test_overlaps.py`, which traces its reads and
writes.
To allow a kernel here, add its name and let that test run it.
"""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.lowering.program import KernelCall, Operand
from toolchain.lowering.slices import Rows, input_height, needed

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
"""Kernels that read no byte of an operand of the result's shape after they have written the byte of the result in its place."""


def images_by_rows(call: KernelCall) -> list[Operand]:
    """The operands that a call on whole tensors goes through row by row, its result the last one; none of other calls."""
    found = [operand for operand in call.operands if operand.value is not None]
    if call.variant not in BY_ROWS or not found[:-1]:
        return []
    heights = [_height(operand) for operand in found]
    return found if heights[-1] > 1 and set(heights[:-1]) == {input_height(call.node)} else []


def _height(operand: Operand) -> int:
    """Rows of a whole image, 0 for other operands."""
    if operand.value is None or operand.rows is not None or operand.spoiled:
        return 0
    shape = operand.value.type.shape
    return shape[1] if len(shape) == 4 and shape[0] == 1 else 0


def rows_in_turn(call: KernelCall) -> Iterator[tuple[Rows, Rows]]:
    """The rows that the images of such a call give and take one after the other: of its operands, of its result."""
    for row in range(call.node.output.type.shape[1]):
        yield needed(call.node, Rows(row, row + 1)), Rows(row, row + 1)


def may_replace(call: KernelCall) -> list[Operand]:
    """The operands whose place the result of a call on whole tensors may take."""
    result = call.operands[-1]
    if call.variant not in IN_PLACE or result.value is None or result.rows is not None:
        return []
    shape, dtype = result.value.type.shape, result.value.type.dtype
    return [
        operand
        for operand in call.operands[:-1]
        if operand.value is not None and operand.value.type.shape == shape and operand.value.type.dtype is dtype
    ]
