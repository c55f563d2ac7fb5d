"""Bindings of softmax kernels."""

from __future__ import annotations

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import softmax_parameters
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, read, write
from toolchain.lowering.program import Cost


def _accepts(graph: Graph, node: Node) -> bool:
    return is_i8(node.inputs[0], node.output)


def _bind(graph: Graph, node: Node) -> Binding:
    x = node.inputs[0].type
    p = softmax_parameters(node.attrs.beta, x)
    shape = fields(
        rows=x.elements // x.shape[-1],
        depth=x.shape[-1],
        mantissa=p.multiplier.mantissa,
        shift=p.multiplier.shift,
        smallest_difference=p.smallest_difference,
    )
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


VARIANTS = (
    Variant("softmax", "portable", "softmax.h", "strop_softmax_s8", "strop_softmax_shape", _accepts, _bind, Cost(per_output=240)),
)
