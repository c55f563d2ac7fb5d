"""Bindings of dynamic range layers: float32 in and out, int8 weights, inputs counted in steps at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.optable import macs
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, write
from toolchain.lowering.kernels.conv import constant_of
from toolchain.lowering.kernels.float_layers import Geometry, activation_field, conv_geometry
from toolchain.lowering.program import Operand, ShapeField
from toolchain.passes.quantize_rules import BIAS, WEIGHTS

CONV, DEPTHWISE, DENSE = "dynamic_conv_2d", "dynamic_depthwise_conv_2d", "dynamic_fully_connected"
FOUR = 4
DSP_ORDER = (0, 2, 1, 3)
SHAPE = "strop_conv_2d_f32_shape"


def _groups(node: Node) -> int:
    return 1 if node.op == DENSE else node.inputs[0].type.shape[-1] // node.inputs[WEIGHTS].type.shape[-1]


def _constant_weights(graph: Graph, node: Node) -> bool:
    return graph.constant(node.inputs[WEIGHTS]) is not None


def _dense_geometry(node: Node) -> tuple[ShapeField, ...]:
    """A fully connected layer is a 1x1 convolution over as many images of one pixel as there are rows."""
    out, depth = node.inputs[WEIGHTS].type.shape
    rows = node.inputs[0].type.elements // depth
    geometry = fields(batch=rows, in_h=1, in_w=1, in_c=depth, out_h=1, out_w=1, out_c=out, groups=1, k_h=1, k_w=1)
    return geometry + fields(stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, pad_top=0, pad_left=0)


def _fours(graph: Graph, node: Node) -> Array:
    """Weights as (groups, fours, taps, 4), the last four of every group filled by zeros."""
    rows = constant_of(graph, node, WEIGHTS)
    parts = rows.reshape(_groups(node), rows.shape[0] // _groups(node), -1)
    filled = np.pad(parts, ((0, 0), (0, -parts.shape[1] % FOUR), (0, 0)))
    return filled.reshape(filled.shape[0], -1, FOUR, filled.shape[2]).transpose(0, 1, 3, 2)


def _dsp_stream(graph: Graph, node: Node) -> Array:
    """Weights as (fours, taps of the window, depth / 4, 4 channels, 4), filled by zeros, of four depths the order DSP_ORDER."""
    rows = constant_of(graph, node, WEIGHTS)
    taps = rows.reshape(rows.shape[0], -1, rows.shape[-1])
    filled = np.pad(taps, ((0, -taps.shape[0] % FOUR), (0, 0), (0, -taps.shape[2] % FOUR)))
    parts = filled.reshape(-1, FOUR, filled.shape[1], filled.shape[2] // FOUR, FOUR)
    return parts.transpose(0, 2, 3, 1, 4)[..., DSP_ORDER]


def _plain(graph: Graph, node: Node) -> Array:
    return constant_of(graph, node, WEIGHTS)


def _bind(geometry: Geometry, pack: Callable[[Graph, Node], Array], fill: int) -> Callable[[Graph, Node], Binding]:
    def bind(graph: Graph, node: Node) -> Binding:
        x = node.inputs[0].type
        channels = node.output.type.shape[-1]
        scales = quant_of(node.inputs[WEIGHTS].type).scale
        every = np.array(scales if len(scales) == channels else scales * channels, np.float32)
        pixels = 1 if node.op == DENSE else x.shape[1] * x.shape[2]
        scratch = Operand("int16_t", scratch_bytes=2 * pixels * -(-x.shape[-1] // fill) * fill)
        data = read(graph, node.inputs[0])
        bias = read(graph, node.inputs[BIAS]) if len(node.inputs) > BIAS else data
        operands = (data, packed("int8_t", pack(graph, node).reshape(-1)), packed("float", every), bias, scratch)
        shape = (*geometry(node), *fields(block=0, has_bias=int(len(node.inputs) > BIAS)), activation_field(node))
        return Binding(shape, (*operands, write(node.output)))

    return bind


def _units(width: int) -> Callable[[Graph, Node], Mapping[str, float]]:
    """Products, with those of filled channels and depths where the loop takes `width` of them; outputs; counted inputs."""

    def units(_: Graph, node: Node) -> Mapping[str, float]:
        weights, out = node.inputs[WEIGHTS].type.shape, node.output.type
        products = float(macs(node))
        if node.op != DEPTHWISE:
            groups, depth, channels = _groups(node), weights[-1], weights[0] // _groups(node)
            filled = -(-depth // width) * width * -(-channels // FOUR) * FOUR
            products *= filled / max(depth * channels, 1)
            runs = out.elements / max(out.shape[-1], 1) * groups * -(-channels // FOUR) * (1 if node.op == DENSE else weights[1])
        else:
            runs = out.elements / FOUR * weights[1]
        return {"product": products, "run": runs, "output": out.elements, "input": node.inputs[0].type.elements, "call": 1}

    return units


def _without_groups(graph: Graph, node: Node) -> bool:
    return _constant_weights(graph, node) and _groups(node) == 1


def _cost(per_product: float, width: int = 1) -> Cost:
    prior = {"product": per_product, "run": 12, "output": 30, "input": 30, "call": 150}
    return Cost(_units(width), prior, soft=9, whole=frozenset({"product", "run", "call"}))


def _portable(op: str, kernel: str, geometry: Geometry, pack: Callable[[Graph, Node], Array], per_product: float) -> Variant:
    bind = _bind(geometry, pack, 1)
    return Variant(op, "portable", f"{kernel}.h", f"strop_{kernel}", SHAPE, _constant_weights, bind, _cost(per_product))


def _dsp(op: str, geometry: Geometry) -> Variant:
    name, bind, cost = "dynamic_conv_2d_dsp", _bind(geometry, _dsp_stream, FOUR), _cost(1.65, FOUR)
    return Variant(op, "armv7em", f"{name}.h", f"strop_{name}", SHAPE, _without_groups, bind, cost)


VARIANTS = (
    _portable(CONV, CONV, conv_geometry, _fours, 2.6),
    _portable(DENSE, CONV, _dense_geometry, _fours, 2.6),
    _portable(DEPTHWISE, DEPTHWISE, conv_geometry, _plain, 5),
    _dsp(CONV, conv_geometry),
    _dsp(DENSE, _dense_geometry),
)
