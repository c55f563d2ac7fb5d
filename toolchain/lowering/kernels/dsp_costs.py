"""Units of work of the Armv7E-M convolutions: steps and blocks of dot_dsp.h, runs and groups of gather_dsp.h.

Units: `step` of two taps, two pixels and four channels; `pass` of up to 16 steps; `block` of four channels, `signed` where
halves of negative sums need their own rounding; `dot`, a call for a stream of blocks; `rest`, a channel beyond whole blocks;
`pair` of pixels; `run`, gathered for both; `four`, a gathered group of both; `cut`, a run that padding cuts; `staged`, a run
copied as it is; `word` of those copies; `bounded`, an output with bounds of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Node
from toolchain.ir.quantization import activation_bounds, quant_of
from toolchain.ir.types import Array
from toolchain.lowering.kernels.conv import BLOCK
from toolchain.lowering.kernels.dsp_stream import GROUP, filled

UNROLLED = 16
INLINE_BYTES = 16
WORDS_OF_REST = (0, 1, 1, 2)


def is_signed(node: Node) -> bool:
    """True when the smallest output is below the zero point, so that sums below zero count."""
    return activation_bounds(node.attrs.activation, node.output.type)[0] < quant_of(node.output.type).scalar_zero_point


def bounded(node: Node) -> int:
    """Outputs that pass through bounds tighter than int8."""
    return node.output.type.elements if activation_bounds(node.attrs.activation, node.output.type) != (-128, 127) else 0


def blocks_of(pairs: int, channels: int, steps: int, *, signed: bool) -> dict[str, float]:
    """Work of the dot products of so many pairs with channels and steps each."""
    blocks = pairs * -(-channels // BLOCK)
    return {
        "step": blocks * steps,
        "pass": blocks * -(-steps // UNROLLED),
        "block": blocks,
        "signed": blocks if signed else 0,
        "dot": pairs * ((channels >= BLOCK) + (channels % BLOCK > 0)),
        "rest": pairs * (channels % BLOCK),
    }


@dataclass(frozen=True, slots=True)
class Gathered:
    """How filters are gathered: columns and elements of a run, whether through a copy of the whole filter."""

    columns: int
    run: int
    staged: bool


def _inside(out: int, stride: int, padding: int, taps: int, dilation: int, span: int, size: int) -> Array:
    """(out, taps) True where span elements from a tap on lie in the input."""
    first = np.arange(out)[:, None] * stride - padding + np.arange(taps) * dilation
    return (first >= 0) & (first + span <= size)


def runs_inside(node: Node, gathered: Gathered) -> tuple[Array, Array]:
    """For every output pixel, in pairs (an odd last one twice): (pairs, 2, k_h) rows and (pairs, 2, runs) runs inside."""
    attrs: ConvAttrs = node.attrs
    (_, height, width, _), (_, out_h, out_w, _) = node.inputs[0].type.shape, node.output.type.shape
    k_h, k_w = node.inputs[1].type.shape[1:3]
    rows = _inside(out_h, attrs.stride[0], attrs.padding[0], k_h, attrs.dilation[0], 1, height)
    runs = k_w // gathered.columns
    columns = _inside(out_w, attrs.stride[1], attrs.padding[2], runs, attrs.dilation[1], gathered.columns, width)
    pixels = np.minimum(np.arange(-(-out_h * out_w // 2) * 2), out_h * out_w - 1).reshape(-1, 2)
    return rows[pixels // out_w], columns[pixels % out_w]


def gather_units(node: Node, gathered: Gathered, groups: int) -> dict[str, float]:
    """Work of gathering all pairs of one convolution."""
    rows, columns = runs_inside(node, gathered)
    many = node.inputs[0].type.shape[0] * groups
    inside = int((rows[..., :, None] & columns[..., None, :]).sum())
    pairs, (k_h, runs) = len(rows), (rows.shape[2], columns.shape[2])
    all_runs = 2 * pairs * k_h * runs
    if gathered.staged:
        inline = gathered.run <= INLINE_BYTES
        words = gathered.run // GROUP + (WORDS_OF_REST[gathered.run % GROUP] if inline else 2 * (gathered.run % GROUP))
        return {
            "run": many * pairs,
            "four": many * pairs * filled(k_h * runs * gathered.run) // GROUP,
            "cut": many * (all_runs - inside),
            "staged": many * inside,
            "word": many * (inside * words + (all_runs - inside) * gathered.run / GROUP) * (1 if inline else 2),
        }
    zero_rows = int((~rows).all(axis=1).sum())
    zero_words = zero_rows * runs * filled(gathered.run)
    cut = all_runs - inside - 2 * zero_rows * runs
    tails = (pairs * k_h - zero_rows) * runs * (0.6 if gathered.run % GROUP else 0)
    return {
        "run": many * ((pairs * k_h - zero_rows) * runs + tails),
        "four": many * (pairs * k_h - zero_rows) * runs * (gathered.run // GROUP),
        "cut": many * cut,
        "staged": 0,
        "word": many * (cut * gathered.run / GROUP * 2 + zero_words),
    }
