"""Units of work of the Armv7E-M convolutions: steps and blocks of dot_dsp.h, runs and groups of gather_dsp.h.

Units: `step` of two taps, two pixels and four channels; `pass` of up to 16 steps; `block` of four channels, `signed` where
halves of negative sums need their own rounding; `dot`, a call for a stream of blocks; `rest`, a channel beyond whole blocks;
`pair` of pixels; `run`, gathered for both, `checked` where padding may cut it; `sixteen` and `four` gathered elements of both,
`tail` of fewer; `cut`, a run that padding cuts, `part` where some of it is inside; `staged`, a run copied as it is, `looped`
where a filter has several, `inline` words of it; `word` and `byte` of other copies; `zero`, an element of rows outside;
`bounded`, an output with bounds of its own, `bounded_one` behind the last four, `clamp` the call for them.
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
FILL = 0.75
BOUNDED_PRIOR = {"bounded": 2, "bounded_one": 8, "clamp": 12}
GATHER_PRIOR = {
    **{"run": 25, "checked": 6, "sixteen": 30, "four": 9, "tail": 14, "cut": 60, "part": 30},
    **{"staged": 10, "looped": 4, "inline": 2, "word": 4, "byte": 4, "zero": 2},
}


def is_signed(node: Node) -> bool:
    """True when the smallest output is below the zero point, so that sums below zero count."""
    return activation_bounds(node.attrs.activation, node.output.type)[0] < quant_of(node.output.type).scalar_zero_point


def bounded(node: Node) -> int:
    """Outputs that pass through bounds tighter than int8."""
    return node.output.type.elements if activation_bounds(node.attrs.activation, node.output.type) != (-128, 127) else 0


def bounded_units(node: Node) -> dict[str, float]:
    """Work of the bounds at the end: outputs, single ones of them at the end, the call."""
    outputs = bounded(node)
    return {"bounded": outputs, "bounded_one": outputs % GROUP, "clamp": 1 if outputs else 0}


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


@dataclass(frozen=True, slots=True)
class _Runs:
    """Every run of every pixel of a convolution, in pairs (an odd last pixel twice).

    rows: (pairs, 2, k_h, 1) True where the row lies in the input. first, end: (pairs, 2, 1, runs) columns inside.
    """

    rows: Array
    first: Array
    end: Array


def _runs(node: Node, gathered: Gathered) -> _Runs:
    attrs: ConvAttrs = node.attrs
    (_, height, width, _), (_, out_h, out_w, _) = node.inputs[0].type.shape, node.output.type.shape
    k_h, k_w = node.inputs[1].type.shape[1:3]
    y = np.arange(out_h)[:, None] * attrs.stride[0] - attrs.padding[0] + np.arange(k_h) * attrs.dilation[0]
    x = np.arange(out_w)[:, None] * attrs.stride[1] - attrs.padding[2]
    x = x + np.arange(k_w // gathered.columns) * gathered.columns * attrs.dilation[1]
    pixels = np.minimum(np.arange(-(-out_h * out_w // 2) * 2), out_h * out_w - 1).reshape(-1, 2)
    first, end = np.clip(-x, 0, gathered.columns), np.clip(width - x, 0, gathered.columns)
    rows = ((y >= 0) & (y < height))[pixels // out_w]
    return _Runs(rows[..., None], first[pixels % out_w][:, :, None], end[pixels % out_w][:, :, None])


def _moved(runs: _Runs, cut: Array, gathered: Gathered) -> dict[str, float]:
    """Words and single bytes that staging the cut runs copies and fills; a filled one counts three quarters of a copied one."""
    depth = gathered.run // gathered.columns
    partly = runs.rows & (runs.end > runs.first)
    copied = np.where(partly, (runs.end - runs.first) * depth, 0)
    left = np.where(partly, runs.first * depth, gathered.run)
    right = np.where(partly, (gathered.columns - runs.end) * depth, 0)
    parts = [(copied, 1.0), (left, FILL), (right, FILL)]
    words = sum(weight * float((part // GROUP * cut).sum()) for part, weight in parts)
    rest = sum(weight * float((part % GROUP * cut).sum()) for part, weight in parts)
    return {"word": words, "byte": rest, "part": float((partly & cut).sum())}


def gather_units(node: Node, gathered: Gathered, groups: int) -> dict[str, float]:
    """Work of gathering all pairs of one convolution."""
    runs = _runs(node, gathered)
    whole = runs.rows & (runs.first == 0) & (runs.end == gathered.columns)
    pairs, _, k_h, count = whole.shape
    many = node.inputs[0].type.shape[0] * groups
    work = _staged(runs, whole, gathered) if gathered.staged else _in_place(runs, whole, gathered)
    length = filled(k_h * count * gathered.run) if gathered.staged else gathered.run
    work |= {"sixteen": work["run"] * (length // UNROLLED), "four": work["run"] * (length % UNROLLED // GROUP)}
    checks = 2.0 * pairs * (1 if gathered.staged else k_h * count)
    work |= {"tail": work["run"] if length % GROUP else 0, "checked": 0.0 if whole.all() else checks}
    return {unit: many * done for unit, done in work.items()}


def _staged(runs: _Runs, whole: Array, gathered: Gathered) -> dict[str, float]:
    """Filters copied whole, or run by run where one of their runs is cut."""
    inside = whole.all(axis=(2, 3), keepdims=True)
    pairs, _, k_h, count = whole.shape
    cut = np.broadcast_to(~inside, whole.shape)
    plain = float(inside.sum()) * k_h * count
    moved = _moved(runs, cut, gathered)
    if gathered.run <= INLINE_BYTES:
        moved["inline"] = plain * (gathered.run // GROUP + WORDS_OF_REST[gathered.run % GROUP])
    else:
        moved["word"] += plain * (gathered.run // GROUP)
        moved["byte"] += plain * (gathered.run % GROUP)
    looped = plain if k_h * count > 1 else 0.0
    return {"run": float(pairs), "cut": float(cut.sum()), "staged": plain, "looped": looped, "zero": 0.0, "inline": 0.0} | moved


def _in_place(runs: _Runs, whole: Array, gathered: Gathered) -> dict[str, float]:
    """Runs gathered from where they lie, through a copy where they are cut; rows that no pixel of a pair has are zeros."""
    pairs, _, k_h, count = whole.shape
    nowhere = ~runs.rows.any(axis=1, keepdims=True)
    cut = ~whole & ~nowhere
    zero_rows = float(nowhere.sum())
    run = (pairs * k_h - zero_rows) * count
    zeros = zero_rows * count * filled(gathered.run)
    work = {"run": run, "cut": float(cut.sum()), "staged": 0.0, "looped": 0.0, "inline": 0.0, "zero": zeros}
    return work | _moved(runs, cut, gathered)
