"""Bindings of convolution kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from toolchain.errors import TargetError
from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.fixed_point import INT32_MAX, INT32_MIN, Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, conv_multipliers, matmul_multiplier, quant_of
from toolchain.ir.types import Array, DType, TensorType
from toolchain.lowering.cost import Cost
from toolchain.lowering.kernels.common import (
    Binding,
    Variant,
    channel_stream,
    fields,
    is_i8,
    packed,
    read,
    write,
)
from toolchain.lowering.program import ShapeField

BLOCK = 4


def has_packable_weights(graph: Graph, node: Node) -> bool:
    """True when weights are constant symmetric int8 (or int4, unpacked to bytes) and the bias, if any, is constant."""
    weights = node.inputs[1].type
    symmetric = weights.quant is not None and not any(weights.quant.zero_point)
    return symmetric and weights.dtype in (DType.I8, DType.I4) and all(graph.constant(v) is not None for v in node.inputs[1:])


def accepts_int8(graph: Graph, node: Node) -> bool:
    """Int8 activations and weights that are packed before they run."""
    return has_packable_weights(graph, node) and is_i8(node.inputs[0], node.output)


def constant_of(graph: Graph, node: Node, index: int) -> Array:
    """The data of a constant operand."""
    data = graph.constant(node.inputs[index])
    if data is None:
        raise TargetError(305, node.name, f"{node.op} needs constant weights", "Fold the weights before lowering")
    return data


def biases_of(graph: Graph, node: Node, channels: int) -> Array:
    """The constant biases in int64, zeros where the node has none."""
    if len(node.inputs) < 3:
        return np.zeros(channels, np.int64)
    return constant_of(graph, node, 2).astype(np.int64)


def fold_offset(bias: Array, weights: Array, offset: int) -> Array | None:
    """Biases plus offset times the sum of each channel's weights (rows), or None when int32 cannot hold one."""
    folded = bias + offset * weights.reshape(weights.shape[0], -1).astype(np.int64).sum(axis=1)
    fits = folded.size == 0 or (folded.min() >= INT32_MIN and folded.max() <= INT32_MAX)
    return folded if fits else None


def pack_blocks(weights: Array, groups: int) -> Array:
    """(out, h, w, depth) weights in blocks of four channels, [groups][blocks][h][w][depth][4], tails zero."""
    out, height, width, depth = weights.shape
    per_group = out // groups
    blocks = -(-per_group // BLOCK)
    padded = np.zeros((groups, blocks * BLOCK, height, width, depth), weights.dtype)
    padded[:, :per_group] = weights.reshape(groups, per_group, height, width, depth)
    blocked = padded.reshape(groups, blocks, BLOCK, height, width, depth)
    return np.ascontiguousarray(blocked.transpose(0, 1, 3, 4, 5, 2)).reshape(-1)


def quantized_fields(node: Node, in_offset: int) -> tuple[ShapeField, ...]:
    """The fields of `strop_conv_2d_shape` that depend on quantization."""
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    out = quant_of(node.output.type).scalar_zero_point
    return fields(in_offset=in_offset, out_offset=out, act_min=low, act_max=high)


def geometry(node: Node, kernel: tuple[int, int], groups: int) -> tuple[ShapeField, ...]:
    """The fields of `strop_conv_2d_shape` that do not depend on quantization."""
    attrs: ConvAttrs = node.attrs
    x, y = node.inputs[0].type.shape, node.output.type.shape
    return fields(
        batch=x[0],
        in_h=x[1],
        in_w=x[2],
        in_c=x[3],
        out_h=y[1],
        out_w=y[2],
        out_c=y[3],
        groups=groups,
        k_h=kernel[0],
        k_w=kernel[1],
        stride_h=attrs.stride[0],
        stride_w=attrs.stride[1],
        dilation_h=attrs.dilation[0],
        dilation_w=attrs.dilation[1],
        pad_top=attrs.padding[0],
        pad_left=attrs.padding[2],
    )


def _bind_conv(graph: Graph, node: Node) -> Binding:
    weights = constant_of(graph, node, 1)
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    bias = biases_of(graph, node, y.shape[3])
    offset = -quant_of(x).scalar_zero_point
    folded = fold_offset(bias, weights, offset) if not any(node.attrs.padding) else None
    shape = geometry(node, (w.shape[1], w.shape[2]), x.shape[3] // w.shape[3])
    shape += quantized_fields(node, offset if folded is None else 0)
    stream = channel_stream(bias if folded is None else folded, conv_multipliers(x, w, y, y.shape[3]))
    operands = (read(graph, node.inputs[0]), packed("int8_t", pack_blocks(weights, x.shape[3] // w.shape[3])), stream)
    return Binding(shape, (*operands, write(node.output)))


def _depthwise_rows(graph: Graph, node: Node) -> Array:
    """The weights as (channels, taps)."""
    return np.ascontiguousarray(constant_of(graph, node, 1).reshape(-1, node.output.type.shape[3]).T)


def _folded_depthwise(graph: Graph, node: Node) -> Array | None:
    bias = biases_of(graph, node, node.output.type.shape[3])
    return fold_offset(bias, _depthwise_rows(graph, node), -quant_of(node.inputs[0].type).scalar_zero_point)


def _accepts_depthwise(graph: Graph, node: Node) -> bool:
    """As the others, with biases that hold the input's zero point."""
    return accepts_int8(graph, node) and _folded_depthwise(graph, node) is not None


def takes_packed(graph: Graph, node: Node) -> bool:
    """True when a kernel with packed weights takes the node, which beats those without."""
    return _accepts_depthwise(graph, node) if node.op == "depthwise_conv_2d" else accepts_int8(graph, node)


def _bind_depthwise(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    bias, folded = biases_of(graph, node, y.shape[3]), _folded_depthwise(graph, node)
    shape = geometry(node, (w.shape[1], w.shape[2]), x.shape[3])
    shape += quantized_fields(node, -quant_of(x).scalar_zero_point)
    stream = channel_stream(bias if folded is None else folded, conv_multipliers(x, w, y, y.shape[3]))
    edge = packed("int32_t", bias.astype(np.int32) if any(node.attrs.padding) else np.zeros(1, np.int32))
    rows = packed("int8_t", _depthwise_rows(graph, node).reshape(-1))
    return Binding(shape, (read(graph, node.inputs[0]), rows, stream, edge, write(node.output)))


def fully_connected_factors(x: TensorType, w: TensorType, y: TensorType) -> tuple[Multiplier, ...]:
    """One requantization factor per output of a fully connected layer."""
    per_channel = quant_of(w).axis is not None
    return conv_multipliers(x, w, y, w.shape[0]) if per_channel else (matmul_multiplier(x, w, y),) * w.shape[0]


def row_geometry(rows: int, depth: int, out: int) -> tuple[ShapeField, ...]:
    """`geometry` of a fully connected layer: a 1x1 convolution over an image of one row."""
    shape = fields(batch=1, in_h=1, in_w=rows, in_c=depth, out_h=1, out_w=rows, out_c=out, groups=1, k_h=1, k_w=1)
    return shape + fields(stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, pad_top=0, pad_left=0)


def _bind_fully_connected(graph: Graph, node: Node) -> Binding:
    """A fully connected layer is a 1x1 convolution over as many pixels as there are rows."""
    weights = constant_of(graph, node, 1)
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    out, depth = w.shape
    bias = biases_of(graph, node, out)
    offset = -quant_of(x).scalar_zero_point
    folded = fold_offset(bias, weights, offset)
    factors = fully_connected_factors(x, w, y)
    shape = row_geometry(x.elements // depth, depth, out) + quantized_fields(node, offset if folded is None else 0)
    blocks = packed("int8_t", pack_blocks(weights.reshape(out, 1, 1, depth), 1))
    stream = channel_stream(bias if folded is None else folded, factors)
    return Binding(shape, (read(graph, node.inputs[0]), blocks, stream, write(node.output)))


def factors_of(node: Node) -> tuple[Multiplier, ...]:
    """One requantization factor per output channel of a convolution, depthwise convolution or fully connected layer."""
    x, w, out = node.inputs[0].type, node.inputs[1].type, node.output.type
    return fully_connected_factors(x, w, out) if node.op == "fully_connected" else conv_multipliers(x, w, out, out.shape[-1])


def weight_rows(graph: Graph, node: Node) -> Array:
    """Constant weights of such a layer as (channels, taps)."""
    weights, channels = constant_of(graph, node, 1), node.output.type.shape[-1]
    return weights.reshape(-1, channels).T if node.op == "depthwise_conv_2d" else weights.reshape(channels, -1)


def is_float32(node: Node) -> bool:
    """True when every operand is float32."""
    return all(value.type.dtype is DType.F32 for value in (*node.inputs, *node.outputs))


def inside_taps(node: Node, axis: int) -> tuple[int, ...]:
    """Taps of the filter that lie inside the input, for every output coordinate. axis: 0 for rows, 1 for columns."""
    attrs: ConvAttrs = node.attrs
    size, out, taps = (value.type.shape[1 + axis] for value in (node.inputs[0], node.output, node.inputs[1]))
    starts = np.arange(out) * attrs.stride[axis] - attrs.padding[2 * axis]
    places = starts[:, None] + np.arange(taps) * attrs.dilation[axis]
    return tuple(((places >= 0) & (places < size)).sum(axis=1).tolist())


def _conv_units(_graph: Graph, node: Node) -> Mapping[str, float]:
    """Pixels, groups, blocks of four channels, rows of filters, contiguous runs, their elements, outputs."""
    x, w, out = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type
    if node.op == "fully_connected":
        rows = node.inputs[0].type.elements // w[1]
        blocks = rows * -(-w[0] // BLOCK)
        found = {"pixel": rows, "group": rows, "block": blocks, "row": blocks, "run": blocks, "step": blocks * w[1]}
        return {**found, "output": out.elements, "call": 1}
    groups, pixels = x[3] // w[3], out.shape[0] * out.shape[1] * out.shape[2]
    blocks = groups * -(-(w[0] // groups) // BLOCK)
    down, right = sum(inside_taps(node, 0)), sum(inside_taps(node, 1))
    rows, taps = out.shape[0] * blocks * down * out.shape[2], out.shape[0] * blocks * down * right
    contiguous = groups == 1 and node.attrs.dilation[1] == 1
    found = {"pixel": pixels, "group": pixels * groups, "block": pixels * blocks, "row": rows}
    return {**found, "run": rows if contiguous else taps, "step": taps * w[3], "output": out.elements, "call": 1}


def _depthwise_units(_graph: Graph, node: Node) -> Mapping[str, float]:
    """Pixels, input channels, outputs, filter rows and taps of full windows and of those cut by the border."""
    (batch, _, _, in_c), (_, k_h, k_w, out_c) = node.inputs[0].type.shape, node.inputs[1].type.shape
    down, right = np.array(inside_taps(node, 0)), np.array(inside_taps(node, 1))
    full = int((down == k_h).sum() * (right == k_w).sum())
    pixels, rows, taps = len(down) * len(right), int(down.sum()) * len(right), int(down.sum() * right.sum())
    return {
        "pixel": batch * pixels,
        "input": batch * pixels * in_c,
        "output": batch * pixels * out_c,
        "full_row": batch * full * out_c * k_h,
        "full_tap": batch * full * out_c * k_h * k_w,
        "edge_output": batch * (pixels - full) * out_c,
        "edge_row": batch * (rows - full * k_h) * out_c,
        "edge_tap": batch * (taps - full * k_h * k_w) * out_c,
        "call": 1,
    }


CONV_PRIOR = {"pixel": 80, "group": 20, "block": 60, "row": 20, "run": 30, "step": 12, "output": 25, "call": 60}
DEPTHWISE_PRIOR = {
    "pixel": 90,
    "input": 10,
    "output": 40,
    "full_row": 8,
    "full_tap": 6,
    "edge_output": 15,
    "edge_row": 15,
    "edge_tap": 8,
    "call": 60,
}


def _variant(
    op: str,
    header: str,
    accepts: Callable[[Graph, Node], bool],
    bind: Callable[[Graph, Node], Binding],
    cost: Cost,
) -> Variant:
    function = f"strop_{header.removesuffix('.h')}_s8"
    return Variant(op, "portable", header, function, "strop_conv_2d_shape", accepts, bind, cost)


VARIANTS = (
    _variant("conv_2d", "conv_2d.h", accepts_int8, _bind_conv, Cost(_conv_units, CONV_PRIOR)),
    _variant("fully_connected", "conv_2d.h", accepts_int8, _bind_fully_connected, Cost(_conv_units, CONV_PRIOR)),
    _variant(
        "depthwise_conv_2d", "depthwise_conv_2d.h", _accepts_depthwise, _bind_depthwise, Cost(_depthwise_units, DEPTHWISE_PRIOR)
    ),
)
