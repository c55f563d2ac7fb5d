"""Bindings of the Armv7E-M convolution kernels: doubled int16 weights in one stream per block of four channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolchain.ir.fixed_point import multiply
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import (
    BLOCK,
    accepts_int8,
    biases_of,
    constant_of,
    factors_of,
    geometry,
    quantized_fields,
    row_geometry,
    weight_rows,
)
from toolchain.lowering.program import Operand

GROUP = 4
LANE_ORDER = (0, 2, 1, 3)
SUM_LIMIT = 2**30
ADDEND_LIMIT = 2**31


def runs_of(node: Node, weights: Array) -> Array:
    """(out, h, w, depth) weights as (out, runs, run): rows of the filter where the input is contiguous, else single taps."""
    out, height, width, depth = weights.shape
    contiguous = node.attrs.dilation[1] == 1 and node.inputs[0].type.shape[3] == depth
    return weights.reshape(out, height, width * depth) if contiguous else weights.reshape(out, height * width, depth)


def filled_runs(runs: Array) -> Array:
    """(out, runs, run) with runs filled by zeros to a multiple of four, in the lane order of the gathered inputs: (out, n)."""
    out, count, length = runs.shape
    filled = np.zeros((out, count, -(-length // GROUP) * GROUP), np.int64)
    filled[:, :, :length] = runs
    return filled.reshape(out, -1, GROUP)[:, :, LANE_ORDER].reshape(out, -1)


@dataclass(frozen=True, slots=True)
class Requantize:
    """Per channel: y = (acc * mantissa >> 31) + addend >> shift, with rounding and zero point in the addend.

    bounds: the activation's smallest value in the low 16 bits, its largest in the high ones.
    """

    mantissa: int
    addend: int
    shift: int
    bounds: int


def requantize_rows(node: Node, rows: Array, bias: Array) -> list[Requantize] | None:
    """Parameters of every channel, or None when one needs more than the DSP kernels can do.

    rows: (channels, taps) weights. A channel without weights is a constant: mantissa 0 and the constant as addend.
    """
    y = node.output.type
    zero_point, found = quant_of(y).scalar_zero_point, list[Requantize]()
    low, high = activation_bounds(node.attrs.activation, y)
    bounds = (low & 0xFFFF) | (high << 16)
    for row, b, m in zip(rows, bias, factors_of(node), strict=True):
        worst = 255 * int(np.abs(row.astype(np.int64)).sum()) + abs(int(b))
        if not row.any():
            constant = int(multiply(np.array(b), m.mantissa, m.shift)) + zero_point
            found.append(Requantize(0, int(np.clip(constant, *y.dtype.limits)) << 1, 1, bounds))
        elif worst < SUM_LIMIT and -30 <= m.shift <= -1:
            found.append(Requantize(m.mantissa, (1 << (-m.shift - 1)) + (zero_point << -m.shift), -m.shift, bounds))
            if worst + abs(found[-1].addend) >= ADDEND_LIMIT:
                return None
        else:
            return None
    return found


def pack_stream(rows: Array, bias: Array, scales: list[Requantize], groups: int) -> Array:
    """The int32 stream of conv_2d_dsp.h from lane-ordered rows (out, n)."""
    out, length = rows.shape
    per_group = out // groups
    parameters = np.array([(s.mantissa, s.addend, s.shift, s.bounds) for s in scales], np.int64)
    sums_of_constants = np.where(parameters[:, 0] == 0, 0, bias)
    words: list[Array] = []
    for group in range(groups):
        for start in range(0, per_group, BLOCK):
            chosen = np.arange(group * per_group + start, group * per_group + min(start + BLOCK, per_group))
            block, sums = np.zeros((BLOCK, length), np.int16), np.zeros(BLOCK, np.int32)
            scale = np.zeros((BLOCK, 4), np.int32)
            block[: len(chosen)], sums[: len(chosen)] = 2 * rows[chosen], 2 * sums_of_constants[chosen]
            scale[: len(chosen)] = parameters[chosen]
            pairs = np.ascontiguousarray(block.reshape(BLOCK, -1, 2)).view(np.int32)[:, :, 0]
            words += [sums, np.ascontiguousarray(pairs.T).reshape(-1), scale.reshape(-1)]
    return np.concatenate(words)


def _fits(graph: Graph, node: Node) -> bool:
    if not accepts_int8(graph, node):
        return False
    return requantize_rows(node, weight_rows(graph, node), biases_of(graph, node, node.output.type.shape[-1])) is not None


def _scales(node: Node, rows: Array, bias: Array) -> list[Requantize]:
    scales = requantize_rows(node, rows, bias)
    if scales is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    return scales


def _stream(graph: Graph, node: Node, runs: Array, groups: int) -> tuple[Operand, int]:
    """The packed stream and the taps of a filled filter."""
    bias = biases_of(graph, node, node.output.type.shape[-1])
    filled = filled_runs(runs)
    return packed("int32_t", pack_stream(filled, bias, _scales(node, weight_rows(graph, node), bias), groups)), filled.shape[1]


def _bind_conv(graph: Graph, node: Node) -> Binding:
    weights = constant_of(graph, node, 1)
    x, w = node.inputs[0].type, node.inputs[1].type
    groups = x.shape[3] // w.shape[3]
    stream, taps = _stream(graph, node, runs_of(node, weights), groups)
    shape = geometry(node, (w.shape[1], w.shape[2]), groups) + quantized_fields(
        node, -quant_of(node.inputs[0].type).scalar_zero_point
    )
    scratch = Operand("int32_t", scratch_bytes=4 * taps)
    return Binding(shape, (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


def _rows_of(node: Node) -> int:
    return node.inputs[0].type.elements // node.inputs[0].type.shape[-1]


def _bind_dense(graph: Graph, node: Node) -> Binding:
    """A fully connected layer: as a 1x1 convolution over its rows, or on its one row."""
    weights = constant_of(graph, node, 1)
    out, depth = weights.shape
    rows = _rows_of(node)
    stream, taps = _stream(graph, node, weights.reshape(out, 1, depth), 1)
    shape = row_geometry(rows, depth, out)
    scratch = Operand("int32_t", scratch_bytes=(2 if rows == 1 else 4) * taps)
    return Binding(
        shape + quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point),
        (read(graph, node.inputs[0]), stream, scratch, write(node.output)),
    )


def _is_3x3(node: Node) -> bool:
    attrs, w = node.attrs, node.inputs[1].type.shape
    square = w[1] == w[2] == 3 and attrs.dilation == (1, 1) and attrs.stride[0] == attrs.stride[1] <= 2
    return square and w[3] == node.inputs[0].type.shape[3]


def _plane_elements(node: Node) -> int:
    """Elements of the padded plane of one channel, as depthwise_3x3_dsp.h computes them."""
    stride, (_, height, width, _) = node.attrs.stride[0], node.output.type.shape
    outputs = -(-width // 2) * 2
    return ((outputs - 1) * stride + 4) // 2 * 2 * ((height - 1) * stride + 3)


def _bind_depthwise(graph: Graph, node: Node) -> Binding:
    bias = biases_of(graph, node, node.output.type.shape[3])
    rows = weight_rows(graph, node).astype(np.int64)
    scales = _scales(node, rows, bias)
    folded = bias - quant_of(node.inputs[0].type).scalar_zero_point * rows.sum(axis=1)
    lanes = (2 * rows.reshape(-1, 3, 3)[:, :, [0, 1, 1, 2]]).astype(np.int16).reshape(-1, 12).view(np.int32)
    sums = np.array([0 if s.mantissa == 0 else 2 * b for s, b in zip(scales, folded, strict=True)]).reshape(-1, 1)
    parameters = np.array([(s.mantissa, s.addend, s.shift, s.bounds) for s in scales])
    stream = np.concatenate([sums, lanes, parameters], axis=1).astype(np.int32)
    shape = geometry(node, (3, 3), node.inputs[0].type.shape[3]) + quantized_fields(
        node, -quant_of(node.inputs[0].type).scalar_zero_point
    )
    scratch = Operand("int16_t", scratch_bytes=2 * _plane_elements(node))
    return Binding(shape, (read(graph, node.inputs[0]), packed("int32_t", stream.reshape(-1)), scratch, write(node.output)))


def _variant(
    op: str, header: str, function: str, bind: Callable[[Graph, Node], Binding], suits: Callable[[Node], bool], cost: Cost
) -> Variant:
    def accepts(graph: Graph, node: Node) -> bool:
        return suits(node) and _fits(graph, node)

    return Variant(op, "armv7em", header, function, "strop_conv_2d_shape", accepts, bind, cost)


VARIANTS = (
    _variant("conv_2d", "conv_2d_dsp.h", "strop_conv_2d_dsp", _bind_conv, lambda node: True, linear(0.82, 10)),
    _variant("fully_connected", "conv_2d_dsp.h", "strop_conv_2d_dsp", _bind_dense, lambda n: _rows_of(n) > 1, linear(0.82, 10)),
    _variant(
        "fully_connected",
        "fully_connected_dsp.h",
        "strop_fully_connected_dsp",
        _bind_dense,
        lambda node: _rows_of(node) == 1,
        linear(0.78, 11),
    ),
    _variant("depthwise_conv_2d", "depthwise_3x3_dsp.h", "strop_depthwise_3x3_dsp", _bind_depthwise, _is_3x3, linear(1.1, 10)),
)
