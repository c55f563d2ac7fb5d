"""Bindings of the Armv7E-M convolution for int16 activations and int8 weights, where every sum fits int32."""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, wide_factor, write
from toolchain.lowering.kernels.conv import (
    biases_of,
    constant_of,
    factors_of,
    geometry,
    quantized_fields,
    row_geometry,
    weight_rows,
)
from toolchain.lowering.kernels.conv_s16 import accepts_int16
from toolchain.lowering.kernels.dsp_costs import GATHER_PRIOR, UNROLLED, Gathered, blocks_of, gather_units
from toolchain.lowering.kernels.dsp_stream import GROUP, filled, pack_halves
from toolchain.lowering.program import Operand, ShapeField

LANES = 2
SUM_LIMIT = 2**31
SHIFTS = range(16, 33)


def _accepts(graph: Graph, node: Node) -> bool:
    """Sums that int32 holds, and factors that are the high half of one product."""
    if not accepts_int16(graph, node):
        return False
    rows, bias = weight_rows(graph, node).astype(np.int64), biases_of(graph, node, node.output.type.shape[-1])
    worst = 2**15 * np.abs(rows).sum(axis=1) + np.abs(bias)
    return bool((worst < SUM_LIMIT).all()) and all(wide_factor(factor)[1] in SHIFTS for factor in factors_of(node))


def _mantissas(node: Node) -> Array:
    """Mantissas whose high product is the output: times 2^(32 - right shift)."""
    return np.array([mantissa << (32 - right) for mantissa, right in map(wide_factor, factors_of(node))], np.int64)


def _filter(graph: Graph, node: Node) -> tuple[Array, int]:
    """(out, runs, run) weights, runs as they are contiguous in the input, and the groups of the layer."""
    weights = constant_of(graph, node, 1)
    if node.op == "fully_connected":
        return weights.reshape(len(weights), 1, -1), 1
    out, _, width, depth = weights.shape
    groups = node.inputs[0].type.shape[3] // depth
    run = width * depth if node.attrs.dilation[1] == 1 and groups == 1 else depth
    return weights.reshape(out, -1, run), groups


def _shape(node: Node, groups: int) -> tuple[ShapeField, ...]:
    """The shape with channels of the input in bytes."""
    x, w = node.inputs[0].type, node.inputs[1].type
    if node.op == "fully_connected":
        conv = row_geometry(x.elements // w.shape[1], w.shape[1], w.shape[0])
    else:
        conv = geometry(node, (w.shape[1], w.shape[2]), groups)
    in_bytes = tuple(ShapeField("in_c", 2 * x.shape[-1]) if part.name == "in_c" else part for part in conv)
    return (ShapeField("conv", in_bytes + quantized_fields(node, 0)), *fields(staged=0, halves=1))


def _bind(graph: Graph, node: Node) -> Binding:
    runs, groups = _filter(graph, node)
    bias = biases_of(graph, node, len(runs))
    length = filled(runs.shape[2], LANES)
    rows = np.pad(runs.astype(np.int64), ((0, 0), (0, 0), (0, length - runs.shape[2]))).reshape(len(runs), -1)
    scratch = Operand("int32_t", scratch_bytes=4 * rows.shape[1] + 4 * length)
    stream = packed("int32_t", pack_halves(rows, bias, _mantissas(node), groups))
    return Binding(_shape(node, groups), (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


def _units(graph: Graph, node: Node) -> Work:
    runs, groups = _filter(graph, node)
    out, count, run = runs.shape
    outputs = node.output.type.elements // out
    batch = node.output.type.shape[0] if node.op == "conv_2d" else 1
    pairs = batch * -(-(outputs // batch) // 2)
    work = blocks_of(pairs * groups, out // groups, count * filled(run, LANES) // LANES, signed=False)
    del work["signed"]
    if node.op == "conv_2d":
        gathered = gather_units(node, Gathered(run // node.inputs[1].type.shape[3], 2 * run, staged=False), groups)
    else:
        bytes_ = 2 * run
        gathered = {"run": pairs, "sixteen": pairs * (bytes_ // UNROLLED), "four": pairs * (bytes_ % UNROLLED // GROUP)}
    bounded = outputs * out if activation_bounds(node.attrs.activation, node.output.type) != (-(2**15), 2**15 - 1) else 0
    return work | gathered | {"pair": pairs, "bounded": bounded, "call": 1}


COST = Cost(
    _units,
    {"step": 11.2, "pass": 3, "block": 41, "dot": 35, "rest": 8, "pair": 20}
    | {**GATHER_PRIOR, "sixteen": 20, "four": 5, "bounded": 7, "call": 40},
)

VARIANTS = tuple(
    Variant(op, "armv7em", "conv_2d_dsp.h", "strop_conv_2d_s16_dsp", "strop_conv_dsp_shape", _accepts, _bind, COST)
    for op in ("conv_2d", "fully_connected")
)
