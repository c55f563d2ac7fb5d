"""Bindings of transposed convolution kernels, int8 and int16."""

from __future__ import annotations

from toolchain.ir.attrs import TransposeConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import conv_multipliers, quant_of
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, channel_stream, fields, packed, read, write
from toolchain.lowering.kernels.conv import accepts_int8, biases_of, constant_of, pack_blocks, quantized_fields
from toolchain.lowering.kernels.conv_s16 import accepts_int16, bind_int16
from toolchain.lowering.program import ShapeField


def transpose_geometry(node: Node) -> tuple[ShapeField, ...]:
    """The fields of `strop_conv_2d_shape` that do not depend on quantization; padding is what is cut from the full result."""
    attrs: TransposeConvAttrs = node.attrs
    x, w, y = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    shape = fields(batch=x[0], in_h=x[1], in_w=x[2], in_c=x[3], out_h=y[1], out_w=y[2], out_c=y[3], groups=1)
    shape += fields(k_h=w[1], k_w=w[2], stride_h=attrs.stride[0], stride_w=attrs.stride[1], dilation_h=1, dilation_w=1)
    return shape + fields(pad_top=attrs.padding[0], pad_left=attrs.padding[2])


def _bind_int8(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    shape = transpose_geometry(node) + quantized_fields(node, -quant_of(x).scalar_zero_point)
    stream = channel_stream(biases_of(graph, node, y.shape[3]), conv_multipliers(x, w, y, y.shape[3]))
    blocks = packed("int8_t", pack_blocks(constant_of(graph, node, 1), 1))
    return Binding(shape, (read(graph, node.inputs[0]), blocks, stream, write(node.output)))


def _bind_int16(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    blocks = pack_blocks(constant_of(graph, node, 1), 1)
    return bind_int16(graph, node, transpose_geometry(node), blocks, conv_multipliers(x, w, y, y.shape[3]))


VARIANTS = (
    Variant(
        "transpose_conv_2d",
        "portable",
        "transpose_conv_2d_s8.h",
        "strop_transpose_conv_2d_s8",
        "strop_conv_2d_shape",
        accepts_int8,
        _bind_int8,
        linear(per_mac=3.2, per_output=30),
    ),
    Variant(
        "transpose_conv_2d",
        "portable",
        "transpose_conv_2d_s16.h",
        "strop_transpose_conv_2d_s16",
        "strop_conv_2d_shape",
        accepts_int16,
        _bind_int16,
        linear(per_mac=3.4, per_output=44),
    ),
)
