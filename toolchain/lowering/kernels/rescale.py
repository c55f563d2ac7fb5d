"""Bindings of the kernel of lines through zero: requantize, and relu, leaky_relu and abs where no table serves."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.ir.attrs import Activation
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import (
    SlopeParameters,
    activation_bounds,
    clamp_multiplier,
    leaky_relu_parameters,
    quant_of,
    rescale_multiplier,
)
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import ELEMENT_TYPES, Binding, Variant, as_untyped, factor_field, fields, read, write

_ACTIVATIONS = {"relu": Activation.RELU, "relu6": Activation.RELU6, "relu_n1_1": Activation.RELU_N1_1}


def _factors(node: Node) -> SlopeParameters:
    x, out = node.inputs[0].type, node.output.type
    if node.op == "leaky_relu":
        return leaky_relu_parameters(node.attrs.alpha, x, out)
    activation = _ACTIVATIONS.get(node.op)
    factor = rescale_multiplier(x, out) if activation is None else clamp_multiplier(activation, x, out)
    return SlopeParameters(factor, factor)


def _accepts(graph: Graph, node: Node) -> bool:
    types = (node.inputs[0].type, node.output.type)
    return all(t.quant is not None and t.quant.axis is None and t.dtype in ELEMENT_TYPES for t in types)


def _bind(graph: Graph, node: Node) -> Binding:
    x, out = node.inputs[0].type, node.output.type
    factors = _factors(node)
    low, high = activation_bounds(_ACTIVATIONS.get(node.op, Activation.NONE), out)
    shape = fields(
        elements=out.elements,
        in_offset=-quant_of(x).scalar_zero_point,
        out_offset=quant_of(out).scalar_zero_point,
        act_min=low,
        act_max=high,
        magnitude=int(node.op == "abs"),
    )
    shape += (factor_field("positive", factors.positive), factor_field("negative", factors.negative))
    shape += fields(in_type=ELEMENT_TYPES[x.dtype], out_type=ELEMENT_TYPES[out.dtype])
    return Binding(shape, (as_untyped(read(graph, node.inputs[0])), as_untyped(write(node.output))))


def _variant(op: str, accepts: Callable[[Graph, Node], bool] = _accepts) -> Variant:
    return Variant(op, "portable", "rescale.h", "strop_rescale", "strop_rescale_shape", accepts, _bind, linear(per_output=15))


VARIANTS = tuple(_variant(op) for op in ("requantize", "relu", "relu6", "relu_n1_1", "leaky_relu", "abs"))
