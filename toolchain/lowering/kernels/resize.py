"""Bindings of quantized bilinear resizing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.ir.attrs import ResizeAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import bilinear_table
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, is_i16, packed, read, write
from toolchain.lowering.program import Operand


def _taps(node: Node, axis: int) -> Operand:
    """The `strop_bilinear_tap` array of rows (axis 0) or columns (axis 1)."""
    attrs: ResizeAttrs = node.attrs
    table = bilinear_table(node.inputs[0].type.shape[1 + axis], attrs.size[axis], attrs.mode, attrs.scale[axis])
    return packed("strop_bilinear_tap", np.stack([table.low, table.high, table.weight], axis=1).astype(np.int32))


def _bind(graph: Graph, node: Node) -> Binding:
    x, y = node.inputs[0].type.shape, node.output.type.shape
    shape = fields(batch=x[0], in_h=x[1], in_w=x[2], channels=x[3], out_h=y[1], out_w=y[2])
    return Binding(shape, (read(graph, node.inputs[0]), _taps(node, 0), _taps(node, 1), write(node.output)))


def _variant(function: str, kind: Callable[..., bool], per_output: float) -> Variant:
    def accepts(graph: Graph, node: Node) -> bool:
        operands: tuple[Value, ...] = (node.inputs[0], node.output)
        return kind(*operands)

    header, shape = "resize_bilinear_integer.h", "strop_bilinear_shape"
    return Variant("resize_bilinear", "portable", header, function, shape, accepts, _bind, linear(per_output=per_output))


VARIANTS = (
    _variant("strop_resize_bilinear_s8", is_i8, 22),
    _variant("strop_resize_bilinear_s16", is_i16, 23),
)
