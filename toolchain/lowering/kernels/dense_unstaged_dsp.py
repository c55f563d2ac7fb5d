"""Binding of the Armv7E-M fully connected layer that reads its row where it lies: five or four channels at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import biases_of, constant_of, quantized_fields, row_geometry
from toolchain.lowering.kernels.dsp_costs import BOUNDED_PRIOR, bounded_units, is_signed
from toolchain.lowering.kernels.dsp_stream import fits, pack_unstaged, scales_of, unstaged_lanes

STEP, FLIPPED = 8, 32
FIVE, FOUR = 5, 4
FIVES_FROM = 20
FIVES_UNROLLED, FOURS_UNROLLED = 16, 4
FLIP = 128
"""What an even input gains where its sign bit flips."""


def _blocks(channels: int) -> tuple[int, int]:
    """Blocks of five and of four channels, as few of four as leave no channel over; of few channels only blocks of four."""
    fours = -(-channels // FOUR) if channels < FIVES_FROM else 4 * channels % FIVE
    return max(channels - FOUR * fours, 0) // FIVE, fours


def _accepts(graph: Graph, node: Node) -> bool:
    """One row of whole steps, weights that 16 bits hold as lanes."""
    x = node.inputs[0]
    depth = x.type.shape[-1]
    if x.type.elements != depth or depth % STEP or not depth or graph.constant(x) is not None or not fits(graph, node):
        return False
    lanes = unstaged_lanes(constant_of(graph, node, 1))
    return bool(lanes.min() >= -(2**15) and lanes.max() < 2**15)


def _biases(graph: Graph, node: Node, weights: Array) -> Array:
    """Biases with the input's zero point, and less what flipped inputs add."""
    out, rows = len(weights), weights.astype(np.int64)
    offset = -quant_of(node.inputs[0].type).scalar_zero_point
    return biases_of(graph, node, out) + offset * rows.sum(axis=1) - FLIP * rows[:, 0::2].sum(axis=1)


def _bind(graph: Graph, node: Node) -> Binding:
    weights = constant_of(graph, node, 1)
    (out, depth), scales = weights.shape, scales_of(node, weights, biases_of(graph, node, len(weights)))
    fives, fours = _blocks(out)
    stream = pack_unstaged(unstaged_lanes(weights), _biases(graph, node, weights), scales, (FIVE,) * fives + (FOUR,) * fours)
    shape = row_geometry(1, depth, out) + quantized_fields(node, 0)
    return Binding(shape, (replace(read(graph, node.inputs[0]), spoiled=True), packed("int32_t", stream), write(node.output)))


def _units(_graph: Graph, node: Node) -> Work:
    """Steps and blocks of five and of four channels, `signed` outputs, passes of the loops.

    Also calls for blocks of one size (`dot`), inputs flipped by 32 and by 8, the rest of channels that is copied.
    """
    out, depth = node.inputs[1].type.shape
    (fives, fours), steps = _blocks(out), depth // STEP
    rest = (out - FIVE * fives) % FOUR
    return {
        "step_five": fives * steps,
        "step_four": fours * steps,
        "pass": fives * -(-steps // FIVES_UNROLLED) + fours * -(-steps // FOURS_UNROLLED),
        "block_five": fives,
        "block_four": fours,
        "signed": FIVE * fives + FOUR * fours if is_signed(node) else 0,
        "flip": depth // FLIPPED,
        "flip_rest": depth % FLIPPED // STEP,
        "dot": (fives > 0) + (out - FIVE * fives >= FOUR) + (rest > 0),
        "rest": rest,
        **bounded_units(node),
        "call": 1,
    }


_PRIOR = {
    **{"step_five": 27, "step_four": 22, "pass": 3, "block_five": 34, "block_four": 29, "signed": 1},
    **{"flip": 12, "flip_rest": 6, "dot": 20, "rest": 6, "call": 40},
    **BOUNDED_PRIOR,
}
VARIANTS = (
    Variant(
        "fully_connected",
        "armv7em",
        "fully_connected_unstaged_dsp.h",
        "strop_fully_connected_unstaged_dsp",
        "strop_conv_2d_shape",
        _accepts,
        _bind,
        Cost(_units, _PRIOR),
        spoils=True,
    ),
)
