"""Rows of a layer: which rows of its input some rows of its output need, and the node that computes only those.

A slice of a layer is the same operation on a lower image, so that every kernel can run it: padding remains where the slice
lies at the border of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType

WINDOWED = frozenset({"conv_2d", "depthwise_conv_2d", "average_pool_2d", "max_pool_2d"})
TABLES = frozenset(
    {
        "requantize",
        "relu",
        "relu6",
        "relu_n1_1",
        "leaky_relu",
        "abs",
        "tanh",
        "sigmoid",
        "hard_swish",
        "hard_sigmoid",
        "elu",
        "gelu",
    }
)
PAIRS = frozenset({"add", "sub", "mul"})


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
    """Output row r needs input rows r * stride - before to r * stride - before + reach, those inside the image."""

    stride: int
    before: int
    reach: int

    def first(self, row: int) -> int:
        """The first input row of an output row; below 0 in the padding."""
        return row * self.stride - self.before

    def end(self, rows: int) -> int:
        """The end of the input rows that the first so many output rows need; may lie in the padding."""
        return (rows - 1) * self.stride - self.before + self.reach


def window_of(node: Node) -> Window:
    """The window of a row-local node along the height."""
    match node.op:
        case "conv_2d" | "depthwise_conv_2d":
            attrs, kernel = node.attrs, node.inputs[1].type.shape[1]
            return Window(attrs.stride[0], attrs.padding[0], (kernel - 1) * attrs.dilation[0] + 1)
        case "average_pool_2d" | "max_pool_2d":
            return Window(node.attrs.stride[0], node.attrs.padding[0], node.attrs.window[0])
        case _:
            return Window(1, 0, 1)


def images_of(graph: Graph, node: Node) -> tuple[Value, ...]:
    """The operands of which a slice reads rows: each once."""
    count = 1 if node.op in WINDOWED else len(node.inputs)
    return tuple(dict.fromkeys(value for value in node.inputs[:count] if graph.constant(value) is None))


def is_row_local(graph: Graph, node: Node) -> bool:
    """True for int8 images of one batch whose output rows each need a window of input rows, at least one of them inside."""
    if node.op not in WINDOWED | TABLES | PAIRS or len(node.outputs) != 1:
        return False
    images = node.inputs[:1] if node.op in WINDOWED | TABLES else node.inputs
    types = [value.type for value in (*images, node.output)]
    if not all(len(t.shape) == 4 and t.shape[0] == 1 and t.dtype is DType.I8 and t.elements > 0 for t in types):
        return False
    if any(graph.constant(value) is not None for value in images):
        return False
    if node.op in WINDOWED:
        return all(graph.constant(value) is not None for value in node.inputs[1:]) and _has_input(node)
    return all(t.shape == types[0].shape for t in types)


def _has_input(node: Node) -> bool:
    """True when the windows of the first and last rows reach rows of the image."""
    window, height, rows = window_of(node), node.inputs[0].type.shape[1], node.output.type.shape[1]
    return window.before < window.reach and window.first(rows - 1) < height


def needed(node: Node, rows: Rows) -> Rows:
    """The input rows inside the image that output rows need."""
    window, height = window_of(node), node.inputs[0].type.shape[1]
    return Rows(max(window.first(rows.first), 0), min(window.end(rows.end), height))


def cut(node: Node, rows: Rows) -> Node:
    """The node that computes some output rows from the input rows that they need.

    Padding below stays as it is in slices above the border: kernels find the border from the heights.
    """
    read = needed(node, rows)
    attrs = node.attrs
    if node.op in WINDOWED:
        _, bottom, left, right = attrs.padding
        attrs = replace(attrs, padding=(max(-window_of(node).first(rows.first), 0), bottom, left, right))
    count = 1 if node.op in WINDOWED else len(node.inputs)
    inputs = (*(with_height(value, read.count) for value in node.inputs[:count]), *node.inputs[count:])
    return replace(node, inputs=inputs, outputs=(with_height(node.output, rows.count),), attrs=attrs)


def with_height(value: Value, rows: int) -> Value:
    """The value as an image of another height."""
    batch, _, width, channels = value.type.shape
    return replace(value, type=replace(value.type, shape=(batch, rows, width, channels)))


def row_bytes(value: Value) -> int:
    """Bytes of one row of an image."""
    return value.type.bytes // value.type.shape[1]
