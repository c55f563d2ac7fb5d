"""Rows of a layer: which rows of its input some rows of its output need, and the node that computes only those.

A slice of a layer is the same operation on a lower image, so that every kernel can run it: padding remains where the slice
lies at the border of the image. What is said of rows holds of columns, too: functions with an `axis` take both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.attrs import ResizeAttrs, ResizeMode
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.ops import arithmetic, compare, convert, unary
from toolchain.ir.quantization import nearest_indices

WINDOWED = frozenset({"conv_2d", "depthwise_conv_2d", "average_pool_2d", "max_pool_2d"})
ELEMENTWISE = frozenset(op.name for ops in (unary, arithmetic, compare, convert) for op in ops.OPS)
HEIGHT, WIDTH = 1, 2
"""Axes of images."""
HIGHEST = 1 << 20
"""Higher images run as a whole."""
ALONG_CHANNELS = frozenset({"softmax", "log_softmax"})
"""Ops that read and write whole pixels."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows first to end, without end."""

    first: int
    end: int

    @property
    def count(self) -> int:
        """How many rows."""
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class Window:
    """Output row r needs input rows r * stride // scale - before to that + reach, those inside the image.

    scale: output rows that are made of one input row; slices begin and end at multiples of it.
    """

    stride: int
    before: int
    reach: int
    scale: int = 1

    def first(self, row: int) -> int:
        """The first input row of an output row; below 0 in the padding."""
        return row * self.stride // self.scale - self.before

    def end(self, rows: int) -> int:
        """The end of the input rows that the first so many output rows need; may lie in the padding."""
        return (rows - 1) * self.stride // self.scale - self.before + self.reach


def window_of(node: Node, axis: int = HEIGHT) -> Window:
    """The window of a node that is local along an axis."""
    side = axis - HEIGHT
    match node.op:
        case "conv_2d" | "depthwise_conv_2d":
            attrs, kernel = node.attrs, node.inputs[1].type.shape[axis]
            return Window(attrs.stride[side], attrs.padding[2 * side], (kernel - 1) * attrs.dilation[side] + 1)
        case "average_pool_2d" | "max_pool_2d":
            return Window(node.attrs.stride[side], node.attrs.padding[2 * side], node.attrs.window[side])
        case "resize_nearest":
            return Window(1, 0, 1, node.output.type.shape[axis] // node.inputs[0].type.shape[axis])
        case _:
            return Window(1, 0, 1)


def images_of(graph: Graph, node: Node, axis: int = HEIGHT) -> tuple[Value, ...]:
    """The operands of which a slice reads rows: each once."""
    if node.op in WINDOWED:
        return node.inputs[:1]
    return tuple(value for value in _read(graph, node) if node.op not in ELEMENTWISE or _is_long(value, node.output, axis))


def wholes_of(graph: Graph, node: Node, axis: int = HEIGHT) -> tuple[Value, ...]:
    """The operands that every slice reads whole: images of one row that are repeated down the result."""
    images = images_of(graph, node, axis)
    return tuple(value for value in _read(graph, node) if value not in images)


def _read(graph: Graph, node: Node) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(value for value in node.inputs if graph.constant(value) is None))


def _is_long(value: Value, output: Value, axis: int) -> bool:
    return len(value.type.shape) == 4 and value.type.shape[axis] == output.type.shape[axis]


def is_row_local(graph: Graph, node: Node, axis: int = HEIGHT) -> bool:
    """True for images of one batch whose output rows each need a window of input rows, at least one of them inside."""
    if (
        len(node.outputs) != 1
        or not _is_image(node.output)
        or not (images := images_of(graph, node, axis))
        or not all(map(_is_image, images))
    ):
        return False
    if node.op in WINDOWED:
        known = [graph.constant(value) is not None for value in node.inputs]
        return not known[0] and all(known[1:]) and is_even(node, axis)
    if node.op in ELEMENTWISE:
        constants = (value for value in node.inputs if graph.constant(value) is not None)
        return all(_is_repeated(value, node.output, axis) for value in (*constants, *wholes_of(graph, node, axis)))
    if node.op == "concat":
        return node.attrs.axis not in (0, axis) and len(images) == len(node.inputs)
    if node.op == "slice":
        return _cuts(node, HEIGHT + WIDTH - axis)
    return node.op in ALONG_CHANNELS or (node.op == "resize_nearest" and is_even(node, axis))


def _cuts(node: Node, axis: int) -> bool:
    """True for a slice along one axis alone, of neighbours."""
    shape, taken = node.inputs[0].type.shape, node.output.type.shape
    whole = all(own == its or at == axis for at, (own, its) in enumerate(zip(shape, taken, strict=True)))
    return whole and all(step == 1 for step in node.attrs.step)


def is_even(node: Node, axis: int = HEIGHT) -> bool:
    """True when `needed` gives what every row of a node's output needs: at least one row of the image."""
    if node.op in WINDOWED:
        return _has_input(node, axis)
    return node.op != "resize_nearest" or _repeats(node, axis)


def _is_image(value: Value) -> bool:
    quant, shape = value.type.quant, value.type.shape
    whole = len(shape) == 4 and shape[0] == 1 and value.type.elements > 0
    return whole and max(shape[HEIGHT], shape[WIDTH]) < HIGHEST and (quant is None or quant.axis is None)


def _is_repeated(value: Value, output: Value, axis: int) -> bool:
    """True for operands that are the same for every row of the output."""
    shape, behind = value.type.shape, 4 - axis
    return len(shape) < behind or shape[-behind] == 1 or output.type.shape[axis] == 1


def _has_input(node: Node, axis: int) -> bool:
    """True when the windows of the first and last rows reach rows of the image."""
    window, height, rows = window_of(node, axis), node.inputs[0].type.shape[axis], node.output.type.shape[axis]
    return window.before < window.reach and window.first(rows - 1) < height


def _repeats(node: Node, axis: int) -> bool:
    """True when every row of the input makes the same number of rows, wherever it lies."""
    attrs: ResizeAttrs = node.attrs
    height, rows, own = node.inputs[0].type.shape[axis], attrs.size[axis - HEIGHT], attrs.scale[axis - HEIGHT]
    scale = rows // height
    if rows % height or attrs.mode is ResizeMode.ALIGN_CORNERS or own not in (0.0, scale):
        return False
    made = nearest_indices(height, rows, attrs.mode, attrs.nearest, own)
    return np.array_equal(made, np.arange(rows) // scale)


def input_height(node: Node, axis: int = HEIGHT) -> int:
    """Rows of the images that a row-local node reads."""
    return (node.output if node.op in ELEMENTWISE else node.inputs[0]).type.shape[axis]


def needed(node: Node, rows: Rows, axis: int = HEIGHT) -> Rows:
    """The input rows inside the image that output rows need."""
    window, height = window_of(node, axis), input_height(node, axis)
    return Rows(max(window.first(rows.first), 0), min(window.end(rows.end), height))


def cut(graph: Graph, node: Node, rows: Rows) -> Node:
    """The node that computes some output rows from the input rows that they need.

    Padding below stays as it is in slices above the border: kernels find the border from the heights.
    """
    read = needed(node, rows)
    attrs = node.attrs
    if node.op in WINDOWED:
        _, bottom, left, right = attrs.padding
        attrs = replace(attrs, padding=(max(-window_of(node).first(rows.first), 0), bottom, left, right))
    elif node.op == "resize_nearest":
        attrs = replace(attrs, size=(rows.count, attrs.size[1]))
    elif node.op == "slice":
        batch, _, width, channels = attrs.end
        attrs = replace(attrs, end=(batch, rows.count, width, channels))
    images = images_of(graph, node)
    inputs = tuple(with_height(value, read.count) if value in images else value for value in node.inputs)
    return replace(node, inputs=inputs, outputs=(with_height(node.output, rows.count),), attrs=attrs)


def with_height(value: Value, rows: int) -> Value:
    """The value as an image of another height."""
    batch, _, width, channels = value.type.shape
    return replace(value, type=replace(value.type, shape=(batch, rows, width, channels)))


def row_bytes(value: Value) -> int:
    """Bytes of one row of an image."""
    return value.type.bytes // value.type.shape[1]
