"""Bindings of the Helium (MVE) convolutions with int16 activations and int8 weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import conv_multipliers
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant
from toolchain.lowering.kernels.conv import constant_of, fully_connected_factors, geometry, row_geometry
from toolchain.lowering.kernels.conv_s16 import accepts_int16, bind_int16

LANES = 8
PRIOR: Mapping[str, float] = {"step": 6, "loop": 12.5, "rest": 13, "run": 16, "part": 37, "output": 50, "pixel": 27, "call": 60}
"""step: eight taps of two channels, loop: runs that have some, rest: runs that have fewer left. run: contiguous taps of two
channels. part: a row of their taps."""


def _filled(weights: Array, groups: int) -> Array:
    """(out, ...) weights as a row: an even number of channels per group, and bytes to read behind the last."""
    per_group = weights.reshape(groups, weights.shape[0] // groups, -1)
    even = np.pad(per_group, ((0, 0), (0, per_group.shape[1] % 2), (0, 0)))
    return np.concatenate([even.reshape(-1), np.zeros(LANES, weights.dtype)])


def _bind_conv(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    groups = x.shape[3] // w.shape[3]
    shape = geometry(node, (w.shape[1], w.shape[2]), groups)
    factors = conv_multipliers(x, w, y, y.shape[3])
    return bind_int16(graph, node, shape, _filled(constant_of(graph, node, 1), groups), factors)


def _bind_fully_connected(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    out, depth = w.shape
    shape = row_geometry(x.elements // depth, depth, out)
    return bind_int16(graph, node, shape, _filled(constant_of(graph, node, 1), 1), fully_connected_factors(x, w, y))


def _spans(taps: int, stride: int, dilation: int, before: int, size: int, outputs: int) -> list[int]:
    """Taps inside the input, for each output along one dimension."""
    starts = [output * stride - before for output in range(outputs)]
    return [sum(0 <= start + tap * dilation < size for tap in range(taps)) for start in starts]


def _work(pixels: int, channels: int, pairs: int, parts: int, runs: Mapping[int, int]) -> Work:
    """Units of `pairs` pairs of channels. runs: how many there are of each length."""
    return {
        "step": pairs * sum(n // LANES * count for n, count in runs.items()),
        "loop": pairs * sum(count for n, count in runs.items() if n >= LANES),
        "rest": pairs * sum(count for n, count in runs.items() if n % LANES),
        "run": pairs * sum(runs.values()),
        "part": pairs * parts,
        "output": pixels * channels,
        "pixel": pixels,
        "call": 1,
    }


def _conv_units(_graph: Graph, node: Node) -> Work:
    attrs: ConvAttrs = node.attrs
    x, w, y = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    depth, groups = w[3], x[3] // w[3]
    tall = _spans(w[1], attrs.stride[0], attrs.dilation[0], attrs.padding[0], x[1], y[1])
    wide = _spans(w[2], attrs.stride[1], attrs.dilation[1], attrs.padding[2], x[2], y[2])
    pairs, pixels = groups * -(-y[3] // groups // 2), x[0] * y[1] * y[2]
    rows = x[0] * sum(tall)
    if attrs.dilation[1] == 1 and groups == 1:
        runs = Counter({columns * depth: rows * count for columns, count in Counter(wide).items() if columns})
        return _work(pixels, y[3], pairs, sum(runs.values()), runs)
    return _work(pixels, y[3], pairs, rows * y[2], {depth: rows * sum(wide)})


def _row_units(_graph: Graph, node: Node) -> Work:
    channels, depth = node.inputs[1].type.shape
    rows = node.inputs[0].type.elements // depth
    return _work(rows, channels, -(-channels // 2), rows, {depth: rows})


def _variant(op: str, bind: Callable[[Graph, Node], Binding], cost: Cost) -> Variant:
    return Variant(op, "mve", "conv_2d_s16_mve.h", "strop_conv_2d_s16_mve", "strop_conv_2d_shape", accepts_int16, bind, cost)


VARIANTS = (
    _variant("conv_2d", _bind_conv, Cost(_conv_units, PRIOR)),
    _variant("fully_connected", _bind_fully_connected, Cost(_row_units, PRIOR)),
)
