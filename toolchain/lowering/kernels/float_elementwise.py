"""Bindings of float32 elementwise kernels."""

from __future__ import annotations

import numpy as np

from toolchain.ir.attrs import ActivationAttrs, AlphaAttrs, GeluAttrs, HardSigmoidAttrs, IsInfAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import DType
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, loops_field, read, write
from toolchain.lowering.kernels.float_layers import activation_field
from toolchain.lowering.program import ShapeField

UNARY_COSTS: dict[str, tuple[int, int]] = {
    "relu": (8, 42),
    "relu6": (10, 64),
    "relu_n1_1": (11, 77),
    "leaky_relu": (8, 57),
    "elu": (40, 800),
    "hard_swish": (14, 320),
    "hard_sigmoid": (13, 170),
    "swish": (62, 1260),
    "tanh": (60, 1270),
    "sigmoid": (61, 1230),
    "softplus": (132, 2600),
    "softsign": (9, 208),
    "exp": (50, 965),
    "log": (60, 1100),
    "sqrt": (5, 244),
    "rsqrt": (6, 400),
    "reciprocal": (5, 155),
    "abs": (5, 5),
    "neg": (5, 5),
    "square": (5, 38),
    "floor": (22, 118),
    "ceil": (23, 122),
    "round": (15, 136),
    "sign": (9, 66),
    "erf": (56, 1300),
    "isnan": (6, 30),
    "isinf": (10, 60),
}
TRIGONOMETRIC_COSTS: dict[str, tuple[int, int]] = {
    "sin": (69, 575),
    "cos": (70, 577),
    "tan": (81, 1110),
    "asin": (45, 900),
    "acos": (45, 900),
    "atan": (36, 820),
    "sinh": (59, 1290),
    "cosh": (59, 1230),
    "asinh": (90, 2300),
    "acosh": (90, 2000),
    "atanh": (68, 1430),
}
BINARY_COSTS: dict[str, tuple[int, int]] = {
    "add": (6, 59),
    "sub": (6, 59),
    "mul": (6, 45),
    "div": (6, 155),
    "squared_difference": (7, 94),
    "minimum": (10, 61),
    "maximum": (10, 61),
    "prelu": (10, 60),
    "pow": (150, 2700),
    "mod": (48, 225),
    "floor_mod": (65, 375),
    "floor_div": (96, 845),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), (10, 42)),
}
"""Instructions per element with and without an FPU, counted on Cortex-M4F and Cortex-M3."""


def _all_float32(graph: Graph, node: Node) -> bool:
    return all(value.type.dtype is DType.F32 for value in node.inputs)


def _parameters(node: Node) -> tuple[float, float]:
    """The alpha and beta of a function of one variable."""
    match node.attrs:
        case HardSigmoidAttrs(alpha, beta):
            return alpha, beta
        case AlphaAttrs(alpha):
            return alpha, 0.0
        case IsInfAttrs(positive, negative):
            return float(positive), float(negative)
        case _:
            return 0.0, 0.0


def _bind_unary(graph: Graph, node: Node) -> Binding:
    alpha, beta = _parameters(node)
    shape = fields(count=node.output.type.elements, alpha=float(np.float32(alpha)), beta=float(np.float32(beta)))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


def _bind_binary(graph: Graph, node: Node) -> Binding:
    a, b = (value.type.shape for value in node.inputs)
    shape: tuple[ShapeField, ...] = (loops_field(node.name, node.output.type.shape, (a, b), ("a", "b")),)
    if isinstance(node.attrs, ActivationAttrs):
        shape += (activation_field(node),)
    return Binding(shape, (read(graph, node.inputs[0]), read(graph, node.inputs[1]), write(node.output)))


def _cost(counted: tuple[int, int]) -> Cost:
    return linear(per_output=counted[0], soft=counted[1] / counted[0])


def _unary(op: str, header: str, cost: tuple[int, int]) -> Variant:
    function = f"strop_{op}_map_f32"
    return Variant(op, "portable", header, function, "strop_unary_f32_shape", _all_float32, _bind_unary, _cost(cost))


def _gelu(tanh: bool) -> Variant:
    def accepts(graph: Graph, node: Node) -> bool:
        attrs: GeluAttrs = node.attrs
        return attrs.tanh == tanh and _all_float32(graph, node)

    function = "strop_gelu_tanh_map_f32" if tanh else "strop_gelu_map_f32"
    return Variant("gelu", "portable", "unary_f32.h", function, "strop_unary_f32_shape", accepts, _bind_unary, _cost((60, 1250)))


def _binary(op: str, cost: tuple[int, int]) -> Variant:
    function, shape = f"strop_{op}_pair_f32", "strop_binary_f32_shape"
    return Variant(op, "portable", "binary_f32.h", function, shape, _all_float32, _bind_binary, _cost(cost))


VARIANTS = (
    *(_unary(op, "unary_f32.h", cost) for op, cost in UNARY_COSTS.items()),
    *(_unary(op, "unary_trig_f32.h", cost) for op, cost in TRIGONOMETRIC_COSTS.items()),
    _gelu(False),
    _gelu(True),
    *(_binary(op, cost) for op, cost in BINARY_COSTS.items()),
)
