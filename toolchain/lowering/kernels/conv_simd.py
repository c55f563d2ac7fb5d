"""Bindings of the SIMD convolutions and fully connected layers of Linux boards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import accepts_int8, constant_of
from toolchain.lowering.kernels.simd_plan import (
    LANES,
    Band,
    Scales,
    Window,
    accepted_scales,
    band_of,
    padded_channels,
    row_bytes,
    row_window,
    scales_of,
    simd_fields,
    window_of,
    with_offset,
)
from toolchain.lowering.program import Operand

QUAD = 4
UNSIGNED_OFFSET = 128


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as a walk over a band: runs of neighbouring taps at offsets (bytes) from a pixel's first tap, each filled to fours.

    weights: (out, runs, taps of a run).
    """

    window: Window
    band: Band
    groups: int
    offsets: tuple[int, ...]
    weights: Array

    @property
    def quads(self) -> int:
        """Fours of taps of a run."""
        return -(-self.weights.shape[2] // QUAD)


def layer_of(graph: Graph, node: Node) -> Layer:
    """The walk of a convolution or a fully connected layer."""
    weights = constant_of(graph, node, 1)
    if node.op == "fully_connected":
        out, depth = weights.shape
        window = row_window(node.inputs[0].type.elements // depth, depth, out)
        return Layer(window, band_of(window), 1, (0,), weights.reshape(out, 1, depth))
    out, height, width, depth = weights.shape
    window = window_of(node)
    band, groups, dilation = band_of(window), window.in_c // depth, node.attrs.dilation
    rows = [ky * dilation[0] * row_bytes(window, band) for ky in range(height)]
    if groups == 1 and dilation[1] == 1:
        return Layer(window, band, groups, tuple(rows), weights.reshape(out, height, width * depth))
    offsets = tuple(row + kx * dilation[1] * window.in_c for row in rows for kx in range(width))
    return Layer(window, band, groups, offsets, weights.reshape(out, height * width, depth))


def _by_quad(weights: Array) -> Array:
    """(out, runs, taps) of one group as (blocks, runs, quads, 16, 4), filled with zeros."""
    out, runs, taps = weights.shape
    filled = np.zeros((out, runs, -(-taps // QUAD) * QUAD), np.int8)
    filled[:, :, :taps] = weights
    blocks = padded_channels(filled).reshape(-1, LANES, runs, -(-taps // QUAD), QUAD)
    return blocks.transpose(0, 2, 3, 1, 4)


def pack_stream(layer: Layer, channels: Scales, offset: int) -> Array:
    """The stream of conv_2d_simd.h as bytes. offset: what is added to activations before they are multiplied."""
    weights = layer.weights * channels.live[:, None, None].astype(np.int8)
    rows = with_offset(channels.rows, weights.astype(np.int64).sum(axis=(1, 2)), offset)
    per_group = len(weights) // layer.groups
    parts: list[Array] = []
    for first in range(0, len(weights), per_group):
        blocks = _by_quad(weights[first : first + per_group])
        scales = padded_channels(rows[first : first + per_group]).transpose(0, 2, 1)
        for scale, block in zip(scales, blocks, strict=True):
            parts += [np.ascontiguousarray(scale).reshape(-1).view(np.int8), np.ascontiguousarray(block).reshape(-1)]
    return np.concatenate(parts)


def _accepts(graph: Graph, node: Node) -> bool:
    """Int8 with factors that only shift right, and sums far from the ends of 32 bits."""
    return accepts_int8(graph, node) and scales_of(graph, node) is not None


def _accepts_pairs(graph: Graph, node: Node) -> bool:
    """Also where 16 bits hold the sum of two products: no two neighbouring fours have -128 at the same place."""
    if not _accepts(graph, node):
        return False
    layer = layer_of(graph, node)
    lowest = np.zeros((*layer.weights.shape[:2], 2 * QUAD * -(-layer.quads // 2)), np.bool_)
    lowest[:, :, : layer.weights.shape[2]] = layer.weights == np.iinfo(np.int8).min
    pairs = lowest.reshape(*lowest.shape[:2], -1, 2, QUAD)
    return not (pairs[..., 0, :] & pairs[..., 1, :]).any()


def _bind(offset: int, *, by_quad: bool) -> Callable[[Graph, Node], Binding]:
    """offset: of unsigned activations. by_quad: every four taps are a run."""

    def bind(graph: Graph, node: Node) -> Binding:
        layer = layer_of(graph, node)
        starts, quads = np.array(layer.offsets, np.int32), layer.quads
        if by_quad:
            starts, quads = (starts[:, None] + QUAD * np.arange(quads, dtype=np.int32)).reshape(-1), 1
        shape = simd_fields(node, layer.window, layer.band, layer.groups, len(starts), quads)
        stream = packed("int8_t", pack_stream(layer, accepted_scales(graph, node), offset))
        runs = packed("int32_t", starts)
        scratch = Operand("int32_t", scratch_bytes=layer.band.bytes)
        return Binding(shape, (read(graph, node.inputs[0]), stream, runs, scratch, write(node.output)))

    return bind


PRIOR = {"step": 2.5, "output": 1.5, "moved": 0.3, "block": 60, "pixel": 3, "call": 200}
"""step: four taps of one pixel and sixteen channels. moved: bytes of the input. block: of a band."""


def _units(graph: Graph, node: Node) -> Work:
    layer = layer_of(graph, node)
    window, pixels = layer.window, layer.window.batch * layer.window.out_h * layer.window.out_w
    blocks = layer.groups * -(-window.out_c // layer.groups // LANES)
    bands = window.batch * -(-window.out_h // layer.band.rows) * -(-window.out_w // layer.band.cols)
    return {
        "step": pixels * blocks * len(layer.offsets) * layer.quads,
        "output": pixels * blocks * LANES,
        "moved": node.inputs[0].type.elements,
        "block": bands * blocks,
        "pixel": pixels,
        "call": 1,
    }


def _variant(op: str, folder: str, accepts: Callable[[Graph, Node], bool], offset: int) -> Variant:
    names = ("conv_2d_simd.h", "strop_conv_2d_simd", "strop_simd_shape")
    return Variant(op, folder, *names, accepts, _bind(offset, by_quad=folder == "x86_64"), Cost(_units, PRIOR))


VARIANTS = tuple(
    _variant(op, folder, accepts, offset)
    for op in ("conv_2d", "fully_connected")
    for folder, accepts, offset in (("x86_64", _accepts, UNSIGNED_OFFSET), ("neon", _accepts_pairs, 0))
)
