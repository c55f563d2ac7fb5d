"""Average pooling of whole images at the end of a segment: sums grow as rows come, so that the image is never whole."""

from __future__ import annotations

import math

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import activation_bounds
from toolchain.ir.types import DType, TensorType
from toolchain.lowering.kernels.common import fields
from toolchain.lowering.program import POOL_MEAN, POOL_SUMS, KernelCall, Operand, ShapeField
from toolchain.lowering.slices import Rows, row_bytes

SUMS = "pool_sums"
"""The op of the node that stands in a segment for a pooling of the whole image; no node of a graph has it."""
HEADER = "pool_sums.h"
MOST_PIXELS = 1 << 24
PER_FOUR, PER_PIXEL_AND_FOUR, PER_MEAN, PER_CALL = 42, 12, 16, 60
CYCLES_PER_INSTRUCTION = 1.5


def can_sum(graph: Graph, node: Node) -> bool:
    """True for an int8 average pooling whose only window is the whole image, without padding."""
    if node.op != "average_pool_2d" or graph.constant(node.inputs[0]) is not None:
        return False
    x, out = node.inputs[0].type, node.output.type
    whole = tuple(node.attrs.window) == x.shape[1:3] and out.shape[1:3] == (1, 1) and not any(node.attrs.padding)
    return whole and x.shape[0] == 1 and x.dtype is out.dtype is DType.I8 and math.prod(x.shape[1:3]) <= MOST_PIXELS


def summing(node: Node) -> Node:
    """The node that stands for a pooling in a segment: it takes the image row by row. attrs: the pooling."""
    _, height, _, channels = node.inputs[0].type.shape
    return Node(SUMS, node.inputs, (Value(node.name, TensorType((1, height, 1, channels), DType.I32)),), node)


def bytes_of(node: Node) -> int:
    """Bytes of the sums and of the result."""
    return 5 * node.output.type.shape[3]


def instructions(node: Node, rows: Rows) -> int:
    """Predicted instructions of the calls for some rows of the image."""
    return sum(call.instructions for call in pool_calls(node, rows, 0))


def pool_calls(node: Node, rows: Rows, start: int) -> tuple[KernelCall, ...]:
    """The calls for some rows of the image, after the last ones that of the mean. start: the row at which the buffer begins."""
    pool: Node = node.attrs
    image = node.inputs[0]
    _, height, width, channels = image.type.shape
    fours = -(-channels // 4)
    sums = Value(f"{node.name}#sums", TensorType((channels,), DType.I32))
    source = Operand("int8_t", image, rows=(rows.first, rows.end), offset=(rows.first - start) * row_bytes(image))
    before, after = (Operand("int32_t", sums, writable=writable, place=sums.name) for writable in (False, True))
    operands = (source, after) if rows.first == 0 else (source, before, after)
    pixels = rows.count * width
    shape = fields(pixels=pixels, channels=channels)
    function, taken = "first" if rows.first == 0 else "next", PER_CALL + fours * (PER_FOUR + PER_PIXEL_AND_FOUR * pixels)
    made = [_call(pool, POOL_SUMS, f"strop_pool_sums_{function}", "strop_pool_sums_shape", shape, operands, taken)]
    if rows.end == height:
        low, high = activation_bounds(pool.attrs.activation, pool.output.type)
        mean = fields(pixels=height * width, channels=channels, act_min=low, act_max=high)
        ends = (before, Operand("int8_t", pool.output, writable=True))
        taken = PER_CALL + PER_MEAN * channels
        made.append(_call(pool, POOL_MEAN, "strop_pool_mean", "strop_pool_mean_shape", mean, ends, taken))
    return tuple(made)


def _call(
    node: Node,
    variant: str,
    function: str,
    shape_type: str,
    shape: tuple[ShapeField, ...],
    operands: tuple[Operand, ...],
    taken: int,
) -> KernelCall:
    cycles = round(CYCLES_PER_INSTRUCTION * taken)
    return KernelCall(node, variant, HEADER, function, shape_type, shape, operands, taken, cycles)
