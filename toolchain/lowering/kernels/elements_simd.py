"""Bindings of the SIMD sums and products of two tensors of one shape, and of pooling, on Linux boards."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.ir.attrs import PoolAttrs
from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, add_parameters, mul_multiplier, quant_of
from toolchain.lowering.cost import Cost, Work, linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, read, write
from toolchain.lowering.kernels.pool import bind_int8

FOLDERS = ("x86_64", "neon")
LANES, MOST_ELEMENTS = 16, 255
"""Channels of a vector, and the most elements of an average, whose sums take 16 bits."""
MOST_RIGHT, MOST_INPUT_RIGHT, MOST_INPUT_MANTISSA = 21, 18, 2**31 - 2**15
"""What leaves room for rounding beside a sum, and for an upper half of 16 bits in the mantissa of an input."""
ONE = Multiplier(0, 0)


def _factors(node: Node) -> tuple[Multiplier, Multiplier, Multiplier]:
    """The factors of both inputs, which follow a shift left by 20, and of the result."""
    if node.op == "mul":
        return ONE, ONE, mul_multiplier(node.inputs[0].type, node.inputs[1].type, node.output.type)
    p = add_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type)
    return p.input_1, p.input_2, p.output


def _accepts(graph: Graph, node: Node) -> bool:
    """Int8 of equal shapes, factors that only shift right."""
    if not is_i8(*node.inputs, node.output) or node.inputs[0].type.shape != node.inputs[1].type.shape:
        return False
    *inputs, result = _factors(node)
    right = all(0 <= -each.shift <= MOST_INPUT_RIGHT and each.mantissa < MOST_INPUT_MANTISSA for each in inputs)
    return right and 0 <= -result.shift <= MOST_RIGHT


def _bind(graph: Graph, node: Node) -> Binding:
    first, second, result = _factors(node)
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    offsets = [quant_of(value.type).scalar_zero_point for value in (*node.inputs, node.output)]
    shape = fields(elements=node.output.type.elements, a_offset=-offsets[0], b_offset=-offsets[1], out_offset=offsets[2])
    shape += fields(a_mantissa=first.mantissa, a_right=-first.shift, b_mantissa=second.mantissa, b_right=-second.shift)
    shape += fields(out_mantissa=result.mantissa, out_right=-result.shift, act_min=low, act_max=high)
    return Binding(shape, (read(graph, node.inputs[0]), read(graph, node.inputs[1]), write(node.output)))


def _accepts_pool(graph: Graph, node: Node) -> bool:
    """Sixteen channels or more, and averages of few enough elements."""
    few = node.op == "max_pool_2d" or math.prod(node.attrs.window) <= MOST_ELEMENTS
    return few and is_i8(node.inputs[0], node.output) and node.output.type.shape[3] >= LANES


def _pool_units(_graph: Graph, node: Node) -> Work:
    """Elements of whole windows and outputs, of sixteen channels each; pixels."""
    attrs: PoolAttrs = node.attrs
    (batch, height, width, _), blocks = node.output.type.shape, -(-node.output.type.shape[3] // LANES)
    pixels = batch * height * width
    return {"element": pixels * blocks * math.prod(attrs.window), "block": pixels * blocks, "pixel": pixels, "call": 1}


AVERAGE = Cost(_pool_units, {"element": 2.5, "block": 180, "pixel": 60, "call": 60})
MAXIMUM = Cost(_pool_units, {"element": 2, "block": 15, "pixel": 50, "call": 60})


def _elements(op: str, folder: str) -> Variant:
    cost = linear(per_output=2.5 if op == "mul" else 4)
    return Variant(op, folder, "elements_simd.h", f"strop_{op}_simd", "strop_elements_shape", _accepts, _bind, cost)


def _pool(op: str, folder: str, accepts: Callable[[Graph, Node], bool], cost: Cost) -> Variant:
    return Variant(op, folder, "pool_2d_simd.h", f"strop_{op}_simd", "strop_pool_2d_shape", accepts, bind_int8, cost)


VARIANTS = (
    *(_elements(op, folder) for op in ("add", "sub", "mul") for folder in FOLDERS),
    *(_pool("average_pool_2d", folder, _accepts_pool, AVERAGE) for folder in FOLDERS),
    *(_pool("max_pool_2d", folder, _accepts_pool, MAXIMUM) for folder in FOLDERS),
)
