"""Bindings of convolutions on cores without SIMD: four pixels a time, two in a word (conv_2d_quad.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import (
    accepts_int8,
    biases_of,
    fold_offset,
    geometry,
    quantized_fields,
    row_geometry,
    weight_rows,
)
from toolchain.lowering.kernels.dsp_stream import Requantize, requantize_rows
from toolchain.lowering.program import Operand, ShapeField

PIXELS = 4
ROUND = 32768
SUM_LIMIT = 2**29
MOST_PAIR = 255


@dataclass(frozen=True, slots=True)
class _Kernel:
    """One core's form of the kernel: channels summed together, taps per step of its loop, prior of its units."""

    together: int
    step: int
    prior: tuple[float, ...]


def scales_of(graph: Graph, node: Node) -> list[Requantize] | None:
    """Parameters of every channel, or None when the sums of one do not fit."""
    rows, bias = weight_rows(graph, node), biases_of(graph, node, node.output.type.shape[-1])
    spread = 255 * np.abs(rows.astype(np.int64)).sum(axis=1)
    worst = np.where(spread > 0, spread + np.abs(bias), 0)
    return requantize_rows(node, rows, bias) if worst.size and worst.max() < SUM_LIMIT else None


def live_rows(graph: Graph, node: Node) -> Array:
    """The weights as (channels, taps), zeros for channels that are constants: their sums must be 0."""
    scales = scales_of(graph, node)
    if scales is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    return weight_rows(graph, node) * np.array([[s.mantissa != 0] for s in scales], np.int8)


def folded_biases(graph: Graph, node: Node, scales: list[Requantize]) -> Array:
    """Biases that hold the input's zero point, 0 for channels that are constants."""
    bias = np.where([s.mantissa == 0 for s in scales], 0, biases_of(graph, node, node.output.type.shape[-1]))
    folded = fold_offset(bias, live_rows(graph, node), -quant_of(node.inputs[0].type).scalar_zero_point)
    if folded is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    return folded


def even_rows(rows: Array) -> Array:
    """(channels, taps) with a tap of zeros where their number is odd."""
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))


def signed_mantissas(scales: list[Requantize]) -> Array:
    """Twice the mantissas less 2^32, as int64."""
    return np.array([2 * s.mantissa - 2**32 if s.mantissa else 0 for s in scales], np.int64)


def _fits(graph: Graph, node: Node) -> bool:
    if not accepts_int8(graph, node) or scales_of(graph, node) is None:
        return False
    rows = np.abs(even_rows(live_rows(graph, node)).astype(np.int64))
    return bool((rows[:, ::2] + rows[:, 1::2]).max() <= MOST_PAIR)


def _rows_of(node: Node) -> int:
    return node.inputs[0].type.elements // node.inputs[0].type.shape[-1]


def _fits_dense(graph: Graph, node: Node) -> bool:
    return accepts_int8(graph, node) and scales_of(graph, node) is not None


def _filter(node: Node) -> tuple[int, int, int]:
    """Height, width and depth of the filter."""
    w = node.inputs[1].type.shape
    return (1, 1, w[1]) if node.op == "fully_connected" else (w[1], w[2], w[3])


def _groups(node: Node) -> int:
    return node.inputs[0].type.shape[-1] // _filter(node)[2]


def channel_rows(graph: Graph, node: Node, steps: int) -> Operand:
    """The `strop_scaled_channel` array. steps: pairs of taps."""
    scales = scales_of(graph, node)
    if scales is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    bias = folded_biases(graph, node, scales)
    words = bias + (bias << 16) - ROUND * steps
    rest = np.array([(s.addend, s.shift) for s in scales], np.int64)
    rows = np.concatenate([np.stack([bias, words, signed_mantissas(scales)], axis=1), rest], axis=1)
    return packed("strop_scaled_channel", (rows & 0xFFFFFFFF).astype(np.uint32).view(np.int32))


def _bind(graph: Graph, node: Node) -> Binding:
    height, width, depth = _filter(node)
    rows = even_rows(live_rows(graph, node))
    if node.op == "fully_connected":
        shape: tuple[ShapeField, ...] = row_geometry(_rows_of(node), depth, rows.shape[0])
    else:
        shape = geometry(node, (height, width), _groups(node))
    taps = rows.shape[1]
    scratch = Operand("int32_t", scratch_bytes=8 * taps + -(-width * depth // 4) * 4)
    operands = (read(graph, node.inputs[0]), packed("int8_t", rows.reshape(-1)), channel_rows(graph, node, taps // 2), scratch)
    shape += quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point)
    return Binding(shape, (*operands, write(node.output)))


def _bind_dense(graph: Graph, node: Node) -> Binding:
    rows = live_rows(graph, node)
    shape = row_geometry(_rows_of(node), rows.shape[1], rows.shape[0])
    shape += quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point)
    operands = (
        read(graph, node.inputs[0]),
        packed("int8_t", np.ascontiguousarray(rows).reshape(-1)),
        channel_rows(graph, node, 0),
    )
    return Binding(shape, (*operands, write(node.output)))


def _dense_units(_graph: Graph, node: Node) -> Mapping[str, float]:
    """Blocks of four channels, and their inputs by fours and ones."""
    depth, rows = node.inputs[1].type.shape[1], _rows_of(node)
    blocks = rows * -(-node.inputs[1].type.shape[0] // PIXELS)
    return {"block": blocks, "four": blocks * (depth // 4), "one": blocks * (depth % 4), "call": 1}


def _whole_quads(node: Node) -> float:
    """Of the quads of an image, the part whose pixels all have their filter's columns inside the input, counted."""
    attrs, x, y = node.attrs, node.inputs[0].type.shape, node.output.type.shape
    width = _filter(node)[1]
    if attrs.dilation[1] != 1 or _groups(node) != 1:
        return 0.0
    left = np.arange(y[2]) * attrs.stride[1] - attrs.padding[2]
    inside = np.tile((left >= 0) & (left + width <= x[2]), y[1])
    filled = np.concatenate([inside, np.repeat(inside[-1:], -len(inside) % PIXELS)]).reshape(-1, PIXELS)
    return float(filled.all(axis=1).sum())


def _units(node: Node, kernel: _Kernel) -> Mapping[str, float]:
    """Quads of pixels, gathered runs and elements, channels of a quad, taps by steps of the loop and the pairs left over."""
    height, width, depth = _filter(node)
    out = node.output.type.shape
    batch = 1 if node.op == "fully_connected" else out[0]
    quads = -(-(node.output.type.elements // out[-1] // batch) // PIXELS)
    whole = float(quads) if node.op == "fully_connected" else _whole_quads(node)
    groups, taps = _groups(node), -(-height * width * depth // 2) * 2
    runs = (whole + (quads - whole) * width) * height * groups
    per_group = -(-out[-1] // groups // kernel.together) * kernel.together
    channels, left = quads * groups * per_group, taps % kernel.step // 2
    return {
        "quad": batch * quads,
        "group": batch * quads * groups,
        "run": batch * runs,
        "gathered": batch * quads * groups * height * width * depth,
        "channel": batch * channels,
        "step": batch * channels * (taps // kernel.step),
        "pair": batch * channels * left,
        "call": 1,
    }


QUAD_UNITS = ("quad", "group", "run", "gathered", "channel", "step", "pair", "call")
KERNELS: Mapping[str, _Kernel] = {
    "armv7m": _Kernel(1, 8, (240, 52, 84, 10.2, 99, 45.4, 13.3, 170)),
    "armv6m": _Kernel(1, 2, (300, 60, 100, 12, 220, 20, 0, 250)),
    "rv32im": _Kernel(2, 4, (240, 60, 90, 11.5, 85, 38, 18, 200)),
}
DENSE_PRIORS: Mapping[str, Mapping[str, float]] = {
    "armv7m": {"block": 197, "four": 38, "one": 11, "call": 60},
    "armv6m": {"block": 240, "four": 60, "one": 15, "call": 60},
    "rv32im": {"block": 230, "four": 58, "one": 19, "call": 60},
}


def _variants(folder: str) -> tuple[Variant, ...]:
    kernel = KERNELS[folder]
    cost = Cost(lambda _, node: _units(node, kernel), dict(zip(QUAD_UNITS, kernel.prior, strict=True)))
    dense_cost = Cost(_dense_units, DENSE_PRIORS[folder])
    header, function, shape = "conv_2d_quad.h", "strop_conv_2d_quad_s8", "strop_conv_2d_shape"
    return (
        Variant("conv_2d", folder, header, function, shape, _fits, _bind, cost),
        Variant("fully_connected", folder, header, function, shape, _fits, _bind, cost),
        Variant("fully_connected", folder, "dense.h", "strop_dense_s8", shape, _fits_dense, _bind_dense, dense_cost),
    )


VARIANTS = tuple(variant for folder in KERNELS for variant in _variants(folder))
