"""Bindings of float32 elementwise kernels."""

from __future__ import annotations

import numpy as np

from toolchain.ir.attrs import ActivationAttrs, AlphaAttrs, GeluAttrs, HardSigmoidAttrs, IsInfAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import DType
from toolchain.lowering.kernels.common import Binding, Variant, fields, loops_field, read, write
from toolchain.lowering.kernels.float_layers import activation_field
from toolchain.lowering.program import Cost, ShapeField

LINEAR = ("relu", "relu6", "relu_n1_1", "leaky_relu", "hard_swish", "hard_sigmoid", "abs", "neg", "square", "sign")
FUNCTIONS = (
    *("elu", "swish", "tanh", "sigmoid", "softplus", "softsign", "exp", "log"),
    *("sqrt", "rsqrt", "reciprocal", "floor", "ceil", "round", "erf", "isnan", "isinf"),
)
TRIGONOMETRIC = ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh")
ARITHMETIC = ("add", "sub", "mul", "div", "squared_difference", "minimum", "maximum", "prelu")
REMAINDERS = ("pow", "mod", "floor_mod", "floor_div")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


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


def _unary(op: str, header: str, cost: float, name: str | None = None) -> Variant:
    function = f"strop_{name or op}_map_f32"
    return Variant(op, "portable", header, function, "strop_unary_f32_shape", _all_float32, _bind_unary, Cost(per_output=cost))


def _gelu(tanh: bool) -> Variant:
    def accepts(graph: Graph, node: Node) -> bool:
        attrs: GeluAttrs = node.attrs
        return attrs.tanh == tanh and _all_float32(graph, node)

    function = "strop_gelu_tanh_map_f32" if tanh else "strop_gelu_map_f32"
    return Variant(
        "gelu", "portable", "unary_f32.h", function, "strop_unary_f32_shape", accepts, _bind_unary, Cost(per_output=90)
    )


def _binary(op: str, cost: float) -> Variant:
    function, shape = f"strop_{op}_pair_f32", "strop_binary_f32_shape"
    return Variant(op, "portable", "binary_f32.h", function, shape, _all_float32, _bind_binary, Cost(per_output=cost))


VARIANTS = (
    *(_unary(op, "unary_f32.h", 8) for op in LINEAR),
    *(_unary(op, "unary_f32.h", 60) for op in FUNCTIONS),
    *(_unary(op, "unary_trig_f32.h", 100) for op in TRIGONOMETRIC),
    _gelu(False),
    _gelu(True),
    *(_binary(op, 10) for op in (*ARITHMETIC, *COMPARISONS)),
    *(_binary(op, 200) for op in REMAINDERS),
)
