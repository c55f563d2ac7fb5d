"""Bindings of the SIMD depthwise convolutions of Linux boards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import accepts_int8, weight_rows
from toolchain.lowering.kernels.simd_plan import (
    LANES,
    Band,
    Window,
    accepted_scales,
    band_of,
    row_bytes,
    scales_of,
    simd_fields,
    strided_window,
)
from toolchain.lowering.program import Operand

HALVES = (*range(4), *range(8, 12), *range(4, 8), *range(12, 16))
"""The order of channels within a pair of taps on x86-64."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A depthwise layer as a walk over a band. folded: pixels that are taken for one of so many times the channels."""

    window: Window
    band: Band
    folded: int
    taps: tuple[int, ...]


def _folded(window: Window) -> int:
    """Pixels side by side that fill sixteen channels."""
    fold = LANES // window.in_c if LANES % window.in_c == 0 else 1
    return fold if window.stride[1] == 1 and window.out_w % fold == 0 else 1


def layer_of(node: Node) -> Layer:
    """The walk of a depthwise convolution; an odd number of taps ends with the last one again."""
    window = strided_window(node)
    fold, (_, height, width, _), dilation = _folded(window), node.inputs[1].type.shape, node.attrs.dilation
    window = replace(
        window,
        out_w=window.out_w // fold,
        out_c=window.out_c * fold,
        stride=(window.stride[0], window.stride[1] * fold),
        span=(window.span[0], window.span[1] + fold - 1),
    )
    band = band_of(window)
    row = row_bytes(window, band)
    taps = [ky * dilation[0] * row + kx * dilation[1] * window.in_c for ky in range(height) for kx in range(width)]
    return Layer(window, band, fold, (*taps, *taps[-1:] * (len(taps) % 2)))


def _blocks(rows: Array) -> Array:
    """(channels, n) as (blocks, 16, n): the last block is the last sixteen; fewer channels are filled with zeros."""
    if len(rows) < LANES:
        return np.concatenate([rows, np.zeros((LANES - len(rows), rows.shape[1]), rows.dtype)])[None]
    firsts = (min(first, len(rows) - LANES) for first in range(0, len(rows), LANES))
    return np.stack([rows[first : first + LANES] for first in firsts])


def _by_halves(pairs: Array) -> Array:
    """(16, pairs, 2) weights as depthwise_block.h of x86-64 reads them."""
    return np.ascontiguousarray(pairs[list(HALVES)].transpose(1, 0, 2)).astype(np.int16).reshape(-1).view(np.int8)


def _by_tap(pairs: Array) -> Array:
    """(16, pairs, 2) weights as (pairs, 2, 16), which NEON reads."""
    return np.ascontiguousarray(pairs.transpose(1, 2, 0)).reshape(-1)


def _stream(graph: Graph, node: Node, layer: Layer, arrange: Callable[[Array], Array]) -> Array:
    channels = accepted_scales(graph, node)
    weights = np.tile(weight_rows(graph, node) * channels.live[:, None].astype(np.int8), (layer.folded, 1))
    even = np.concatenate([weights, np.zeros((len(weights), weights.shape[1] % 2), np.int8)], axis=1)
    scales = _blocks(np.tile(channels.rows, (layer.folded, 1)))
    parts: list[Array] = []
    for scale, block in zip(scales, _blocks(even), strict=True):
        parts += [np.ascontiguousarray(scale.T).reshape(-1).view(np.int8), arrange(block.reshape(LANES, -1, 2))]
    return np.concatenate(parts)


def _accepts(graph: Graph, node: Node) -> bool:
    """Int8, one output per channel, factors that only shift right, and sums far from the ends of 32 bits."""
    one = node.inputs[0].type.shape[3] == node.output.type.shape[3]
    return one and accepts_int8(graph, node) and scales_of(graph, node) is not None


def _accepts_pairs(graph: Graph, node: Node) -> bool:
    """Also where 16 bits hold the sum of two products: no pair of taps is -128 twice."""
    if not _accepts(graph, node):
        return False
    lowest = weight_rows(graph, node) == np.iinfo(np.int8).min
    even = lowest.shape[1] // 2 * 2
    return not (lowest[:, 0:even:2] & lowest[:, 1:even:2]).any()


def _bind(arrange: Callable[[Array], Array]) -> Callable[[Graph, Node], Binding]:
    def bind(graph: Graph, node: Node) -> Binding:
        layer = layer_of(node)
        shape = simd_fields(node, layer.window, layer.band, 1, len(layer.taps) // 2, 1)
        stream = packed("int8_t", _stream(graph, node, layer, arrange))
        taps = packed("int32_t", np.array(layer.taps, np.int32))
        scratch = Operand("int32_t", scratch_bytes=layer.band.bytes)
        return Binding(shape, (read(graph, node.inputs[0]), stream, taps, scratch, write(node.output)))

    return bind


PRIOR = {"pair": 11, "block": 45, "moved": 0.3, "band": 300, "pixel": 3, "call": 200}
"""pair: two taps of sixteen channels. block: sixteen outputs. moved: bytes of the input."""


def _units(_graph: Graph, node: Node) -> Work:
    layer = layer_of(node)
    window, band = layer.window, layer.band
    pixels = window.batch * window.out_h * window.out_w
    blocks = pixels * -(-window.out_c // LANES)
    return {
        "pair": blocks * len(layer.taps) // 2,
        "block": blocks,
        "moved": node.inputs[0].type.elements,
        "band": window.batch * -(-window.out_h // band.rows),
        "pixel": pixels,
        "call": 1,
    }


def _variant(folder: str, accepts: Callable[[Graph, Node], bool], arrange: Callable[[Array], Array]) -> Variant:
    names = ("depthwise_simd.h", "strop_depthwise_simd", "strop_simd_shape")
    return Variant("depthwise_conv_2d", folder, *names, accepts, _bind(arrange), Cost(_units, PRIOR))


VARIANTS = (_variant("x86_64", _accepts, _by_halves), _variant("neon", _accepts_pairs, _by_tap))
