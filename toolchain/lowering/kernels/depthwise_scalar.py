"""Bindings of depthwise convolutions on cores without SIMD: one channel's plane at a time (depthwise_conv_2d_plane.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.lowering.cost import Cost
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import accepts_int8, geometry, quantized_fields
from toolchain.lowering.kernels.conv_scalar import channel_rows, live_rows, scales_of
from toolchain.lowering.program import Operand

QUAD = 4
BLOCK_SUMS = 256


def _accepts(graph: Graph, node: Node) -> bool:
    return accepts_int8(graph, node) and scales_of(graph, node) is not None


@dataclass(frozen=True, slots=True)
class _Plane:
    """The plane of a channel as depthwise_conv_2d_plane.h lays it out; sums: of the blocks of output rows."""

    pitch: int
    rows: int
    columns: int
    height: int
    sums: tuple[int, ...]


def _round_up(n: int) -> int:
    return -(-n // QUAD) * QUAD


def _plane_of(node: Node) -> _Plane:
    attrs, (_, in_h, in_w, _), (_, out_h, out_w, _) = node.attrs, node.inputs[0].type.shape, node.output.type.shape
    (stride_h, stride_w), (top, _, left, _) = attrs.stride, attrs.padding
    k_h, k_w = node.inputs[1].type.shape[1:3]
    span = (out_w - 1) * stride_w + (k_w - 1) * attrs.dilation[1] + 1
    rows = (out_h - 1) * stride_h + (k_h - 1) * attrs.dilation[0] + 1
    columns, height = min(max(span - left, 0), in_w), min(max(rows - top, 0), in_h)
    pitch = max(left + columns, span - left)
    block = min(max(BLOCK_SUMS // pitch, 1), out_h) if stride_h == stride_w == 1 else 1
    blocks = (min(block, out_h - oy) for oy in range(0, out_h, block))
    return _Plane(pitch, rows, columns, height, tuple(_round_up((n - 1) * pitch + out_w) for n in blocks))


def _bytes(node: Node, plane: _Plane) -> int:
    return plane.rows * plane.pitch + node.attrs.padding[2] + 3 * node.attrs.stride[1] + 1


def _bind(graph: Graph, node: Node) -> Binding:
    x, w = node.inputs[0].type, node.inputs[1].type
    shape = geometry(node, (w.shape[1], w.shape[2]), x.shape[3])
    shape += quantized_fields(node, -quant_of(x).scalar_zero_point)
    rows = packed("int8_t", np.ascontiguousarray(live_rows(graph, node)).reshape(-1))
    plane = _plane_of(node)
    scratch = Operand("int32_t", scratch_bytes=4 * max(plane.sums) + _round_up(_bytes(node, plane)))
    return Binding(shape, (read(graph, node.inputs[0]), rows, channel_rows(graph, node, 0), scratch, write(node.output)))


def _units(_graph: Graph, node: Node) -> Mapping[str, float]:
    """Copied rows and elements, filled bytes, blocks of output rows, passes over rows and their quads of sums, outputs."""
    (batch, _, _, in_c), (_, k_h, k_w, out_c) = node.inputs[0].type.shape, node.inputs[1].type.shape
    plane, stride = _plane_of(node), node.attrs.stride[1]
    triples = k_w // 3 if node.attrs.dilation[1] == 1 and stride <= 2 else 0
    singles, blocks, quads = k_w - 3 * triples, batch * out_c * len(plane.sums), batch * out_c * sum(plane.sums) / QUAD
    return {
        "copied_row": batch * in_c * plane.height,
        "copied_four": batch * in_c * plane.height * (plane.columns // QUAD),
        "copied_one": batch * in_c * plane.height * (plane.columns % QUAD),
        "filled": _bytes(node, plane),
        "block": blocks,
        "quad": quads,
        "filter_row": blocks * k_h,
        "pass": blocks * k_h * (triples + singles),
        "quad_3": quads * k_h * triples * (stride == 1),
        "quad_3_by_2": quads * k_h * triples * (stride == 2),
        "quad_1": quads * k_h * singles,
        "row": batch * out_c * node.output.type.shape[1],
        "output": node.output.type.elements,
        "call": 1,
    }


UNITS = (
    "copied_row",
    "copied_four",
    "copied_one",
    "filled",
    "block",
    "quad",
    "filter_row",
    "pass",
    "quad_3",
    "quad_3_by_2",
    "quad_1",
    "row",
    "output",
    "call",
)


def _prior(values: tuple[float, ...]) -> Mapping[str, float]:
    return dict(zip(UNITS, values, strict=True))


PRIORS: Mapping[str, Mapping[str, float]] = {
    "armv7m": _prior((40, 12, 6, 0.3, 80, 7, 40, 24, 22, 25, 18, 25, 16, 400)),
    "armv6m": _prior((60, 16, 8, 0.3, 120, 8, 70, 40, 56, 64, 40, 30, 33, 500)),
    "rv32im": _prior((40, 14, 6, 0.3, 80, 7, 40, 24, 41, 38, 22, 25, 16, 400)),
}

VARIANTS = tuple(
    Variant(
        "depthwise_conv_2d",
        folder,
        "depthwise_conv_2d_plane.h",
        "strop_depthwise_conv_2d_plane_s8",
        "strop_conv_2d_shape",
        _accepts,
        _bind,
        Cost(_units, prior),
    )
    for folder, prior in PRIORS.items()
)
