"""Bindings of quantized elementwise kernels of two operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from toolchain.ir.attrs import Activation, ActivationAttrs
from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import (
    COMPARE_LEFT_SHIFT,
    activation_bounds,
    add_parameters,
    compare_parameters,
    div_multiplier,
    mul_multiplier,
    prelu_parameters,
    quant_of,
    squared_difference_parameters,
)
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import (
    ELEMENT_TYPES,
    Binding,
    Variant,
    as_untyped,
    factor_field,
    fields,
    is_i8,
    is_i16,
    loops_field,
    read,
    write,
)

UNUSED = Multiplier(0, 0)


@dataclass(frozen=True, slots=True)
class BinaryFactors:
    """The factors of `strop_binary_shape`; those an operation does not use stay 0."""

    left_shift: int = 0
    a: Multiplier = field(default=UNUSED)
    b: Multiplier = field(default=UNUSED)
    out: Multiplier = field(default=UNUSED)


def _of_sum(node: Node) -> BinaryFactors:
    p = add_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type)
    return BinaryFactors(p.left_shift, p.input_1, p.input_2, p.output)


def _of_squared_difference(node: Node) -> BinaryFactors:
    p = squared_difference_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type)
    return BinaryFactors(p.left_shift, p.input_1, p.input_2, p.output)


def _of_mul(node: Node) -> BinaryFactors:
    return BinaryFactors(out=mul_multiplier(node.inputs[0].type, node.inputs[1].type, node.output.type))


def _of_div(node: Node) -> BinaryFactors:
    return BinaryFactors(out=div_multiplier(node.inputs[0].type, node.inputs[1].type, node.output.type))


def _of_prelu(node: Node) -> BinaryFactors:
    p = prelu_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type)
    return BinaryFactors(a=p.positive, b=p.negative)


def _of_comparison(node: Node) -> BinaryFactors:
    p = compare_parameters(node.inputs[0].type, node.inputs[1].type)
    return BinaryFactors(COMPARE_LEFT_SHIFT, p.input_1, p.input_2)


def _of_pick(node: Node) -> BinaryFactors:
    return BinaryFactors()


def _bounds(node: Node) -> tuple[int, int]:
    if node.output.type.quant is None:
        return 0, 1
    activation = node.attrs.activation if isinstance(node.attrs, ActivationAttrs) else Activation.NONE
    return activation_bounds(activation, node.output.type)


def _bind(factors_of: Callable[[Node], BinaryFactors], swap: bool) -> Callable[[Graph, Node], Binding]:
    """The binding of an operation; swap exchanges the operands (a > b is b < a)."""

    def bind(graph: Graph, node: Node) -> Binding:
        order = (1, 0) if swap else (0, 1)
        factors, values = factors_of(node), [node.inputs[i] for i in order]
        sides = [(factors.a, factors.b)[i] for i in order]
        low, high = _bounds(node)
        loops = loops_field(node.name, node.output.type.shape, [v.type.shape for v in values], ("a", "b"))
        scalars = fields(
            type=ELEMENT_TYPES[values[0].type.dtype],
            a_offset=-quant_of(values[0].type).scalar_zero_point,
            b_offset=-quant_of(values[1].type).scalar_zero_point,
            out_offset=quant_of(node.output.type).scalar_zero_point if node.output.type.quant else 0,
            left_shift=factors.left_shift,
            act_min=low,
            act_max=high,
        )
        shape = (loops, *scalars, factor_field("a", sides[0]), factor_field("b", sides[1]), factor_field("out", factors.out))
        result = write(node.output)
        operands = [as_untyped(read(graph, value)) for value in values]
        return Binding(shape, (*operands, result if node.output.type.quant is None else as_untyped(result)))

    return bind


def _accepts(graph: Graph, node: Node) -> bool:
    return is_i8(*node.inputs, node.output) or is_i16(*node.inputs, node.output)


def _accepts_pick(graph: Graph, node: Node) -> bool:
    return all(v.type.quant is not None and v.type.dtype in ELEMENT_TYPES for v in (*node.inputs, node.output))


def _accepts_comparison(graph: Graph, node: Node) -> bool:
    return is_i8(*node.inputs)


def _arithmetic(op: str, factors_of: Callable[[Node], BinaryFactors], per_output: float) -> Variant:
    bind, cost = _bind(factors_of, False), linear(per_output=per_output)
    return Variant(op, "portable", "integer_binary.h", f"strop_integer_{op}", "strop_binary_shape", _accepts, bind, cost)


def _pick(op: str) -> Variant:
    bind, cost = _bind(_of_pick, False), linear(per_output=8)
    return Variant(op, "portable", "integer_binary.h", f"strop_integer_{op}", "strop_binary_shape", _accepts_pick, bind, cost)


def _comparison(op: str, function: str, swap: bool) -> Variant:
    bind, cost = _bind(_of_comparison, swap), linear(per_output=42)
    name = f"strop_integer_{function}"
    return Variant(op, "portable", "integer_compare.h", name, "strop_binary_shape", _accepts_comparison, bind, cost)


VARIANTS = (
    _arithmetic("add", _of_sum, 33),
    _arithmetic("sub", _of_sum, 33),
    _arithmetic("mul", _of_mul, 27),
    _arithmetic("squared_difference", _of_squared_difference, 42),
    _arithmetic("div", _of_div, 155),
    _arithmetic("prelu", _of_prelu, 24),
    _pick("minimum"),
    _pick("maximum"),
    _comparison("equal", "equal", False),
    _comparison("not_equal", "not_equal", False),
    _comparison("less", "less", False),
    _comparison("less_equal", "less_equal", False),
    _comparison("greater", "less", True),
    _comparison("greater_equal", "less_equal", True),
)
