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
    Band,
    Window,
    accepted_scales,
    band_of,
    row_bytes,
    scales_of,
    simd_fields,
    strided_window,
    with_offset,
)
from toolchain.lowering.program import Operand


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a folder's kernel reads its weights: channels of a block, taps of a group, what is added to activations, and the orders
    of (3, lanes) parameters and of (lanes, groups, taps of a group) weights, both as bytes."""

    lanes: int
    taps: int
    offset: int
    scales: Callable[[Array], Array]
    weights: Callable[[Array], Array]


QUARTERS = tuple(16 * half + 4 * quarter + lane for quarter in range(4) for half in range(2) for lane in range(4))
"""The channels of four registers on x86-64, in each of which halves are interleaved apart."""


def _bytes(data: Array) -> Array:
    return np.ascontiguousarray(data).reshape(-1).view(np.int8)


X86_64 = Arrangement(
    32, 4, 128, lambda scales: _bytes(scales[:, QUARTERS]), lambda weights: _bytes(weights[list(QUARTERS)].transpose(1, 0, 2))
)
NEON = Arrangement(16, 2, 0, _bytes, lambda weights: _bytes(weights.transpose(1, 2, 0)))


@dataclass(frozen=True, slots=True)
class Layer:
    """A depthwise layer as a walk over a band. folded: pixels that are taken for one of so many times the channels."""

    window: Window
    band: Band
    folded: int
    taps: tuple[int, ...]


def _folded(window: Window, lanes: int) -> int:
    """Pixels side by side that fill a block's channels as far as they can."""
    fits = (fold for fold in range(lanes // window.in_c, 1, -1) if window.stride[1] == 1 and window.out_w % fold == 0)
    return next(fits, 1)


def layer_of(node: Node, arrangement: Arrangement) -> Layer:
    """The walk of a depthwise convolution; a group of taps that is not full ends with the last one again."""
    window = strided_window(node)
    fold, (_, height, width, _), dilation = _folded(window, arrangement.lanes), node.inputs[1].type.shape, node.attrs.dilation
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
    return Layer(window, band, fold, (*taps, *taps[-1:] * (-len(taps) % arrangement.taps)))


def _blocks(rows: Array, lanes: int) -> Array:
    """(channels, n) as (blocks, lanes, n): the last block is the last channels; fewer than one block are filled with zeros."""
    if len(rows) < lanes:
        return np.concatenate([rows, np.zeros((lanes - len(rows), rows.shape[1]), rows.dtype)])[None]
    firsts = (min(first, len(rows) - lanes) for first in range(0, len(rows), lanes))
    return np.stack([rows[first : first + lanes] for first in firsts])


def _stream(graph: Graph, node: Node, layer: Layer, arrangement: Arrangement) -> Array:
    channels, lanes = accepted_scales(graph, node), arrangement.lanes
    weights = weight_rows(graph, node) * channels.live[:, None].astype(np.int8)
    filled = np.zeros((len(weights), len(layer.taps)), np.int8)
    filled[:, : weights.shape[1]] = weights
    rows = with_offset(channels.rows, weights.astype(np.int64).sum(axis=1), arrangement.offset)
    scales = _blocks(np.tile(rows, (layer.folded, 1)), lanes)
    parts: list[Array] = []
    for scale, block in zip(scales, _blocks(np.tile(filled, (layer.folded, 1)), lanes), strict=True):
        parts += [arrangement.scales(scale.T), arrangement.weights(block.reshape(lanes, -1, arrangement.taps))]
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


def _bind(arrangement: Arrangement) -> Callable[[Graph, Node], Binding]:
    def bind(graph: Graph, node: Node) -> Binding:
        layer = layer_of(node, arrangement)
        shape = simd_fields(node, layer.window, layer.band, 1, len(layer.taps) // arrangement.taps, 1)
        stream = packed("int8_t", _stream(graph, node, layer, arrangement))
        taps = packed("int32_t", np.array(layer.taps, np.int32))
        scratch = Operand("int32_t", scratch_bytes=layer.band.bytes)
        return Binding(shape, (read(graph, node.inputs[0]), stream, taps, scratch, write(node.output)))

    return bind


PRIOR = {"tap": 5, "block": 45, "moved": 0.3, "band": 300, "pixel": 3, "call": 200}
"""tap: of a block's channels. block: its outputs of a pixel. moved: bytes of the input."""


def _units(arrangement: Arrangement) -> Callable[[Graph, Node], Work]:
    def units(_graph: Graph, node: Node) -> Work:
        layer = layer_of(node, arrangement)
        window, band = layer.window, layer.band
        pixels = window.batch * window.out_h * window.out_w
        blocks = pixels * -(-window.out_c // arrangement.lanes)
        return {
            "tap": blocks * len(layer.taps),
            "block": blocks,
            "moved": node.inputs[0].type.elements,
            "band": window.batch * -(-window.out_h // band.rows),
            "pixel": pixels,
            "call": 1,
        }

    return units


def _variant(folder: str, accepts: Callable[[Graph, Node], bool], arrangement: Arrangement) -> Variant:
    names = ("depthwise_simd.h", "strop_depthwise_simd", "strop_simd_shape")
    return Variant("depthwise_conv_2d", folder, *names, accepts, _bind(arrangement), Cost(_units(arrangement), PRIOR))


VARIANTS = (_variant("x86_64", _accepts, X86_64), _variant("neon", _accepts_pairs, NEON))
