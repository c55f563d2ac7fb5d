"""Bindings of the Armv7E-M convolutions and fully connected layers: one weight stream per block of four channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, write
from toolchain.lowering.kernels.conv import BLOCK, biases_of, constant_of, geometry, quantized_fields, row_geometry, weight_rows
from toolchain.lowering.kernels.dsp_stream import GROUP, Lanes, filled, filled_runs, fits, pack_stream, scales_of
from toolchain.lowering.program import Operand, ShapeField

ROW_STEP = 8
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
    return weights.reshape(weights.shape[0], 1 if is_staged(node) else -1, weights[0].size if is_staged(node) else _run_length(node))


def _stream(
    graph: Graph, node: Node, runs: Array, groups: int, lanes: Lanes, granule: int = GROUP
) -> tuple[Operand, int]:
    """The packed stream and the taps of a filled filter."""
    bias = biases_of(graph, node, node.output.type.shape[-1])
    rows, scales = filled_runs(runs, granule), scales_of(node, weight_rows(graph, node), bias)
    return packed("int32_t", pack_stream(rows, bias, scales, groups, lanes)), rows.shape[1]


def _dsp_shape(conv: tuple[ShapeField, ...], *, staged: bool) -> tuple[ShapeField, ...]:
    return (ShapeField("conv", conv), *fields(staged=int(staged)))


def _may_be_cut(node: Node) -> bool:
    """True when some filter reaches beyond the input, as gather_dsp.h finds it."""
    attrs, (_, height, width, _) = node.attrs, node.inputs[1].type.shape
    size, out = node.inputs[0].type.shape[1:3], node.output.type.shape[1:3]
    reach = [(o - 1) * s + (k - 1) * d for o, s, k, d in zip(out, attrs.stride, (height, width), attrs.dilation, strict=True)]
    return attrs.padding[0] > 0 or attrs.padding[2] > 0 or any(r >= n for r, n in zip(reach, size, strict=True))


def _bind_conv(graph: Graph, node: Node, lanes: Lanes) -> Binding:
    weights = constant_of(graph, node, 1)
    x, w = node.inputs[0].type, node.inputs[1].type
    groups = x.shape[3] // w.shape[3]
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

    function = f"strop_{header}{'_byte' if lanes == 'byte' else ''}_dsp"
    return Variant(op, "armv7em", f"{header}_dsp.h", function, shape_type, accepts, partial(bind, lanes=lanes), cost)


def _variants(lanes: Lanes, rate: float) -> tuple[Variant, ...]:
    return (
        _variant("conv_2d", "conv_2d", "strop_conv_dsp_shape", lanes, _bind_conv, lambda node: True, linear(rate + 0.12, 7)),
        _variant(
            "fully_connected",
            "conv_2d",
            "strop_conv_dsp_shape",
            lanes,
            _bind_dense_rows,
            lambda node: _rows_of(node) > 1,
            linear(rate + 0.12, 7),
        ),
        _variant(
            "fully_connected",
            "fully_connected",
            "strop_conv_2d_shape",
            lanes,
            _bind_dense_row,
            lambda node: _rows_of(node) == 1,
            linear(rate, 11),
        ),
    )


VARIANTS = (*_variants("wide", 0.7), *_variants("byte", 0.76))
