"""Binding of the Armv7E-M depthwise convolution that reads its inputs where they lie: one pixel x four channels."""

from __future__ import annotations

import numpy as np

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import BLOCK, biases_of, geometry, quantized_fields, weight_rows
from toolchain.lowering.kernels.dsp_costs import bounded
from toolchain.lowering.kernels.dsp_stream import LANE_ORDER, fits, parameters_of, scales_of
from toolchain.lowering.program import Operand


def _accepts(graph: Graph, node: Node) -> bool:
    channels = node.inputs[0].type.shape[3]
    return BLOCK <= channels == node.output.type.shape[3] and fits(graph, node)


def _stream(graph: Graph, node: Node) -> Operand:
    bias = biases_of(graph, node, node.output.type.shape[3])
    rows = weight_rows(graph, node).astype(np.int64)
    scales = scales_of(node, rows, bias)
    parameters, words = parameters_of(scales), list[np.ndarray]()
    sums = np.where(parameters[:, 0] == 0, 0, 2 * bias)
    for start in range(0, len(rows), BLOCK):
        chosen = slice(min(start, len(rows) - BLOCK), min(start, len(rows) - BLOCK) + BLOCK)
        lanes = np.ascontiguousarray((2 * rows[chosen].T[:, LANE_ORDER]).astype(np.int16)).view(np.int32)
        words += [sums[chosen], lanes.reshape(-1), parameters[chosen].reshape(-1)]
    return packed("int32_t", np.concatenate(words).astype(np.int32))


def _bind(graph: Graph, node: Node) -> Binding:
    kernel = node.inputs[1].type.shape[1:3]
    shape = geometry(node, (kernel[0], kernel[1]), node.inputs[0].type.shape[3])
    shape += quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point)
    return Binding(shape, (read(graph, node.inputs[0]), _stream(graph, node), write(node.output)))


def _taps(out: int, stride: int, padding: int, kernel: int, dilation: int, size: int) -> tuple[int, int]:
    """Taps inside the input over all outputs of one dimension, and how many outputs have an odd number of them."""
    first = np.arange(out)[:, None] * stride - padding + np.arange(kernel) * dilation
    inside = ((first >= 0) & (first < size)).sum(axis=1)
    return int(inside.sum()), int((inside % 2).sum())


def _units(_graph: Graph, node: Node) -> Work:
    attrs: ConvAttrs = node.attrs
    (batch, height, width, channels), (_, out_h, out_w, _) = node.inputs[0].type.shape, node.output.type.shape
    k_h, k_w = node.inputs[1].type.shape[1:3]
    blocks = batch * -(-channels // BLOCK)
    rows, _ = _taps(out_h, attrs.stride[0], attrs.padding[0], k_h, attrs.dilation[0], height)
    columns, odd = _taps(out_w, attrs.stride[1], attrs.padding[2], k_w, attrs.dilation[1], width)
    return {
        "tap": blocks * rows * columns,
        "odd": blocks * rows * odd,
        "tap_row": blocks * rows * out_w,
        "block": blocks * out_h * out_w,
        "pixel": batch * out_h * out_w,
        "bounded": bounded(node),
        "call": 1,
    }


VARIANTS = (
    Variant(
        "depthwise_conv_2d",
        "armv7em",
        "depthwise_block_dsp.h",
        "strop_depthwise_block_dsp",
        "strop_conv_2d_shape",
        _accepts,
        _bind,
        Cost(_units, {"tap": 10.4, "odd": 1, "tap_row": 7, "block": 47, "pixel": 40, "bounded": 2.5, "call": 20}),
        generic=True,
    ),
)
