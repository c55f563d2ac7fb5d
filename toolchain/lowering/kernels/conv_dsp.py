"""Bindings of the Armv7E-M convolutions and fully connected layers: one weight stream per block of four channels."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, write
from toolchain.lowering.kernels.conv import BLOCK, biases_of, constant_of, geometry, quantized_fields, row_geometry, weight_rows
from toolchain.lowering.kernels.dsp_costs import (
    BOUNDED_PRIOR,
    GATHER_PRIOR,
    UNROLLED,
    WORDS_OF_REST,
    Gathered,
    blocks_of,
    bounded_units,
    gather_units,
    is_signed,
)
from toolchain.lowering.kernels.dsp_stream import GROUP, Lanes, filled, filled_runs, fits, pack_stream, scales_of
from toolchain.lowering.program import Operand, ShapeField

ROW_STEP, ROW_STEPS_UNROLLED = 8, 8
STEP_INSTRUCTIONS = 11
RUN_INSTRUCTIONS = 8


def _run_length(node: Node) -> int:
    """Elements of a filter that lie one after the other in the input."""
    (_, _, width, depth), channels = node.inputs[1].type.shape, node.inputs[0].type.shape[3]
    return width * depth if node.attrs.dilation[1] == 1 and depth == channels else depth


def is_staged(node: Node) -> bool:
    """True when the whole filter is better gathered as one run through a copy than run by run."""
    out, height, width, depth = node.inputs[1].type.shape
    taps, run = height * width * depth, _run_length(node)
    if run < GROUP:
        return True
    spared = (taps // run * filled(run) - filled(taps)) // 2 * STEP_INSTRUCTIONS * -(-out // BLOCK)
    return spared > 2 * (0.6 * taps + RUN_INSTRUCTIONS * (taps // run))


def _runs_of(node: Node, weights: Array) -> Array:
    """(out, h, w, depth) weights as (out, runs, run)."""
    return weights.reshape(
        weights.shape[0], 1 if is_staged(node) else -1, weights[0].size if is_staged(node) else _run_length(node)
    )


def _stream(graph: Graph, node: Node, runs: Array, groups: int, lanes: Lanes, granule: int = GROUP) -> tuple[Operand, int]:
    """The packed stream and the taps of a filled filter."""
    bias = biases_of(graph, node, node.output.type.shape[-1])
    rows, scales = filled_runs(runs, granule), scales_of(node, weight_rows(graph, node), bias)
    return packed("int32_t", pack_stream(rows, bias, scales, groups, lanes)), rows.shape[1]


def _dsp_shape(conv: tuple[ShapeField, ...], *, staged: bool) -> tuple[ShapeField, ...]:
    return (ShapeField("conv", conv), *fields(staged=int(staged), halves=0))


def _may_be_cut(node: Node) -> bool:
    """True when some filter reaches beyond the input, as gather_dsp.h finds it."""
    attrs, (_, height, width, _) = node.attrs, node.inputs[1].type.shape
    size, out = node.inputs[0].type.shape[1:3], node.output.type.shape[1:3]
    reach = [(o - 1) * s + (k - 1) * d for o, s, k, d in zip(out, attrs.stride, (height, width), attrs.dilation, strict=True)]
    return attrs.padding[0] > 0 or attrs.padding[2] > 0 or any(r >= n for r, n in zip(reach, size, strict=True))


def _bind_conv(graph: Graph, node: Node, lanes: Lanes) -> Binding:
    weights = constant_of(graph, node, 1)
    x, w = node.inputs[0].type, node.inputs[1].type
    groups = _groups(node)
    stream, taps = _stream(graph, node, _runs_of(node, weights), groups, lanes)
    conv = geometry(node, (w.shape[1], w.shape[2]), groups) + quantized_fields(node, -quant_of(x).scalar_zero_point)
    stage = taps if is_staged(node) else filled(_run_length(node)) if _may_be_cut(node) else 0
    scratch = Operand("int32_t", scratch_bytes=4 * taps + 2 * stage)
    return Binding(_dsp_shape(conv, staged=is_staged(node)), (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


def _rows_of(node: Node) -> int:
    return node.inputs[0].type.elements // node.inputs[0].type.shape[-1]


def _dense_stream(graph: Graph, node: Node, lanes: Lanes, granule: int) -> tuple[Operand, int]:
    weights = constant_of(graph, node, 1)
    return _stream(graph, node, weights.reshape(weights.shape[0], 1, -1), 1, lanes, granule)


def _dense_geometry(node: Node) -> tuple[ShapeField, ...]:
    out, depth = node.inputs[1].type.shape
    return row_geometry(_rows_of(node), depth, out) + quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point)


def _bind_dense_rows(graph: Graph, node: Node, lanes: Lanes) -> Binding:
    """A fully connected layer as a 1x1 convolution over its rows."""
    stream, taps = _dense_stream(graph, node, lanes, GROUP)
    staged = node.inputs[1].type.shape[1] < GROUP
    scratch = Operand("int32_t", scratch_bytes=4 * taps + (2 * taps if staged else 0))
    shape = _dsp_shape(_dense_geometry(node), staged=staged)
    return Binding(shape, (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


def _bind_dense_row(graph: Graph, node: Node, lanes: Lanes) -> Binding:
    """A fully connected layer on one row."""
    stream, taps = _dense_stream(graph, node, lanes, ROW_STEP)
    scratch = Operand("int32_t", scratch_bytes=2 * taps)
    return Binding(_dense_geometry(node), (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


def _groups(node: Node) -> int:
    return node.inputs[0].type.shape[3] // node.inputs[1].type.shape[3]


def _conv_units(_graph: Graph, node: Node) -> Work:
    out, height, width, depth = node.inputs[1].type.shape
    groups, (batch, out_h, out_w, _) = _groups(node), node.output.type.shape
    run = _run_length(node)
    pairs = batch * -(-out_h * out_w // 2)
    taps = filled(height * width * depth) if is_staged(node) else height * width * depth // run * filled(run)
    gathered = Gathered(run // depth, run, is_staged(node))
    work = blocks_of(pairs * groups, out // groups, taps // 2, signed=is_signed(node))
    return work | gather_units(node, gathered, groups) | bounded_units(node) | {"pair": pairs, "call": 1}


def _dense_rows_units(_graph: Graph, node: Node) -> Work:
    (out, depth), pairs = node.inputs[1].type.shape, -(-_rows_of(node) // 2)
    staged = depth < GROUP
    work = blocks_of(pairs, out, filled(depth) // 2, signed=is_signed(node))
    length = filled(depth) if staged else depth
    return work | {
        "run": pairs,
        "sixteen": pairs * (length // UNROLLED),
        "four": pairs * (length % UNROLLED // GROUP),
        "tail": pairs if length % GROUP else 0,
        "staged": 2 * pairs if staged else 0,
        "inline": 2 * pairs * WORDS_OF_REST[depth] if staged else 0,
        "pair": pairs,
        **bounded_units(node),
        "call": 1,
    }


def _dense_row_units(_graph: Graph, node: Node) -> Work:
    out, depth = node.inputs[1].type.shape
    steps, blocks = filled(depth, ROW_STEP) // ROW_STEP, -(-out // BLOCK)
    return {
        "step": blocks * steps,
        "pass": blocks * -(-steps // ROW_STEPS_UNROLLED),
        "block": blocks,
        "four": depth // GROUP,
        "lane": depth % GROUP if depth > GROUP else 0,
        "tail": depth % GROUP > 0 and depth > GROUP,
        "narrow": depth if depth < GROUP else 0,
        "rest": out % BLOCK,
        "dot": (out >= BLOCK) + (out % BLOCK > 0),
        **bounded_units(node),
        "call": 1,
    }


def _conv_cost(lanes: Lanes, units: Callable[[Graph, Node], Work]) -> Cost:
    step, block = (11.3, 43) if lanes == "wide" else (12.3, 56)
    prior = {"step": step, "pass": 3, "block": block, "signed": 12, "dot": 35, "rest": 8, "pair": 20, "call": 40}
    return Cost(units, prior | GATHER_PRIOR | BOUNDED_PRIOR)


def _dense_cost(lanes: Lanes) -> Cost:
    step, block = (21.3, 31) if lanes == "wide" else (27.3, 37)
    prior = {"step": step, "pass": 4, "block": block, "four": 7, "lane": 6, "tail": 10, "narrow": 6}
    prior |= {"rest": 10, "dot": 20, "call": 40} | BOUNDED_PRIOR
    return Cost(_dense_row_units, prior)


def _variant(
    op: str,
    header: str,
    shape_type: str,
    lanes: Lanes,
    bind: Callable[[Graph, Node, Lanes], Binding],
    suits: Callable[[Node], bool],
    cost: Cost,
) -> Variant:
    def accepts(graph: Graph, node: Node) -> bool:
        return suits(node) and fits(graph, node, lanes)

    def bind_lanes(graph: Graph, node: Node) -> Binding:
        return bind(graph, node, lanes)

    function = f"strop_{header}{'_byte' if lanes == 'byte' else ''}_dsp"
    return Variant(op, "armv7em", f"{header}_dsp.h", function, shape_type, accepts, bind_lanes, cost)


def _variants(lanes: Lanes) -> tuple[Variant, ...]:
    conv, rows = _conv_cost(lanes, _conv_units), _conv_cost(lanes, _dense_rows_units)
    return (
        _variant("conv_2d", "conv_2d", "strop_conv_dsp_shape", lanes, _bind_conv, lambda node: True, conv),
        _variant("fully_connected", "conv_2d", "strop_conv_dsp_shape", lanes, _bind_dense_rows, lambda node: True, rows),
        _variant(
            "fully_connected",
            "fully_connected",
            "strop_conv_2d_shape",
            lanes,
            _bind_dense_row,
            lambda n: _rows_of(n) == 1,
            _dense_cost(lanes),
        ),
    )


VARIANTS = (*_variants("wide"), *_variants("byte"))
